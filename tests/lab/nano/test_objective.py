"""The losses that tie a picture to its transcript, against slow sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polylens.lab.nano.data.examples import ImageBatch
from polylens.lab.nano.objective import _alignment_loss, _echo_loss
from polylens.models.protocol import Outputs


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    rows = rng.standard_normal(shape)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_picture_is_tied_to_its_transcript_as_a_whole_and_cell_by_cell() -> None:
    rng = np.random.default_rng(0)
    sizes = (5, 4, 3, 2, 6)  # two pictures, their transcripts, and a further text
    dense, tokens, cells = unit(rng, 5, 8), unit(rng, sum(sizes), 6), unit(rng, 7, 6)
    places = [(0, 1), (1, 1), (2, 4), (4, 6)]
    batch = ImageBatch(
        queries=[],
        images=[None, None],  # type: ignore[list-item]  # only their number counts
        passages=[],
        image_of=[0, 0, 1, 1],
        passage_of=[0, 0, 1, 1, 2],
        here=torch.zeros(0, 7),
        same=torch.zeros(0, 7),
        letters=torch.zeros(0, 2),
        transcribed=torch.tensor(places),
    )
    multi = torch.tensor(tokens, requires_grad=True)
    outputs = Outputs(torch.tensor(dense, requires_grad=True), torch.ones(5), multi, sizes)
    told = tokens[9:14]  # after the two pictures' tokens
    slow = []
    for cell, drawn in ((1, [0, 1]), (4, [2]), (6, [4])):
        wanted = np.sum([told[i] for i in drawn], axis=0)
        slow.append(1 - float(cells[cell] @ wanted) / np.linalg.norm(wanted))
    loss = _alignment_loss(outputs, torch.tensor(cells, requires_grad=True), batch)
    assert loss.item() == pytest.approx(np.mean(slow), abs=1e-6)
    loss.backward()
    assert multi.grad is None  # the text stands still
    echo = _echo_loss(outputs, batch)
    assert echo.item() == pytest.approx(np.mean([1 - dense[i] @ dense[2 + i] for i in range(2)]))
    echo.backward()
    assert outputs.dense.grad is not None and not outputs.dense.grad[2:].any() and outputs.dense.grad[:2].any()
