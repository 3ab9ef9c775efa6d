"""Each loss against a loop that follows its formula, in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from polylens.nn.similarity import maxsim
from polylens.train import losses as module
from polylens.train.losses import (
    batched_maxsim,
    best_of_each,
    caption_nce,
    grounding_nce,
    info_nce,
    info_nce_back,
    matryoshka_nce,
    reading_loss,
)

EXACT = 1e-10  # float64 rounding of logarithms of sums of exponentials


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def units(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(draw(*shape, seed=seed), dim=-1)


def slow_info_nce(scores: Tensor, positives: list[int], ignore: Tensor, temperature: float) -> float:
    """jina-embeddings-v4, equations 3 and 4, divided by the number of queries."""
    losses = []
    for i, own in enumerate(positives):
        others = [math.exp(float(s) / temperature) for s, out in zip(scores[i], ignore[i], strict=True) if not out]
        losses.append(-math.log(math.exp(float(scores[i, own]) / temperature) / sum(others)))
    return sum(losses) / len(losses)


POSITIVES = [2, 0, 4, 3]


@pytest.fixture
def ignore() -> Tensor:
    ignore = torch.zeros(4, 6, dtype=torch.bool)
    ignore[0, 5] = ignore[2, 0] = ignore[2, 1] = True
    return ignore


@pytest.mark.parametrize("temperature", [1.0, 0.05])
def test_info_nce(ignore: Tensor, temperature: float) -> None:
    scores = draw(4, 6).tanh()
    mine = info_nce(scores, torch.tensor(POSITIVES), ignore, temperature)
    assert float(mine) == pytest.approx(slow_info_nce(scores, POSITIVES, ignore, temperature), abs=EXACT)


def test_an_ignored_document_has_no_gradient(ignore: Tensor) -> None:
    scores = draw(4, 6).requires_grad_()
    info_nce(scores, torch.tensor(POSITIVES), ignore, 0.1).backward()
    assert scores.grad is not None
    assert (scores.grad[ignore] == 0).all() and (scores.grad[~ignore] != 0).all()


def slow_back(scores: Tensor, positives: list[int], temperature: float) -> float:
    """From each query's document, that query among those of other documents."""
    losses = []
    for query, document in enumerate(positives):
        rivals = [other for other, own in enumerate(positives) if own != document]
        mass = {other: math.exp(float(scores[other, document]) / temperature) for other in (query, *rivals)}
        losses.append(-math.log(mass[query] / sum(mass.values())))
    return sum(losses) / len(losses)


def test_looking_back() -> None:
    scores, positives = draw(5, 3).tanh(), [0, 2, 0, 1, 2]
    mine = info_nce_back(scores, torch.tensor(positives), 0.1)
    assert float(mine) == pytest.approx(slow_back(scores, positives, 0.1), abs=EXACT)


def test_matryoshka_nce_both_ways(ignore: Tensor) -> None:
    queries, documents = units(4, 8).float(), units(6, 8, seed=1).float()
    forth, both = (
        matryoshka_nce(queries, documents, torch.tensor(POSITIVES), ignore, 0.1, (8,), both_ways)
        for both_ways in (False, True)
    )
    back = slow_back(queries.double() @ documents.double().T, POSITIVES, 0.1)
    assert float(both) == pytest.approx((float(forth) + back) / 2, abs=1e-5)


def test_matryoshka_nce(ignore: Tensor) -> None:
    queries, documents = units(4, 8).float(), units(6, 8, seed=1).float()  # truncation works in float32
    mine = matryoshka_nce(queries, documents, torch.tensor(POSITIVES), ignore, 0.1, (2, 4, 8))
    losses = []
    for dim in (2, 4, 8):
        scores = torch.tensor(
            [
                [float(q[:dim] @ d[:dim] / q[:dim].norm() / d[:dim].norm()) for d in documents.double()]
                for q in queries.double()
            ]
        )
        losses.append(slow_info_nce(scores, POSITIVES, ignore, 0.1))
    assert float(mine) == pytest.approx(sum(losses) / 3, abs=1e-5)  # float32 cosines over a temperature of 0.1


class TestCaptions:
    """Pictures against the texts of their own words."""

    def test_both_ways_over_all_texts(self) -> None:
        pictures, texts, own = units(3, 8).float(), units(5, 8, seed=1).float(), [4, 0, 2]
        mine = caption_nce(pictures, texts, torch.tensor(own), 0.1, (8,))
        scores = pictures.double() @ texts.double().T
        forth = slow_info_nce(scores, own, torch.zeros(3, 5, dtype=torch.bool), 0.1)
        assert float(mine) == pytest.approx((forth + slow_back(scores, own, 0.1)) / 2, abs=1e-5)

    def test_texts_stand_still(self) -> None:
        pictures, texts = units(3, 8).float().requires_grad_(), units(5, 8, seed=1).float().requires_grad_()
        caption_nce(pictures, texts, torch.tensor([4, 0, 2]), 0.1, (4, 8)).backward()
        assert texts.grad is None
        assert pictures.grad is not None and (pictures.grad != 0).all()


class TestBatchedMaxsim:
    QUERIES, DOCUMENTS = [3, 1, 5], [4, 2, 7, 1]

    def scores(self, queries: Tensor, documents: Tensor) -> Tensor:
        owner = torch.repeat_interleave(torch.arange(3), torch.tensor(self.QUERIES))
        return batched_maxsim(queries, owner, documents, self.DOCUMENTS, 3)

    def test_equals_two_loops(self) -> None:
        queries, documents = units(9, 6), units(14, 6, seed=1)
        mine = self.scores(queries, documents)
        for i, query in enumerate(queries.split(self.QUERIES)):
            for j, document in enumerate(documents.split(self.DOCUMENTS)):
                best = [max(float(token @ other) for other in document) for token in query]
                assert float(mine[i, j]) == pytest.approx(sum(best) / len(best), abs=EXACT)

    def test_equals_maxsim_over_the_querys_tokens(self) -> None:
        """Also where every similarity is negative, which padding must not hide."""
        queries, documents = units(9, 6).abs().float(), -units(14, 6, seed=1).abs().float()
        padded = [
            torch.nn.utils.rnn.pad_sequence(list(x.split(sizes)), batch_first=True)
            for x, sizes in ((queries, self.QUERIES), (documents, self.DOCUMENTS))
        ]
        masks = [torch.arange(max(sizes)) < torch.tensor(sizes)[:, None] for sizes in (self.QUERIES, self.DOCUMENTS)]
        expected = maxsim(padded[0], padded[1], masks[0], masks[1]) / torch.tensor(self.QUERIES)[:, None]
        assert (expected < 0).all()
        torch.testing.assert_close(self.scores(queries, documents), expected, rtol=0, atol=1e-6)  # float32

    def test_gradients_equal_the_loops(self) -> None:
        mine, theirs = (units(9, 6).requires_grad_() for _ in range(2))
        documents, weights = units(14, 6, seed=1), draw(3, 4, seed=2)
        (self.scores(mine, documents) * weights).sum().backward()
        total = torch.zeros((), dtype=torch.float64)
        for i, query in enumerate(theirs.split(self.QUERIES)):
            for j, document in enumerate(documents.split(self.DOCUMENTS)):
                best = torch.stack([torch.stack([token @ other for other in document]).max() for token in query])
                total = total + weights[i, j] * best.mean()
        total.backward()
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=EXACT)


