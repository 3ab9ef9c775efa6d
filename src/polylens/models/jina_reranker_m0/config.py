"""The sizes of a model of this family, from `config.json`, and the numbers that its published code fixes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polylens.models.qwen_vl.config import (
    Json,
    Qwen2VisionConfig,
    TrunkConfig,
    parse_qwen2_vision,
    parse_trunk,
    render_trunk,
)

SCORE_TOKEN_ID = 100  # appended to each pair; the score is read at its position
LOGIT_BIAS = 2.65  # subtracted before the sigmoid
MAX_LENGTH = 10_240  # tokens of a pair, the score token counted
MIN_PIXELS, MAX_PIXELS = 3_136, 602_112  # of an image, whatever preprocessor_config.json says; 602,112 is 768 * 28 * 28
MAX_QUERY_LENGTH = 512  # tokens kept free for the query where a document is cut; the query itself is not cut


@dataclass(frozen=True, kw_only=True, slots=True)
class JinaRerankerM0Config:
    """The whole model; its head has the decoder's width."""

    trunk: TrunkConfig[Qwen2VisionConfig]


def parse_config(config: Json) -> JinaRerankerM0Config:
    """Reads the content of `config.json`.

    Raises:
        CheckpointError: A field is missing, of the wrong kind, or contradicts another.
    """
    return JinaRerankerM0Config(trunk=parse_trunk(config, parse_qwen2_vision))


def render_config(config: JinaRerankerM0Config) -> dict[str, Any]:
    """Returns the `config.json` of a model."""
    return {
        "architectures": ["JinaVLForRanking"],
        "model_type": "qwen2_vl",
        **render_trunk(config.trunk),
        "tie_word_embeddings": False,
    }
