"""Means over spans, and Matryoshka truncation."""

from __future__ import annotations

import pytest
import torch

from polylens.nn.pooling import span_mean, truncate


@pytest.mark.parametrize(
    "spans",
    [
        [(0, 20)],
        [(0, 1), (1, 2), (19, 20)],
        [(3, 9), (12, 19)],
        [(12, 19), (3, 9), (0, 2)],
    ],
    ids=["everything", "single rows", "gaps", "any order"],
)
def test_equals_a_mean_a_span(spans: list[tuple[int, int]]) -> None:
    rows = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    starts, stops = torch.tensor(spans).T
    expected = torch.stack([rows[start:stop].double().mean(dim=0).float() for start, stop in spans])
    torch.testing.assert_close(span_mean(rows, starts, stops), expected, rtol=0, atol=1e-6)  # float32 sums of 20


def test_bfloat16_rows_are_summed_in_float32() -> None:
    """A running sum in bfloat16 would stick at 256: its neighbours there are 2 apart."""
    rows = torch.ones(4096, 1, dtype=torch.bfloat16)
    mean = span_mean(rows, torch.tensor([0]), torch.tensor([4096]))
    assert mean.dtype == torch.float32
    assert float(mean) == 1.0


def test_rows_outside_of_the_spans_do_not_count() -> None:
    rows = torch.tensor([[torch.nan], [1.0], [3.0], [torch.inf]])
    assert span_mean(rows, torch.tensor([1]), torch.tensor([3])).tolist() == [[2.0]]


@pytest.mark.parametrize("dim", [1, 3, 8])
def test_truncated_vectors_have_unit_length(dim: int) -> None:
    vectors = torch.nn.functional.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(1)), dim=-1)
    cut = truncate(vectors, dim)
    assert cut.shape == (6, dim)
    torch.testing.assert_close(cut.norm(dim=-1), torch.ones(6), rtol=0, atol=1e-6)
    expected = vectors[:, :dim] / vectors[:, :dim].square().sum(dim=1, keepdim=True).sqrt()
    torch.testing.assert_close(cut, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(truncate(vectors[0], dim), expected[0], rtol=0, atol=1e-6)


def test_truncating_to_the_full_width_changes_rounding_at_most() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(2)), dim=-1)
    torch.testing.assert_close(truncate(vectors, 8), vectors, rtol=0, atol=2e-7)
