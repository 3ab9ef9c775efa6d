"""The published tensor names and ours: one rule per tensor, and none changes a number."""

from __future__ import annotations

from polylens.models.jina_reranker_m0.config import JinaRerankerM0Config
from polylens.models.qwen_vl.state_dict import FIRST_RELEASE, Places, decoder_names, vision_names

SKIPPED = ("lm_head.",)
"""The output layer of the language model, which is in the file: the published code replaces it by Identity."""


def names(config: JinaRerankerM0Config, places: Places = FIRST_RELEASE) -> dict[str, str]:
    """Returns published name -> our name, for every tensor that the network reads.

    Args:
        config: The sizes of the model.
        places: Where the file has the two networks.
    """
    head = {"score.0": "head.inner", "score.2": "head.outer"}
    return {
        **decoder_names(config.trunk.decoder, places),
        **vision_names(config.trunk.vision, places),
        **{f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in head.items() for kind in ("weight", "bias")},
    }
