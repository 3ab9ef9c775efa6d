"""The sizes of a model of this family, from `config.json`, and its prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polylens.models.qwen2_vl.prompts import PromptSet
from polylens.models.qwen_vl.config import (
    DecoderConfig,
    Json,
    Qwen2VisionConfig,
    TrunkConfig,
    parse_qwen2_vision,
    parse_trunk,
    render_trunk,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Qwen2VLConfig:
    """The whole model."""

    trunk: TrunkConfig[Qwen2VisionConfig]
    prompts: PromptSet

    @property
    def vision(self) -> Qwen2VisionConfig:
        return self.trunk.vision

    @property
    def decoder(self) -> DecoderConfig:
        return self.trunk.decoder

    @property
    def max_length(self) -> int:
        """Tokens of the longest text, with its prompt."""
        return min(self.prompts.max_length or self.trunk.max_length, self.trunk.max_length)

    @property
    def matryoshka_dims(self) -> tuple[int, ...]:
        """Widths to which the vectors may be truncated, and their full width."""
        width = self.decoder.width
        return (*(dim for dim in self.prompts.matryoshka_dims if dim < width), width)


def parse_config(config: Json, prompts: PromptSet) -> Qwen2VLConfig:
    """Reads the content of `config.json`.

    Raises:
        CheckpointError: A field is missing, of the wrong kind, or contradicts another.
    """
    return Qwen2VLConfig(trunk=parse_trunk(config, parse_qwen2_vision), prompts=prompts)


def render_config(config: Qwen2VLConfig) -> dict[str, Any]:
    """Returns the `config.json` of a model without its prompts, with flat text fields as in the published files."""
    return {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        **render_trunk(config.trunk),
        "tie_word_embeddings": True,
    }
