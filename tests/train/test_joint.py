"""The paper's objective against its formulas, written as loops over numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from polylens.train.held_out import rank_correlation, recall_at_1
from polylens.train.joint import (
    Objective,
    TermWeights,
    Vectors,
    contrastive_loss,
    cosent,
    graded_loss,
    kl_distillation,
    same_documents,
)

TAU = 0.3  # so that no term vanishes among random vectors
OBJECTIVE = Objective(
    temperature=TAU,
    dims=(4, 8),
    texts=TermWeights(dense=0.5, late=2.0, kl=3.0),
    images=TermWeights(dense=1.0, late=1.0, kl=0.0),
    late_teaches=False,
)


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=-1, keepdim=True)


def some(lengths: tuple[int, ...], seed: int) -> Vectors:
    draw = torch.Generator().manual_seed(seed)
    dense = unit(torch.randn(len(lengths), 8, generator=draw, dtype=torch.float64))
    tokens = unit(torch.randn(sum(lengths), 6, generator=draw, dtype=torch.float64))
    return Vectors(dense, tokens, lengths)


QUERIES, DOCUMENTS = some((2, 3, 1), 1), some((4, 2, 3, 5, 1), 2)  # two of the documents are hard negatives
NOTHING = torch.zeros(3, 5, dtype=torch.bool)


def maxsim(query: Tensor, document: Tensor) -> float:
    """Over t, the number of the query's tokens."""
    return sum(max(float(q @ d) for d in document) for q in query) / len(query)


def late_scores(queries: Vectors, documents: Vectors) -> list[list[float]]:
    return [
        [maxsim(query, document) for document in documents.tokens.split(list(documents.lengths))]
        for query in queries.tokens.split(list(queries.lengths))
    ]


def cosines(queries: Vectors, documents: Vectors, dim: int) -> list[list[float]]:
    return [[float(unit(q[:dim]) @ unit(d[:dim])) for d in documents.dense] for q in queries.dense]


def nce(scores: list[list[float]], ignore: Tensor) -> float:
    """NCE+: every positive and every hard negative of the batch in the denominator; the mean over queries."""
    total = 0.0
    for i, row in enumerate(scores):
        below = sum(math.exp(s / TAU) for j, s in enumerate(row) if not ignore[i, j])
        total -= math.log(math.exp(row[i] / TAU) / below)
    return total / len(scores)


def kl(dense: list[list[float]], late: list[list[float]], ignore: Tensor) -> float:
    total = 0.0
    for i, (ours, theirs) in enumerate(zip(dense, late, strict=True)):
        kept = [j for j in range(len(ours)) if not ignore[i, j]]
        p = np.exp([ours[j] / TAU for j in kept])
        q = np.exp([theirs[j] / TAU for j in kept])
        p, q = p / p.sum(), q / q.sum()
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / len(dense)


@pytest.mark.parametrize("ignored", [[], [(0, 2), (2, 3)]])
def test_equation_6(ignored: list[tuple[int, int]]) -> None:
    ignore = NOTHING.clone()
    for place in ignored:
        ignore[place] = True
    found = contrastive_loss(QUERIES, DOCUMENTS, torch.arange(3), ignore, OBJECTIVE, images=False)
    late = late_scores(QUERIES, DOCUMENTS)
    expected = {
        "dense": np.mean([nce(cosines(QUERIES, DOCUMENTS, dim), ignore) for dim in (4, 8)]),
        "late": nce(late, ignore),
        "kl": kl(cosines(QUERIES, DOCUMENTS, 8), late, ignore),
    }
    expected["total"] = 0.5 * expected["dense"] + 2.0 * expected["late"] + 3.0 * expected["kl"]
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, rel=1e-5)  # dense: float32


def test_batches_with_images_have_weights_of_their_own() -> None:
    found = contrastive_loss(QUERIES, DOCUMENTS, torch.arange(3), NOTHING, OBJECTIVE, images=True)
    assert float(found["total"]) == pytest.approx(float(found["dense"] + found["late"]))


