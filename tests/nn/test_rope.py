"""Rotary positions against complex numbers and hand-made tables."""

from __future__ import annotations

import cmath

import pytest
import torch

from polylens.nn.rope import Rotation, axial_angles, frequencies, rotate, sectioned_angles

THETA = 1_000_000.0
SECTIONS = (16, 24, 24)  # of the published decoder: pairs for time, row and column
ROUNDING = 2e-6  # float32 angles and products of values near one


def test_frequencies() -> None:
    expected = [THETA ** (-2 * i / 128) for i in range(64)]
    torch.testing.assert_close(frequencies(64, THETA, torch.device("cpu")), torch.tensor(expected), rtol=1e-6, atol=0)


def test_rotate_multiplies_complex_numbers() -> None:
    """Channel i and channel i + C/2 are one complex number, turned by e^(i angle)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 2, 8, generator=generator)
    angles = 10 * torch.randn(5, 4, generator=generator)
    mine = rotate(x, Rotation.by(angles))
    for token in range(5):
        for head in range(2):
            for pair in range(4):
                number = complex(x[token, head, pair], x[token, head, pair + 4])
                turned = number * cmath.exp(1j * float(angles[token, pair]))
                assert float(mine[token, head, pair]) == pytest.approx(turned.real, abs=ROUNDING)
                assert float(mine[token, head, pair + 4]) == pytest.approx(turned.imag, abs=ROUNDING)


def test_rotate_works_in_float32_and_returns_the_type_that_came() -> None:
    x = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(1)).bfloat16()
    rotation = Rotation.by(torch.arange(12.0).view(3, 4))
    assert torch.equal(rotate(x, rotation), rotate(x.float(), rotation).bfloat16())


def test_a_text_has_plain_one_dimensional_rope() -> None:
    positions = torch.tensor([0, 1, 2, 7, 1000])
    mine = sectioned_angles(positions[:, None].expand(-1, 3), 128, THETA, SECTIONS)
    plain = [[p * THETA ** (-2 * i / 128) for i in range(64)] for p in positions.tolist()]
    torch.testing.assert_close(mine, torch.tensor(plain), rtol=1e-6, atol=0)


def test_sections_read_time_row_and_column() -> None:
    """jina_embeddings_v4 facts, section 1.7: pairs 0-15 follow time, 16-39 the row, 40-63 the column."""
    mine = sectioned_angles(torch.tensor([[3, 50, 700]]), 128, THETA, SECTIONS)[0]
    for pair in range(64):
        position = 3 if pair < 16 else 50 if pair < 40 else 700
        assert float(mine[pair]) == pytest.approx(position * THETA ** (-2 * pair / 128), rel=1e-6)


def test_axes_of_the_vision_tower_each_have_all_speeds() -> None:
    """Section 1.6: 20 row frequencies, then 20 column frequencies, 10000^(-2i/40)."""
    mine = axial_angles(torch.tensor([[5, 11], [0, 2]]), 80, 10_000.0)
    assert mine.shape == (2, 40)
    for row, (down, right) in zip(mine.tolist(), [(5, 11), (0, 2)], strict=True):
        speeds = [10_000 ** (-2 * i / 40) for i in range(20)]
        assert row == pytest.approx([down * s for s in speeds] + [right * s for s in speeds], rel=1e-6)


def test_only_distances_matter() -> None:
    """What rotary positions are for: a score depends on how far apart two tokens stand, not on where."""
    q, k = torch.randn(2, 1, 1, 32, generator=torch.Generator().manual_seed(2))

    def score(at: int, other: int) -> float:
        def place(position: int) -> Rotation:
            return Rotation.by(sectioned_angles(torch.full((1, 3), position), 32, 100.0, (4, 6, 6)))

        return float((rotate(q, place(at)) * rotate(k, place(other))).sum())

    # 1e-4: float32 angles of a few hundred radians carry an error of about 2e-5 each
    assert score(3, 8) == pytest.approx(score(203, 208), abs=1e-4)
    assert abs(score(3, 8) - score(3, 9)) > 0.01
