"""Scores of vectors on pairs that training does not see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from polylens.train.joint import Vectors, late_scores


@torch.no_grad()
def recall_at_1(queries: Vectors, documents: Vectors, keys: Sequence[str]) -> dict[str, float]:
    """Share of the queries whose own document ranks first among all, by each kind of vectors.

    Args:
        queries: One per pair.
        documents: One per pair, in the same order.
        keys: The identity of each document; equal documents are right for each other's queries.
    """
    return {f"recall@1 {name}": found_first(scores, keys) for name, scores in _scores(queries, documents).items()}


def found_first(scores: Float[Tensor, "Q Q"], keys: Sequence[str]) -> float:
    """Share of the queries whose highest score is that of a document with their own key, to four places.

    Args:
        scores: One query and one document per pair, in the same order.
        keys: The identity of each pair's document.

    Example:
        >>> found_first(torch.tensor([[0.1, 0.9], [0.2, 0.3]]), ["a", "b"])
        0.5
    """
    best = scores.argmax(dim=1).tolist()
    return round(sum(keys[i] == own for i, own in zip(best, keys, strict=True)) / len(keys), 4)


@torch.no_grad()
def rank_correlation(queries: Vectors, documents: Vectors, truth: Sequence[float]) -> dict[str, float]:
    """Spearman's correlation between the similarity of each pair and its given degree."""
    given = _ranks(np.asarray(truth, dtype=np.float64))
    found = {}
    for name, scores in _scores(queries, documents).items():
        ours = _ranks(scores.diagonal().double().cpu().numpy())
        correlations = np.asarray(np.corrcoef(ours, given))
        found[f"spearman {name}"] = round(float(correlations[0, 1]), 4)
    return found


def _scores(queries: Vectors, documents: Vectors) -> dict[str, Float[Tensor, "Q D"]]:
    return {"dense": queries.dense @ documents.dense.T, "late": late_scores(queries, documents)}


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The rank of each value; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: npt.NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks
