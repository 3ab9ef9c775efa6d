"""MaxSim against two loops, with and without padding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from polylens.nn.similarity import maxsim, ragged_maxsim

ROUNDING = 2e-6  # float32 sums of a handful of products of at most one


def units(generator: torch.Generator, *shape: int) -> Tensor:
    return F.normalize(torch.randn(shape, generator=generator), dim=-1)


def slow(query: Tensor, document: Tensor) -> float:
    return sum(max(float(token @ other) for other in document) for token in query)


def pad(sequences: list[Tensor], filler: float) -> tuple[Tensor, Tensor]:
    longest = max(map(len, sequences)) + 2
    padded = torch.full((len(sequences), longest, sequences[0].shape[1]), filler)
    mask = torch.zeros(len(sequences), longest, dtype=torch.bool)
    for i, sequence in enumerate(sequences):
        padded[i, : len(sequence)], mask[i, : len(sequence)] = sequence, True
    return padded, mask


@pytest.fixture
def ragged() -> tuple[list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return (
        [units(generator, length, 6) for length in (1, 4, 9)],
        [units(generator, length, 6) for length in (3, 1, 12, 7)],
    )


@pytest.mark.parametrize("filler", [0.0, 7.0], ids=["zeros", "rubbish"])
def test_maxsim_equals_two_loops_whatever_fills_the_padding(
    ragged: tuple[list[Tensor], list[Tensor]], filler: float
) -> None:
    queries, documents = ragged
    padded_queries, query_mask = pad(queries, filler)
    padded_documents, document_mask = pad(documents, filler)
    expected = torch.tensor([[slow(query, document) for document in documents] for query in queries])
    mine = maxsim(padded_queries, padded_documents, query_mask, document_mask)
    torch.testing.assert_close(mine, expected, rtol=0, atol=ROUNDING)


def test_ragged_equals_two_loops(ragged: tuple[list[Tensor], list[Tensor]]) -> None:
    queries, documents = ragged
    expected = torch.tensor([[slow(query, document) for document in documents] for query in queries])
    torch.testing.assert_close(ragged_maxsim(queries, documents), expected, rtol=0, atol=ROUNDING)


def test_padding_is_nobodys_best_match_where_all_similarities_are_negative() -> None:
    """The published evaluation pads documents with zeros, which lifts such a token's score to 0."""
    queries = [F.normalize(torch.tensor([[1.0, 0.1], [1.0, -0.2]]), dim=-1)]
    documents = [torch.tensor([[-1.0, 0.0]]), torch.tensor([[-0.6, 0.8], [-0.8, -0.6]])]
    expected = torch.tensor([[slow(queries[0], document) for document in documents]])
    assert (expected < 0).all()
    padded_queries, query_mask = pad(queries, 0.0)
    padded_documents, document_mask = pad(documents, 0.0)
    mine = maxsim(padded_queries, padded_documents, query_mask, document_mask)
    torch.testing.assert_close(mine, expected, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(ragged_maxsim(queries, documents), expected, rtol=0, atol=ROUNDING)


def test_a_document_without_tokens_scores_minus_infinity() -> None:
    query = torch.tensor([[[1.0, 0.0]]])
    scores = maxsim(query, query, torch.tensor([[True]]), torch.tensor([[False]]))
    assert scores.tolist() == [[-torch.inf]]


def test_a_query_matches_itself_best(ragged: tuple[list[Tensor], list[Tensor]]) -> None:
    """A score lies between -S and S, and S is reached by the query's own tokens."""
    queries, documents = ragged
    scores = ragged_maxsim(queries, [*documents, *queries])
    sizes = torch.tensor([float(len(query)) for query in queries])
    torch.testing.assert_close(scores[:, len(documents) :].diagonal(), sizes, rtol=0, atol=ROUNDING)
    assert (scores.abs() <= sizes[:, None] + ROUNDING).all()
