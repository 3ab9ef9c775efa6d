"""timm's EVA02 in a process of its own, with the vision tower of a jina-clip-v2; `process.py` says how it is asked.

Settings: `model`, a folder in jina-clip-v2's layout; `dtype`. jina-clip's own code is remote code, which is not run
here; timm has the same network, and its filter of EVA's checkpoints knows the published names.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from process import Encode, Settings, answer_requests
from safetensors import safe_open

PREFIX = "vision_model."


def load(settings: Settings) -> Encode:
    """Builds the tower of `config.json`, with its weights."""
    folder = Path(settings["model"])
    dtype = getattr(torch, settings.get("dtype", "float32"))
    described = json.loads((folder / "config.json").read_text())["vision_config"]
    pixels = json.loads((folder / "preprocessor_config.json").read_text())
    network = _network(described, _weights(folder)).to(dtype).eval()
    mean, std = (torch.tensor(pixels[name])[:, None, None] for name in ("mean", "std"))

    def prepare(path: str) -> torch.Tensor:
        side = pixels["size"]
        image = Image.open(path).convert("RGB")
        if image.size != (side, side):
            raise ValueError(f"the pictures must have {side} x {side} pixels, got {image.size}: resizing differs")
        return (torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 - mean) / std

    @torch.inference_mode()
    def encode(inputs: Sequence[str]) -> Sequence[np.ndarray]:
        batch = torch.stack([prepare(path) for path in inputs]).to(dtype)
        return list(torch.nn.functional.normalize(network(batch).float(), dim=-1).numpy())

    return encode


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(PREFIX)]  # noqa: SIM118 - it is no mapping
        return {name.removeprefix(PREFIX): file.get_tensor(name).float() for name in names}


def _network(described: dict[str, Any], tensors: dict[str, torch.Tensor]) -> torch.nn.Module:
    _import_timm()
    from timm.models.eva import Eva, checkpoint_filter_fn

    grid = described["pt_hw_seq_len"]
    network = Eva(
        img_size=described["image_size"],
        patch_size=described["patch_size"],
        num_classes=tensors["head.weight"].shape[0] if "head.weight" in tensors else 0,
        embed_dim=described["width"],
        depth=described["layers"],
        num_heads=described["width"] // described["head_width"],
        mlp_ratio=described["mlp_ratio"],
        qkv_fused=False,
        swiglu_mlp=True,
        scale_mlp=True,
        scale_attn_inner=True,
        use_rot_pos_emb=True,
        ref_feat_shape=(grid, grid),
        global_pool="token",
    )
    network.load_state_dict(checkpoint_filter_fn(tensors, network))
    return network


def _import_timm() -> None:
    """Imports timm also where torchvision was built for another torch.

    Such a torchvision lacks its compiled operators, which no vision transformer calls, but wants them declared.
    """
    try:
        import timm
    except RuntimeError:
        for name in [each for each in sys.modules if each.split(".")[0] in ("timm", "torchvision")]:
            del sys.modules[name]
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(operators)
        import timm  # noqa: F401


_KEPT: list[Any] = []  # a library's operators vanish with it


if __name__ == "__main__":
    answer_requests(load, ("timm", "torch"))
