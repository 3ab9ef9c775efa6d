"""The published tensor names of jina-colbert-v2 and ours."""

from __future__ import annotations

from polylens.models.jina_colbert_v2.config import JinaColbertConfig
from polylens.models.rules import Rule, rename
from polylens.models.xlm_rotary.state_dict import plain_rules


def published_rules(config: JinaColbertConfig, prefix: str) -> list[Rule]:
    """Returns the rules of `model.safetensors`.

    Args:
        config: The sizes of the model.
        prefix: What stands before the names of the tower.
    """
    head = rename("linear.weight", (config.dim, config.text.width), "head.weight")
    return [*plain_rules(config.text, prefix), head]
