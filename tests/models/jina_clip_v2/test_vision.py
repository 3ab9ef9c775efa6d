"""The vision tower against a plain reading of the facts: one image, one head, one channel at a time, in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from tests.support import tiny_clip
from tests.support.slow_eva02 import SlowTower, normalised

import polylens
from polylens.checkpoints.export import save_checkpoint
from polylens.checkpoints.loading import load_model, read_header
from polylens.models.eva02.vision import resized_positions
from polylens.models.jina_clip_v2.model import JinaClip
from polylens.models.jina_clip_v2.processing import JinaClipProcessor
from polylens.runtime.embedder import Embedder

BOUND = 1e-4
"""Of the signal's standard deviation."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.write(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def embedder(folder: Path) -> Embedder:
    return polylens.load(folder, dtype="float32", device="cpu")


def noise(width: int, height: int, seed: int) -> PIL.Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(values)


def test_against_the_facts(folder: Path, embedder: Embedder) -> None:
    images = [noise(76, 76, seed) for seed in range(3)]
    slow = SlowTower(folder, tiny_clip.CLIP["vision_config"])
    expected = np.stack([slow(normalised(image)) for image in images])
    difference = np.abs(embedder.encode_image(images) - expected).max() / expected.std()
    print(f"vision tower: largest difference {difference:.1e} of the signal's standard deviation")
    assert difference < BOUND


def test_every_part_counts(folder: Path, embedder: Embedder) -> None:
    """What the loop would not notice if both sides forgot it: each stored number moves the answer."""
    image = noise(76, 76, 0)
    slow = SlowTower(folder, tiny_clip.CLIP["vision_config"])
    before = slow(normalised(image))
    for name in list(slow.weights):
        if not name.startswith(("blocks.1.", "norm", "cls", "pos", "patch")):
            continue
        kept = slow.weights[name]
        slow.weights[name] = kept + 0.3 * np.random.default_rng(0).standard_normal(kept.shape)
        assert np.abs(slow(normalised(image)) - before).max() > 1e-4, name
        slow.weights[name] = kept


def test_batched_equals_alone_equals_permuted(embedder: Embedder) -> None:
    inputs = [noise(76, 76, 1), "a text", noise(120, 90, 2), "", noise(30, 200, 3), "another"]
    together = embedder.encode(inputs)
    alone = np.stack([embedder.encode(each) for each in inputs])
    assert np.abs(together - alone).max() < 2e-6  # float32 sums over other blocks
    assert np.abs(embedder.encode(inputs[::-1])[::-1] - alone).max() < 2e-6


def test_bfloat16_is_near(folder: Path, embedder: Embedder) -> None:
    images = [noise(76, 76, seed) for seed in range(4)]
    rough = polylens.load(folder, dtype="bfloat16", device="cpu").encode_image(images)
    assert (rough * embedder.encode_image(images)).sum(axis=1).min() > 0.999


def test_gradients_reach_every_weight(embedder: Embedder, folder: Path) -> None:
    """Training needs no other code than this."""
    model = polylens.load(folder, dtype="float32", device="cpu").model.requires_grad_(True)
    items = [embedder.processor.image(noise(76, 76, 5), task=None, max_pixels=None)]
    items.append(embedder.processor.text("sea", task=None, prompt_name="", max_length=None))
    model.embed(items).dense[:, :7].sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize("grid", [2, 3, 9])
def test_positions_for_another_size_are_those_that_pillow_makes(grid: int) -> None:
    positions = torch.randn(26, 4, generator=torch.Generator().manual_seed(1))
    ours = resized_positions(positions, grid)
    assert torch.equal(ours[0], positions[0])
    for channel in range(4):
        learned = PIL.Image.fromarray(positions[1:, channel].reshape(5, 5).numpy())
        theirs = np.asarray(learned.resize((grid, grid), PIL.Image.Resampling.BICUBIC))
        assert np.abs(ours[1:, channel].reshape(grid, grid).numpy() - theirs).max() <= 1e-5  # float32


def test_at_its_own_size_nothing_changes() -> None:
    positions = torch.randn(26, 4)
    assert resized_positions(positions, 5) is positions


def test_a_resized_model_is_one_of_that_size(folder: Path, tmp_path: Path) -> None:
    header = read_header(folder)
    model = load_model(header, device=torch.device("cpu"), dtype=torch.float32)
    assert isinstance(model, JinaClip) and isinstance(header.processor, JinaClipProcessor)
    model.resize(104)
    processor = header.processor.resized(104)
    save_checkpoint(tmp_path, header.family, model, processor, {"logit_scale": 0.0})
    picture = noise(120, 110, 5)
    with torch.no_grad():
        found = model.embed([processor.image(picture, task=None, max_pixels=None)]).dense[0].numpy()
    loaded = polylens.load(tmp_path, dtype="float32", device="cpu")
    assert np.array_equal(found, loaded.encode_image([picture])[0])
    assert model.config.vision is not None and model.config.vision.num_tokens == 7**2 + 1
    [vector] = polylens.load(folder, dtype="float32", device="cpu").encode_image([picture])
    assert 0.5 < float(vector @ found) < 1  # the same picture, seen in more patches
