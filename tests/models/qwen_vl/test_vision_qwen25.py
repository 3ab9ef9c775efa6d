"""Window order and patch positions against the facts written out slowly; what a window sees."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from tests.support import tiny

from polylens.models.protocol import Grid
from polylens.models.qwen_vl.vision import patch_positions
from polylens.models.qwen_vl.vision_qwen25 import Qwen25VisionTower, window_order

MERGE, WINDOW = 2, 4  # patches per side of a token, tokens per side of a window

GRIDS: list[Grid] = [
    (2, 2),
    (2, 4),
    (8, 8),
    (8, 10),
    (10, 8),
    (16, 24),
    (14, 18),
    (2, 60),
    (50, 2),
    (64, 46),
]


def slow_window_order(grid: Grid) -> tuple[list[int], list[int]]:
    """jina_embeddings_v4 facts, section 1.6, in its own words: both axes of the merged grid are padded by
    4 - (size % 4), which lays a full window of padding where the size is a multiple of four; windows without a token
    disappear because their cumulative length repeats."""
    height, width = grid[0] // MERGE, grid[1] // MERGE
    padded_height = height + WINDOW - height % WINDOW
    padded_width = width + WINDOW - width % WINDOW
    order: list[int] = []
    cumulative = [0]
    for window_row in range(padded_height // WINDOW):
        for window_column in range(padded_width // WINDOW):
            for row in range(window_row * WINDOW, (window_row + 1) * WINDOW):
                for column in range(window_column * WINDOW, (window_column + 1) * WINDOW):
                    if row < height and column < width:
                        order.append(row * width + column)
            cumulative.append(len(order))
    unique = sorted(set(cumulative))
    return order, [stop - start for start, stop in itertools.pairwise(unique)]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_window_order(grid: Grid) -> None:
    order, sizes = window_order(grid, MERGE, WINDOW)
    assert (order.tolist(), list(sizes)) == slow_window_order(grid)
    assert sorted(order.tolist()) == list(range(grid[0] * grid[1] // 4))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_patch_positions(grid: Grid) -> None:
    """Token after token, row by row; inside a token its four patches, row by row."""
    expected = [
        [MERGE * token_row + row, MERGE * token_column + column]
        for token_row in range(grid[0] // MERGE)
        for token_column in range(grid[1] // MERGE)
        for row in range(MERGE)
        for column in range(MERGE)
    ]
    assert patch_positions(grid, MERGE).tolist() == expected


def touched(tower: Qwen25VisionTower, grid: Grid, token: int) -> set[int]:
    """Tokens that change with one token's pixels."""
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(grid[0] * grid[1], tower.config.patch_dim, generator=generator)
    other = patches.clone()
    other[4 * token : 4 * token + 4] += 1.0
    with torch.no_grad():
        difference = (tower(patches, [grid]) - tower(other, [grid])).abs().amax(dim=1)
    return set((difference > 0).nonzero()[:, 0].tolist())


def tower(full_attention_layers: tuple[int, ...]) -> Qwen25VisionTower:
    torch.manual_seed(0)
    config = replace(tiny.CONFIG.vision, num_layers=2, full_attention_layers=full_attention_layers)
    return Qwen25VisionTower(config).eval()


@pytest.mark.parametrize("token", [0, 5, 29])
def test_windows_do_not_see_each_other(token: int) -> None:
    """6 x 5 tokens: windows of 4 x 4 and 4 x 1 above, of 2 x 4 and 2 x 1 below."""
    rows, columns = 6, 5
    window = (token // columns // WINDOW, token % columns // WINDOW)
    inside = {i for i in range(rows * columns) if (i // columns // WINDOW, i % columns // WINDOW) == window}
    assert touched(tower(()), (2 * rows, 2 * columns), token) == inside


def test_a_full_attention_layer_sees_the_whole_image() -> None:
    assert touched(tower((1,)), (12, 10), 5) == set(range(30))


def test_images_packed_together_do_not_see_each_other() -> None:
    grids: list[Grid] = [(8, 8), (4, 6), (10, 2), (8, 8)]
    network = tower((1,))
    sizes = [rows * columns for rows, columns in grids]
    patches = torch.randn(sum(sizes), network.config.patch_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        packed = network(patches, grids)
        apart = [network(part, [grid]) for part, grid in zip(patches.split(sizes), grids, strict=True)]
    torch.testing.assert_close(packed, torch.cat(apart), rtol=0, atol=1e-6)  # float32, values below one


def test_training_goes_on_after_inference_in_the_same_process() -> None:
    """Orders and positions are cached between calls; what inference mode cached must not reach a backward pass."""
    network = tower((1,))
    grid = (6, 22)  # of no other test here
    patches = torch.zeros(grid[0] * grid[1], network.config.patch_dim)
    with torch.inference_mode():
        network(patches, [grid])
    network(patches, [grid]).sum().backward()
    assert network.patch_embed.weight.grad is not None
