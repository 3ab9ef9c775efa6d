"""The vision tower of Qwen2-VL against transformers', same random weights, in float32; what an image sees.

The bound is 1e-4 of the signal's standard deviation.
"""

from __future__ import annotations

import pytest
import torch
from tests.support import tiny_m0
from tests.support.frames import repeat_frames

from polylens.models.protocol import Grid
from polylens.models.qwen_vl.state_dict import published_shape, vision_names
from polylens.models.qwen_vl.vision_qwen2 import QuickGeluMLP, Qwen2VisionTower

BOUND = 1e-4
CONFIG = tiny_m0.CONFIG.trunk.vision


def tower() -> Qwen2VisionTower:
    network = Qwen2VisionTower(CONFIG).eval()
    tensors = tiny_m0.random_tensors()
    with torch.no_grad():
        for theirs, ours in vision_names(CONFIG).items():
            parameter = network.get_parameter(ours.removeprefix("vision."))
            parameter.copy_(tensors[theirs].reshape(parameter.shape))
    return network


def random_patches(grids: list[Grid]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(len(grids))
    return torch.randn(sum(rows * columns for rows, columns in grids), CONFIG.patch_dim, generator=generator)


@pytest.mark.parametrize(
    "grids",
    [[(2, 2)], [(8, 8)], [(4, 30)], [(26, 2)], [(8, 8), (2, 2), (10, 14), (16, 8), (4, 30), (10, 14)]],
    ids=["one token", "square", "wide", "tall", "several"],
)
def test_equals_transformers(grids: list[Grid]) -> None:
    from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
    from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel

    config = Qwen2VLVisionConfig(
        depth=CONFIG.num_layers,
        embed_dim=CONFIG.width,
        hidden_size=CONFIG.output_width,
        num_heads=CONFIG.num_heads,
        mlp_ratio=CONFIG.mlp_width // CONFIG.width,
    )
    theirs = Qwen2VisionTransformerPretrainedModel._from_config(config).float().eval()
    tensors = tiny_m0.random_tensors()
    theirs.load_state_dict({name.removeprefix("visual."): tensors[name] for name in vision_names(CONFIG)}, strict=True)
    patches = random_patches(grids)
    with torch.no_grad():
        found = theirs(repeat_frames(patches), grid_thw=torch.tensor([[1, *grid] for grid in grids]))
        expected = getattr(found, "pooler_output", found)
        ratio = float((tower()(patches, grids) - expected).abs().max() / expected.std())
    print(f"\nvision tower of Qwen2-VL: largest difference {ratio:.1e} of the signal's standard deviation")
    assert ratio <= BOUND


def test_each_token_depends_on_the_whole_image_and_on_no_other() -> None:
    grids: list[Grid] = [(12, 10), (4, 4)]
    network, patches = tower(), random_patches(grids)
    other = patches.clone()
    other[:4] += 1.0
    with torch.no_grad():
        moved = (network(patches, grids) - network(other, grids)).abs().amax(dim=1) > 1e-6
    assert moved[:30].all() and not moved[30:].any()


def test_quick_gelu_is_the_formula() -> None:
    mlp = QuickGeluMLP(1, 1)
    with torch.no_grad():
        for layer in (mlp.up, mlp.down):
            layer.weight.fill_(1.0)
            layer.bias.fill_(0.0)
    x = torch.tensor([[-2.0], [0.0], [0.5], [3.0]])
    torch.testing.assert_close(mlp(x), x / (1 + torch.exp(-1.702 * x)))


def test_shapes_of_the_patch_embedding() -> None:
    """The file has a convolution over frames, rows and columns; we hold the same numbers as a matrix."""
    assert published_shape(CONFIG, "vision.patch_embed.weight", (64, 1176)) == (64, 3, 2, 14, 14)
    assert published_shape(CONFIG, "vision.merger.norm.bias", (64,)) == (64,)
