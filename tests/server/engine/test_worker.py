"""What a model's process answers, with the model of the toy family, which gives vectors and scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tests.toy_family.model import Toy

from polylens.models.protocol import Item
from polylens.runtime.engines.torch import TorchEngine
from polylens.server.engine.worker import _answers, packed


def item(ids: Sequence[int], *chunks: tuple[int, int]) -> Item:
    return Item(token_ids=np.array(ids, dtype=np.int64), pool=(0, len(ids)), chunks=chunks)


def test_a_batch_of_inputs_and_pairs_is_answered_in_order() -> None:
    torch.manual_seed(0)
    engine = TorchEngine(Toy(vocab_size=8, width=8))
    pairs = [item([1, 2, 3], (0, 1), (1, 3)), item([4, 5], (0, 1), (1, 2))]
    text, page = item([3, 1, 2]), item([6, 7])
    batch = [(packed(pairs[0]), "score"), (packed(text), "dense"), (packed(pairs[1]), "score"), (packed(page), "multi")]
    first, dense, second, multi = _answers(engine, batch)
    assert [first, second] == pytest.approx(engine.score(pairs).tolist())
    assert isinstance(first, float)
    (expected_text,), (expected_page,) = engine.run([text, page])
    assert dense[0][1].size == 0 and np.allclose(dense[0][0], expected_text.dense)
    assert np.allclose(multi[0][0], expected_page.dense) and np.allclose(multi[0][1], expected_page.multivector)
