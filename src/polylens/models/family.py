"""The table of model families: one line per family, and nothing about a family outside its folder.

A new family is a folder beside this file, whose `family.py` has a `FAMILY`, and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from polylens.errors import CheckpointError
from polylens.models.description import Family

FOLDERS = (
    "jina_v4",
    "jina_clip_v2",
    "jina_reranker_m0",
    "jina_bert",
    "jina_colbert_v2",
)


@cache
def families() -> tuple[Family, ...]:
    """Returns every family in the order of the table, and imports them on first use."""
    return tuple(import_module(f"polylens.models.{folder}.family").FAMILY for folder in FOLDERS)


def family_of(config: Mapping[str, Any]) -> Family:
    """Returns the family that a checkpoint belongs to: the first in the table that claims it.

    Args:
        config: Its `config.json`.

    Raises:
        CheckpointError: No family claims it; the message names its `model_type` and the known ones.
    """
    for family in families():
        if family.claims(config):
            return family
    known = ", ".join(repr(kind) for family in families() for kind in family.model_types)
    raise CheckpointError(
        f"no model family here supports the model_type {config.get('model_type')!r} of config.json; supported: {known}"
    )
