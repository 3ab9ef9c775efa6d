"""The sizes of an EVA02 vision tower, from the `vision_config` of a jina-clip's `config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polylens.errors import CheckpointError
from polylens.models.counts import require_counts, require_values

Json = Mapping[str, Any]

TEXT_BACKBONE = "jinaai/jina-bert-flash-implementation"
"""The text tower of a jina-clip whose `text_config` names none."""

_DEFAULTS: Json = {
    "qkv_bias": True,
    "post_norm": False,
    "rope_embeddings": False,
    "pt_hw_seq_len": 16,
    "intp_freq": False,
    "naive_swiglu": False,
    "subln": False,
    "ls_init_value": None,
    "proj_type": None,
}
"""What the published class takes for a field that `vision_config` leaves out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionConfig:
    """The vision tower."""

    width: int
    num_layers: int
    num_heads: int
    mlp_width: int
    image_size: int  # pixels per side
    patch_size: int  # pixels per side
    pretrained_grid: int  # patches per side in pretraining; rotary positions are scaled to this span
    num_channels: int = 3
    norm_eps: float = 1e-6
    theta: float = 10_000.0

    @property
    def head_dim(self) -> int:
        return self.width // self.num_heads

    @property
    def grid(self) -> int:
        """Whole patches per side; the model does not see the remaining pixels at the right and the lower edge."""
        return self.image_size // self.patch_size

    @property
    def num_tokens(self) -> int:
        """Tokens per image: the patches and the class token."""
        return self.grid**2 + 1

    @property
    def patch_dim(self) -> int:
        """Numbers per patch."""
        return self.num_channels * self.patch_size**2


def text_backbone(config: Json) -> str:
    """Returns the repository of a jina-clip's text tower, which tells jina-clip-v1 (a JinaBERT) from jina-clip-v2.

    Example:
        >>> text_backbone({"text_config": {"hf_model_name_or_path": "jinaai/jina-embeddings-v3"}})
        'jinaai/jina-embeddings-v3'
    """
    text = config.get("text_config")
    return str(text.get("hf_model_name_or_path", TEXT_BACKBONE)) if isinstance(text, Mapping) else TEXT_BACKBONE


def is_jina_bert(repository: str) -> bool:
    """Returns whether the repository of a text tower is that of a JinaBERT, in any of its implementations."""
    return "jina-bert" in repository


def parse_vision(published: Json) -> VisionConfig:
    """Reads `vision_config`.

    Raises:
        CheckpointError: A field asks for something that this tower does not have.
        KeyError: A field is missing that has no default.
    """
    vision = {**_DEFAULTS, **published}
    require_values(
        "vision_config",
        vision,
        naive_swiglu=True,
        subln=True,
        rope_embeddings=True,
        qkv_bias=True,
        post_norm=False,
        ls_init_value=None,
        proj_type=None,
    )
    config = VisionConfig(
        width=vision["width"],
        num_layers=vision["layers"],
        num_heads=vision["width"] // vision["head_width"],
        mlp_width=int(vision["width"] * vision["mlp_ratio"] + 1e-6),  # the ratio may be a rounded quotient
        image_size=vision["image_size"],
        patch_size=vision["patch_size"],
        pretrained_grid=vision["pt_hw_seq_len"],
    )
    check_vision(config)
    if not vision["intp_freq"] and config.pretrained_grid != config.grid:
        raise CheckpointError(
            f"intp_freq of vision_config is False, so that pt_hw_seq_len must be the number of patches per side, "
            f"{config.grid}; it is {config.pretrained_grid}"
        )
    return config


def check_vision(config: VisionConfig) -> None:
    """Checks that the sizes go together: rotated pairs are shared out between rows and columns.

    Raises:
        CheckpointError: They do not.
    """
    require_counts(config)
    if config.width % config.num_heads or config.head_dim % 4:
        raise CheckpointError(
            f"{config.num_heads} heads cannot share a width of {config.width} in multiples of 4 numbers"
        )


def render_vision(config: VisionConfig) -> dict[str, Any]:
    """Returns the `vision_config` of a tower."""
    return {
        "model_type": "jina_clip_vision",
        "embed_dim": config.width,
        "width": config.width,
        "layers": config.num_layers,
        "head_width": config.head_dim,
        "mlp_ratio": config.mlp_width / config.width,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "pt_hw_seq_len": config.pretrained_grid,
        "intp_freq": True,
        "naive_swiglu": True,
        "subln": True,
        "rope_embeddings": True,
        "qkv_bias": True,
        "post_norm": False,
        "proj_type": None,
        "ls_init_value": None,
    }