@pytest.mark.parametrize("teaches", [True, False])
def test_whom_the_kl_term_moves(teaches: bool) -> None:
    only = TermWeights(dense=0.0, late=0.0, kl=1.0)
    tokens = QUERIES.tokens.clone().requires_grad_()
    queries = Vectors(QUERIES.dense.clone().requires_grad_(), tokens, QUERIES.lengths)
    objective = replace(OBJECTIVE, texts=only, late_teaches=teaches)
    loss = contrastive_loss(queries, DOCUMENTS, torch.arange(3), NOTHING, objective, images=False)
    loss["total"].backward()
    assert queries.dense.grad is not None and queries.dense.grad.abs().max() > 1e-3
    moved = tokens.grad is not None and bool(tokens.grad.abs().max() > 1e-3)
    assert moved != teaches


def test_cosent_is_its_sum() -> None:
    scores, truth = [0.9, 0.1, 0.4, 0.4], [1.0, 3.0, 2.0, 2.0]
    pairs = [(i, j) for i in range(4) for j in range(4) if truth[i] > truth[j]]
    expected = math.log(1 + sum(math.exp((scores[j] - scores[i]) / TAU) for i, j in pairs))
    assert float(cosent(torch.tensor(scores), torch.tensor(truth), TAU)) == pytest.approx(expected, rel=1e-6)


def test_cosent_of_equals_is_nothing() -> None:
    assert float(cosent(torch.tensor([0.1, 0.9]), torch.tensor([2.0, 2.0]), TAU)) == 0.0


def test_graded_pairs() -> None:
    documents = some((4, 2, 3), 5)
    truth = torch.tensor([0.0, 2.0, 1.0], dtype=torch.float64)
    found = graded_loss(QUERIES, documents, truth, OBJECTIVE, images=False)
    late = torch.tensor([late_scores(QUERIES, documents)[i][i] for i in range(3)], dtype=torch.float64)
    cuts = [torch.tensor([cosines(QUERIES, documents, dim)[i][i] for i in range(3)]) for dim in (4, 8)]
    dense = np.mean([float(cosent(each.double(), truth, TAU)) for each in cuts])
    assert float(found["dense"]) == pytest.approx(dense, rel=1e-5)
    assert float(found["late"]) == pytest.approx(float(cosent(late, truth, TAU)), rel=1e-6)
    assert float(found["total"]) == pytest.approx(0.5 * dense + 2.0 * float(found["late"]), rel=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    draw = torch.Generator().manual_seed(3)
    dense, late = (torch.randn(3, 5, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(2))
    ignore = NOTHING.clone()
    ignore[1, 3] = True
    assert torch.autograd.gradcheck(lambda a, b: kl_distillation(a, b, ignore, TAU), (dense, late))
    truth = torch.tensor([0.0, 1.0, 2.0, 1.0, 3.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: cosent(a[0], truth, TAU), (dense,))


def test_the_same_document_twice_is_no_negative() -> None:
    found = same_documents(["a", "b", "a", "n", "b"], [0, 1, 2])
    assert found.int().tolist() == [[0, 0, 1, 0, 0], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]


class TestHeldOut:
    def test_recall(self) -> None:
        documents = some((4, 2, 3), 5)
        same = Vectors(documents.dense, documents.tokens, documents.lengths)
        assert recall_at_1(same, documents, ["a", "b", "c"]) == {"recall@1 dense": 1.0, "recall@1 late": 1.0}
        turned = Vectors(documents.dense.flip(0), documents.tokens, documents.lengths)
        assert recall_at_1(turned, documents, ["a", "b", "c"])["recall@1 dense"] == pytest.approx(1 / 3, abs=1e-3)
        assert recall_at_1(turned, documents, ["a", "b", "a"])["recall@1 dense"] == 1.0  # the other one is the same

    def test_spearman_with_ties(self) -> None:
        queries, documents = some((1, 1, 1, 1), 6), some((1, 1, 1, 1), 7)
        truth = [1.0, 2.0, 2.0, 5.0]
        ours = [float(q @ d) for q, d in zip(queries.dense, documents.dense, strict=True)]
        ranks = [sum(x > y for y in ours) + 1 for x in ours]
        expected = np.corrcoef(ranks, [1, 2.5, 2.5, 4])[0, 1]
        found = rank_correlation(queries, documents, truth)["spearman dense"]
        assert found == pytest.approx(expected, abs=1e-4)
