"""The contrast of jina-clip-v2's training against the paper's sums, a number at a time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from polylens.train.clip_loss import both_ways_nce, known_right
from polylens.train.pairs import Pair


def slow_nce(queries: Any, documents: Any, pairs: list[Pair], temperature: float) -> float:
    """The two directions as the paper prints them, a number at a time."""
    keys = [*(pair.document for pair in pairs), *(each for pair in pairs for each in pair.negatives)]
    answers = {(pair.query, pair.document) for pair in pairs}
    forward = back = 0.0
    for i, pair in enumerate(pairs):
        own = math.exp(float(queries[i] @ documents[i]) / temperature)
        against = [
            math.exp(float(queries[i] @ documents[j]) / temperature)
            for j, key in enumerate(keys)
            if (pair.query, key) not in answers
        ]
        forward -= math.log(own / (own + sum(against))) / len(pairs)
        others = [
            math.exp(float(queries[j] @ documents[i]) / temperature)
            for j, other in enumerate(pairs)
            if (other.query, pair.document) not in answers
        ]
        back -= math.log(own / (own + sum(others))) / len(pairs)
    return forward + back


def unit(rows: int, seed: int, width: int = 6) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


class TestLoss:
    def test_pairs(self) -> None:
        pairs = [Pair(str(i), f"d{i}") for i in range(5)]
        queries, documents = unit(5, 1), unit(5, 2)
        found = both_ways_nce(queries, documents, known_right(pairs), 0.05)
        assert float(found) == pytest.approx(slow_nce(queries, documents, pairs, 0.05), rel=1e-5)

    def test_hard_negatives_stand_in_every_querys_denominator_and_in_no_documents(self) -> None:
        pairs = [Pair(str(i), f"d{i}", tuple(f"n{i}{k}" for k in range(i % 3))) for i in range(5)]
        count = sum(len(pair.negatives) for pair in pairs)
        queries, documents = unit(5, 1), unit(5 + count, 2)
        found = both_ways_nce(queries, documents, known_right(pairs), 0.05)
        assert float(found) == pytest.approx(slow_nce(queries, documents, pairs, 0.05), rel=1e-5)
        one_way = float(both_ways_nce(queries, documents[:5], known_right(pairs)[:, :5], 0.05))
        assert float(found) > one_way  # by the forward term alone
        right = known_right(pairs)
        apart = documents.clone().requires_grad_()
        scores = queries @ apart.T
        back = both_ways_nce(queries, apart, right, 0.05) - torch.nn.functional.cross_entropy(
            scores / 0.05, torch.arange(5)
        )
        (moved,) = torch.autograd.grad(back, apart)
        assert moved[5:].abs().max() <= 1e-5 * moved[:5].abs().max()  # what rounding leaves of the difference

    def test_what_the_batch_says_is_right_is_nobodys_negative(self) -> None:
        pairs = [
            Pair("red", Path("a.png")),
            Pair("scarlet", Path("a.png")),
            Pair("sky", Path("b.png")),
            Pair("sky", Path("c.png")),
        ]
        assert known_right(pairs).int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
        queries, documents = unit(4, 1), unit(4, 2)
        found = both_ways_nce(queries, documents, known_right(pairs), 0.1)
        assert float(found) == pytest.approx(slow_nce(queries, documents, pairs, 0.1), rel=1e-5)
        triplets = [Pair("q", "x", ("y",)), Pair("q", "y", ("z",))]
        assert known_right(triplets).int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 0]]
