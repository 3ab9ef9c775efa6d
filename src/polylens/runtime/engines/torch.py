"""The reference engine: PyTorch, on whichever device the model's weights are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch

from polylens.models.protocol import Item, Model, Scorer
from polylens.types import Embedding, FloatArray


class TorchEngine:
    """Runs a model of any family with PyTorch.

    Args:
        model: Its weights may lie on any device.
    """

    def __init__(self, model: Model | Scorer) -> None:
        self.model = model

    @property
    def is_preparing(self) -> bool:
        """False: see `prepare`."""
        return False

    def run(self, items: Sequence[Item]) -> Iterator[list[Embedding]]:
        """Runs one batch; see `Engine.run`. The arrays are copies, so keeping one does not keep its whole batch."""
        with torch.inference_mode():
            outputs = cast("Model", self.model).embed(items)
        dense, norms = outputs.dense.cpu().numpy(), outputs.norms.cpu().numpy()
        tokens = None if outputs.multivector is None else outputs.multivector.cpu().numpy()
        row = start = 0
        for item in items:
            found = []
            length = len(item.vector_token_ids)
            for first, stop in item.chunks or ((0, length),):  # without chunks: every token, prompt included
                rows = dense[row : row + 1] if tokens is None else tokens[start + first : start + stop]
                found.append(Embedding(dense[row].copy(), rows.copy(), float(norms[row])))
                row += 1
            start += length
            yield found

    def score(self, items: Sequence[Item]) -> FloatArray:
        """Scores one batch of pairs; see `Engine.score`."""
        with torch.inference_mode():
            scores = cast("Scorer", self.model).score(items)
        return cast("FloatArray", scores.float().cpu().numpy())

    def prepare(self, items: Sequence[Item]) -> None:
        """Does nothing: PyTorch needs the weights alone."""
