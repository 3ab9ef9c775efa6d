"""The published tensor names of jina-clip-v2's file and ours; those of the text tower are in `xlm_rotary`."""

from __future__ import annotations

from collections.abc import Sequence

from polylens.models.eva02.state_dict import vision_rules
from polylens.models.jina_clip_v2.config import JinaClipConfig
from polylens.models.protocol import Modality
from polylens.models.rules import Rule
from polylens.models.xlm_rotary.state_dict import adapted_rules

LOGIT_SCALE = "logit_scale"
"""The factor by which training multiplies cosines; embedding does not need it."""


def clip_rules(config: JinaClipConfig, modalities: Sequence[Modality]) -> list[Rule]:
    """Returns the rules of jina-clip-v2's `model.safetensors` for the towers that are loaded."""
    rules: list[Rule] = []
    if "text" in modalities:
        rules += adapted_rules(config.text, "text_model.transformer.roberta.")
    if "image" in modalities and config.vision is not None:
        rules += vision_rules(config.vision)
    return rules


def skipped_names(modalities: Sequence[Modality]) -> tuple[str, ...]:
    """Returns the prefixes of the names that stay unread: those of a tower that is not loaded, and the logit scale."""
    unwanted = [("text", "text_model."), ("image", "vision_model.")]
    return (LOGIT_SCALE, *(prefix for modality, prefix in unwanted if modality not in modalities))
