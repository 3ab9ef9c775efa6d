"""Tiny models of the family col_qwen for tests: transformers' network with random weights, and adapters by PEFT."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tests.support import tiny
from tests.support.frames import published_patches
from torch import Tensor, nn

from polylens.models.protocol import Item
from polylens.models.qwen_vl.config import Qwen2VisionConfig, TrunkConfig, render_trunk
from polylens.models.qwen_vl.images import render_image_config

TARGETS = "(.*(model).*(down_proj|gate_proj|up_proj|k_proj|q_proj|v_proj|o_proj).*$|.*(custom_text_proj).*$)"
"""As in the published recipes: in the names of some classes it means the vision tower too, in those of others not."""

_V4 = tiny.CONFIG
TRUNKS: dict[str, TrunkConfig[Any]] = {
    "qwen2_5_vl": _V4.trunk,
    "qwen2_vl": TrunkConfig(
        vision=Qwen2VisionConfig(
            width=64,
            num_layers=3,
            num_heads=2,
            mlp_width=128,
            output_width=48,
            patch_size=14,
            num_frames=2,
            merge_size=2,
        ),
        decoder=_V4.decoder,
        max_length=32_768,
        image_token_id=_V4.image_token_id,
        vision_start_token_id=_V4.vision_start_token_id,
        vision_end_token_id=_V4.vision_end_token_id,
    ),
}

BASE_NAMES = {
    "first release": {
        "vlm.language_model.": "model.",
        "vlm.visual.": "visual.",
        "embedding_proj_layer.": "custom_text_proj.",
    },
    "newer": {
        "vlm.language_model.": "model.language_model.",
        "vlm.visual.": "model.visual.",
        "embedding_proj_layer.": "custom_text_proj.",
    },
    "transformers": {"vlm.language_model.": "vlm.model.language_model.", "vlm.visual.": "vlm.model.visual."},
}
"""Names in `reference(...)`'s state -> names in a file."""


def reference(trunk_type: str, seed: int = 0) -> nn.Module:
    """transformers' `ColQwen2ForRetrieval` with random weights, on either trunk."""
    from transformers import ColQwen2Config, ColQwen2ForRetrieval, Qwen2_5_VLConfig, Qwen2VLConfig

    kind = Qwen2VLConfig if trunk_type == "qwen2_vl" else Qwen2_5_VLConfig
    config = ColQwen2Config(vlm_config=kind(**render_trunk(TRUNKS[trunk_type])), embedding_dim=128)
    model = ColQwen2ForRetrieval(config).float().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name or "ln_q" in name:
                noise = 0.1 * noise + (1 if name.endswith("weight") else 0)
            elif "embed_tokens" not in name:
                noise = noise / max(1, noise[0].numel()) ** 0.5 if noise.ndim > 1 else 0.1 * noise
            parameter.copy_(noise)
    return model


def write_base(
    folder: Path, model: nn.Module, trunk_type: str, naming: str = "first release", *, head: bool = True
) -> Path:
    """Writes a model as the base of adapters, or as a merged model, with an unused head; returns the folder."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        theirs, ours = next(((a, b) for a, b in BASE_NAMES[naming].items() if name.startswith(a)), ("", ""))
        tensors[ours + name.removeprefix(theirs)] = tensor.contiguous().clone()
    if head:
        tensors["lm_head.weight"] = torch.zeros(2, 2)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    trunk = {"model_type": trunk_type, **render_trunk(TRUNKS[trunk_type])}
    config = {"architectures": ["ColQwen2" if trunk_type == "qwen2_vl" else "ColQwen2_5"], **trunk}
    if naming == "transformers":
        config = {"model_type": "colqwen2", "vlm_config": trunk, "embedding_dim": 128}
    (folder / "config.json").write_text(json.dumps(config))
    write_processing(folder)
    return folder


def write_processing(folder: Path) -> None:
    """Writes the tokenizer and the processor's configuration into a folder."""
    (folder / "preprocessor_config.json").write_text(json.dumps(render_image_config(tiny.IMAGES)))
    tiny.byte_tokenizer().save(str(folder / "tokenizer.json"))


class ColQwen2_5(nn.Module):
    """A class with the parts of a model under the names of the class that an adapter was trained on."""

    def __init__(self, model: nn.Module, naming: str) -> None:
        super().__init__()
        language_model, visual, projector = model.vlm.language_model, model.vlm.visual, model.embedding_proj_layer
        if naming == "first release":  # a Qwen2_5_VLForConditionalGeneration of 2025-01 with a projector
            self.model, self.visual, self.custom_text_proj = language_model, visual, projector
        elif naming == "model class":  # a Qwen2_5_VLModel of today
            self.language_model, self.visual, self.custom_text_proj = language_model, visual, projector
        elif naming == "whole class":  # a Qwen2_5_VLForConditionalGeneration of today
            self.model = nn.Module()
            self.model.language_model, self.model.visual, self.custom_text_proj = language_model, visual, projector
        elif naming == "transformers":
            self.vlm = nn.Module()
            self.vlm.language_model, self.vlm.visual, self.embedding_proj_layer = language_model, visual, projector
        elif naming == "older transformers":
            self.vlm = nn.Module()
            self.vlm.model = nn.Module()
            self.vlm.model.language_model, self.vlm.model.visual = language_model, visual
            self.embedding_proj_layer = projector


def add_adapter(folder: Path, base: str, model: nn.Module, naming: str, seed: int = 1, **options: Any) -> Path:
    """Lets PEFT put an adapter with random weights into a model, and save it; the model then computes with it.

    Args:
        folder: Where the adapter goes, with the processor's files.
        base: Name of the base in `adapter_config.json`.
        model: From `reference`; changed in place.
        naming: The class that the adapter is saved from.
        options: Of `LoraConfig`.
    """
    from peft import LoraConfig, get_peft_model

    wanted = {"r": 4, "lora_alpha": 6, "target_modules": TARGETS, "init_lora_weights": "gaussian", **options}
    wrapped = get_peft_model(ColQwen2_5(model, naming), LoraConfig(**wanted)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if ".lora_" in name or "modules_to_save" in name:
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
    projector = "embedding_proj_layer" if naming.endswith("transformers") else "custom_text_proj"
    model.embedding_proj_layer = getattr(wrapped.base_model.model, projector)  # PEFT put another into its own class
    wrapped.save_pretrained(folder)
    saved = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**saved, "base_model_name_or_path": base}))
    write_processing(folder)
    return folder


def vectors(model: nn.Module, items: Sequence[Item], image_token_id: int = _V4.image_token_id) -> list[Tensor]:
    """The reference's vectors, one input at a time, with its own positions and kernels."""
    found = []
    for item in items:
        ids = torch.from_numpy(item.token_ids)[None]
        asked: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if item.patches is not None:
            grid = torch.tensor([[1, *item.grids[0]]])
            asked |= {"pixel_values": published_patches(item)[None], "image_grid_thw": grid}
            # transformers 5.23 hands its trunk embeddings alone, from which no place in an image can be told
            asked["position_ids"] = model.vlm.get_rope_index(
                ids,
                mm_token_type_ids=(ids == image_token_id).long(),
                image_grid_thw=grid,
                attention_mask=asked["attention_mask"],
            )[0]
        with torch.no_grad():
            found.append(model(**asked).embeddings[0])
    return found
