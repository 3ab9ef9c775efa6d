"""Windows of one colour, of which a tower computes one: against a tower that computes all and hides the others."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.support import tiny
from tests.support.root import ROOT
from torch import Tensor

import polylens
from polylens.documents.opening import open_document
from polylens.models.jina_v4.model import JinaV4
from polylens.models.protocol import Grid
from polylens.models.qwen_vl.config import parse_qwen25_vision, parse_trunk, render_trunk
from polylens.models.qwen_vl.vision import patch_positions
from polylens.models.qwen_vl.vision_qwen25 import Qwen25VisionTower
from polylens.nn.rope import Rotation, axial_angles, rotate

GRID: Grid = (24, 20)  # patches: three rows of three windows, the last of a row half as wide
WHITE, GREY = (1.0, 1.0, 1.0), (0.5, 0.5, 0.25)
LAYOUT = ["white", "ink", "white", "grey", "speck", "grey", "white", "halves", "white"]
"""What each window shows. A speck is one number of one pixel that is not white's, halves are of two colours."""
STANDS_FOR = {2: 0, 5: 3, 6: 0, 8: 0}


def towers(full_attention_layers: tuple[int, ...]) -> tuple[Qwen25VisionTower, Qwen25VisionTower]:
    """One that computes everything, and one of the same weights that shares."""
    torch.manual_seed(0)
    config = replace(tiny.CONFIG.vision, full_attention_layers=full_attention_layers)
    whole = Qwen25VisionTower(config).eval()
    sharing = Qwen25VisionTower(replace(config, shares_uniform_windows=True)).eval()
    sharing.load_state_dict(whole.state_dict())
    return whole, sharing


def window_rows(tower: Qwen25VisionTower) -> list[Tensor]:
    """The patches of each window, in merge order."""
    order, sizes = tower.window_order([GRID])
    return [tower.patches_of(tokens) for tokens in torch.split(order, sizes)]


