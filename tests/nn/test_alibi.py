"""The slopes and biases of ALiBi against the definition."""

from __future__ import annotations

import math

import pytest
import torch

from polylens.nn.alibi import alibi_slopes, reversed_biases


def slow(count: int) -> list[float]:
    """Press et al. 2021: a geometric series that starts at 2^(-8/n) and has that ratio; field_2026_11 facts, 4.2."""
    whole = 2 ** math.floor(math.log2(count))
    start = 2 ** -(2 ** -(math.log2(whole) - 3))
    slopes = [start * start**i for i in range(whole)]
    return slopes if whole == count else slopes + slow(2 * whole)[0::2][: count - whole]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 8, 12, 16, 20, 25])
def test_slopes(count: int) -> None:
    found = alibi_slopes(count)
    assert found.shape == (count,)
    torch.testing.assert_close(found, torch.tensor(slow(count)), rtol=1e-6, atol=0)  # float32


def test_the_slopes_of_the_published_models() -> None:
    eight = [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]
    assert alibi_slopes(8).tolist() == eight
    twelve = alibi_slopes(12).tolist()
    assert twelve[:8] == eight
    assert twelve[8:] == pytest.approx([0.70710678, 0.35355339, 0.17677670, 0.08838835], rel=1e-7)


@pytest.mark.parametrize("length", [1, 2, 7])
@pytest.mark.parametrize("causal", [True, False])
def test_biases(length: int, causal: bool) -> None:
    slopes = torch.tensor([0.5, 2.0])
    found = reversed_biases(slopes, length, causal=causal, dtype=torch.float32).flip(1)
    for head in range(2):
        for i in range(length):
            for j in range(length):
                wanted = -math.inf if causal and j > i else -float(slopes[head]) * abs(i - j)
                assert found[head, i, j] == wanted


def test_biases_need_no_memory() -> None:
    found = reversed_biases(torch.ones(3), 1000, causal=False, dtype=torch.float32)
    assert found.shape == (3, 1000, 1000) and found.untyped_storage().nbytes() == 4 * 3 * 1999
