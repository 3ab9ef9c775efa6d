"""The published tensor names and ours: one rule per tensor, and none changes a number."""

from __future__ import annotations

from polylens.models.qwen2_vl.config import Qwen2VLConfig
from polylens.models.qwen_vl.state_dict import FIRST_RELEASE, Places, decoder_names, vision_names

SKIPPED = ("lm_head.",)
"""The output head, which some files have; tied to the token embeddings or not, no vector depends on it."""


def names(config: Qwen2VLConfig, places: Places = FIRST_RELEASE) -> dict[str, str]:
    """Returns published name -> our name, for every tensor that is read."""
    return {**decoder_names(config.decoder, places), **vision_names(config.vision, places)}