def picture(tower: Qwen25VisionTower) -> Tensor:
    """`[P, D]`."""
    generator = torch.Generator().manual_seed(1)
    patches = torch.empty(GRID[0] * GRID[1], tower.config.patch_dim)
    pixels = patches.view(len(patches), 3, -1)
    for shows, rows in zip(LAYOUT, window_rows(tower), strict=True):
        color = torch.tensor(GREY if shows == "grey" else WHITE)
        pixels[rows] = color[:, None].expand(len(rows), 3, pixels.shape[-1])
        if shows == "ink":
            pixels[rows] = torch.randn(len(rows), 3, pixels.shape[-1], generator=generator)
        elif shows == "speck":
            pixels[rows[7], 1, 5] = 0.75
        elif shows == "halves":
            pixels[rows[: len(rows) // 2]] = torch.tensor(GREY)[:, None]
    return patches


def slow(tower: Qwen25VisionTower, patches: Tensor) -> Tensor:
    """The last states of all patches, where layers that see the whole image do not see the windows that others stand
    for. Row after row, in merge order."""
    rows = window_rows(tower)
    window_of = torch.empty(len(patches), dtype=torch.int64)
    for number, its in enumerate(rows):
        window_of[its] = number
    is_same_window = window_of[:, None] == window_of
    is_seen = ~torch.isin(window_of, torch.tensor(list(STANDS_FOR)))
    config = tower.config
    rotation = Rotation.by(axial_angles(patch_positions(GRID, config.merge_size), config.head_dim, config.theta))
    x = tower.patch_embed(patches)
    for index, block in enumerate(tower.blocks):
        heads = block.attention.qkv(block.attention_norm(x)).unflatten(-1, (3, config.num_heads, -1))
        queries, keys = (rotate(heads[:, i], rotation).transpose(0, 1) for i in (0, 1))
        mask = is_seen.expand(len(x), -1) if index in config.full_attention_layers else is_same_window
        mixed = F.scaled_dot_product_attention(queries, keys, heads[:, 2].transpose(0, 1), attn_mask=mask)
        x = x + block.attention.out(mixed.transpose(0, 1).flatten(1))
        x = x + block.mlp(block.mlp_norm(x))
    return x


@pytest.mark.parametrize("full", [(), (1,)], ids=["windows", "one-layer-sees-all"])
@torch.no_grad()
def test_one_window_of_a_colour_stands_for_all(full: tuple[int, ...]) -> None:
    whole, sharing = towers(full)
    patches = picture(whole)
    expected = whole.merger(slow(whole, patches))
    tokens_of = [rows[::4] // 4 for rows in window_rows(whole)]
    for window, shows in enumerate(LAYOUT):
        if shows in ("white", "grey"):
            expected[tokens_of[window]] = expected[tokens_of[STANDS_FOR.get(window, window)][0]].clone()
    shared = sharing(patches, [GRID])
    torch.testing.assert_close(shared, expected, rtol=0, atol=2e-6)
    if not full:  # nothing is lost where no layer sees the whole image
        torch.testing.assert_close(shared, whole(patches, [GRID]), rtol=0, atol=2e-6)


@torch.no_grad()
def test_it_computes_only_those(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, sharing = towers((1,))
    seen: list[int] = []
    embed = sharing.patch_embed.forward
    monkeypatch.setattr(sharing.patch_embed, "forward", lambda x: (seen.append(len(x)), embed(x))[1])
    sharing(picture(whole), [GRID])
    assert seen == [sum(len(rows) for number, rows in enumerate(window_rows(whole)) if number not in STANDS_FOR)]


@torch.no_grad()
def test_images_of_a_batch_share_nothing_with_each_other() -> None:
    whole, sharing = towers((1,))
    first = picture(whole)
    second = torch.full((8 * 16, first.shape[1]), WHITE[0])
    together = sharing(torch.cat([first, second]), [GRID, (8, 16)])
    apart = torch.cat([sharing(first, [GRID]), sharing(second, [(8, 16)])])
    torch.testing.assert_close(together, apart, rtol=0, atol=2e-6)


@torch.no_grad()
def test_where_nothing_is_uniform_nothing_changes() -> None:
    whole, sharing = towers((1,))
    noise = torch.randn(GRID[0] * GRID[1], whole.config.patch_dim, generator=torch.Generator().manual_seed(2))
    assert torch.equal(sharing(noise, [GRID]), whole(noise, [GRID]))


@torch.no_grad()
def test_an_image_of_one_colour_has_one_token() -> None:
    _, sharing = towers((1,))
    tokens = sharing(torch.full((GRID[0] * GRID[1], sharing.config.patch_dim), 0.5), [GRID])
    assert len(tokens) == 120 and torch.equal(tokens, tokens[:1].expand_as(tokens))


def test_in_training_every_patch_is_computed() -> None:
    whole, sharing = towers((1,))
    patches = picture(whole)
    assert torch.equal(sharing.train()(patches, [GRID]), whole(patches, [GRID]))


def test_a_configuration_says_so_and_published_ones_do_not() -> None:
    trunk = tiny.CONFIG.trunk
    published = render_trunk(trunk)
    assert "share_uniform_windows" not in published["vision_config"]
    assert not parse_trunk(published, parse_qwen25_vision).vision.shares_uniform_windows
    sharing = replace(trunk, vision=replace(trunk.vision, shares_uniform_windows=True))
    assert parse_trunk(render_trunk(sharing), parse_qwen25_vision).vision.shares_uniform_windows


@torch.no_grad()
def test_nanos_vectors_hardly_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of which half is white, as nano has it since it shares windows, and as its weights were trained."""
    with open_document(ROOT / "samples/annual-report-2024.pdf") as document:
        page = document.page(1).image
    nano = polylens.load("nano", engine="torch")
    tower = cast(JinaV4, nano.model).vision
    assert tower.config.shares_uniform_windows
    [sharing] = nano.embed([page], prompt_name="passage")
    monkeypatch.setattr(tower, "config", replace(tower.config, shares_uniform_windows=False))
    [whole] = nano.embed([page], prompt_name="passage")
    assert sharing.multivector is not None and whole.multivector is not None
    assert sharing.dense @ whole.dense > 0.99
    cosines = (sharing.multivector * whole.multivector).sum(axis=1)
    assert np.median(cosines) > 0.99 and cosines.mean() > 0.98 and cosines.min() < 0.9999  # and it does share