class TestGrounding:
    @pytest.fixture
    def here(self) -> Tensor:
        """Token 0 stands in one cell, token 2 in three, token 1 and 4 nowhere, token 3 everywhere."""
        here = torch.zeros(5, 6, dtype=torch.bool)
        here[0, 1] = True
        here[2, 2:5] = True
        here[3] = True
        return here

    @pytest.fixture
    def same(self, here: Tensor) -> Tensor:
        """The word's other places hold its own cells too, and a token that stands nowhere may have some."""
        same = here.clone()
        same[0, 4] = same[0, 5] = same[1, 0] = same[2, 0] = True
        return same

    def test_equals_the_loop(self, here: Tensor, same: Tensor) -> None:
        queries, cells = units(5, 4), units(6, 4, seed=1)
        losses = []
        for token in range(5):
            right = [cell for cell in range(6) if here[token, cell]]
            wrong = [cell for cell in range(6) if not here[token, cell] and not same[token, cell]]
            if not right:
                continue
            mass = {cell: math.exp(float(queries[token] @ cells[cell]) / 0.1) for cell in (*right, *wrong)}
            losses.append(-math.log(sum(mass[cell] for cell in right) / sum(mass.values())))
        assert len(losses) == 3
        mine = grounding_nce(queries, cells, here, same, 0.1)
        assert float(mine) == pytest.approx(sum(losses) / 3, abs=EXACT)

    def test_ignored_cells_and_tokens_that_stand_nowhere_have_no_gradient(self, here: Tensor, same: Tensor) -> None:
        queries = units(5, 4).requires_grad_()
        cells = torch.eye(6, dtype=torch.float64)[:, :4].clone().requires_grad_()
        grounding_nce(queries, cells, here, same, 0.1).backward()
        assert queries.grad is not None and cells.grad is not None
        moved = queries.grad.abs().sum(dim=1) > 0
        assert moved.tolist() == [True, False, True, False, False]  # token 3 is right wherever it looks
        only_first = grounding_nce(queries[:1], cells, here[:1], same[:1], 0.1)
        (gradient,) = torch.autograd.grad(only_first, cells)
        assert (gradient.abs().sum(dim=1) > 0).tolist() == [True, True, True, True, False, False]

    def test_a_perfect_token_costs_nothing(self) -> None:
        loss = grounding_nce(
            torch.eye(3), torch.eye(3), torch.eye(3, dtype=torch.bool), torch.zeros(3, 3, dtype=torch.bool), 0.01
        )
        assert float(loss) == pytest.approx(0, abs=1e-6)


def test_reading_loss_is_the_mean_over_points_of_minus_the_log_of_the_right_letter() -> None:
    logits = draw(4, 2, 5)
    letters = torch.tensor([[0, 3], [4, 0], [0, 0], [1, 1]])
    losses = []
    for patch in range(4):
        for point in range(2):
            masses = [math.exp(float(logit)) for logit in logits[patch, point]]
            losses.append(-math.log(masses[int(letters[patch, point])] / sum(masses)))
    assert float(reading_loss(logits, letters)) == pytest.approx(sum(losses) / 8, abs=EXACT)

    def test_in_blocks_it_is_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Scores and gradients, where the similarities of all documents are not in memory at once."""
        sides = units(9, 6), units(14, 6, seed=1)
        shapes, found = [], []
        matches = module._best_matches
        monkeypatch.setattr(module, "_best_matches", lambda q, d, n: shapes.append(len(d)) or matches(q, d, n))
        for most in (module.SIMILARITIES, 9 * 8):
            monkeypatch.setattr(module, "SIMILARITIES", most)
            queries, documents = (side.clone().requires_grad_() for side in sides)
            scores = self.scores(queries, documents)
            (scores * torch.arange(12.0).view(3, 4)).sum().backward()
            found.append((scores.detach(), queries.grad, documents.grad))
        assert shapes == [14, 6, 8, 8, 6]  # whole; two blocks, each of which comes back once
        for whole, blocks in zip(*found, strict=True):
            torch.testing.assert_close(blocks, whole, rtol=0, atol=EXACT)


def test_the_best_of_each_document_is_the_same_by_scattering_with_its_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = [3, 1, 5, 2]
    similarities = torch.randn(4, sum(lengths), generator=generator, requires_grad=True)
    weights = torch.randn(4, len(lengths), generator=generator)
    slow = torch.stack([part.amax(dim=1) for part in similarities.split(lengths, dim=1)], dim=1)
    found = best_of_each(similarities, lengths)
    assert torch.equal(found, slow)
    (wanted,) = torch.autograd.grad((slow * weights).sum(), similarities)
    (got,) = torch.autograd.grad((found * weights).sum(), similarities)
    assert torch.equal(got, wanted)
