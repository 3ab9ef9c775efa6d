"""The table of model families: one line per family, and nothing about a family outside its folder.

A new family is a folder beside this file, whose `family.py` has a `FAMILY`, and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from polylens.errors import CheckpointError
from polylens.models.description import BaseModels, Family

FOLDERS = (
    "jina_v4",
    "jina_clip_v2",
    "jina_reranker_m0",
    "col_qwen",
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
    kind, architectures = config.get("model_type"), config.get("architectures")
    known = ", ".join(repr(kind) for family in families() for kind in family.model_types)
    is_base = any(kind in family.bases.model_types for family in families() if family.bases is not None)
    way_out = "; a base model gives no vectors by itself: load the folder or the repository of an adapter on it"
    raise CheckpointError(
        f"no model family here supports the model_type {kind!r} with the architectures {architectures} of config.json; "
        f"supported: {known}{way_out if is_base else ''}"
    )


def family_of_adapter(config: Mapping[str, Any], adapter: Mapping[str, Any]) -> tuple[Family, BaseModels]:
    """Returns the family that an adapter on a base model belongs to, and how that family reads it.

    Args:
        config: The `config.json` of the base model.
        adapter: The `adapter_config.json` of the adapter.

    Raises:
        CheckpointError: No family claims the two.
    """
    for family in families():
        if family.bases is not None and family.bases.claims(config, adapter):
            return family, family.bases
    trained_on = (adapter.get("auto_mapping") or {}).get("base_model_class")
    known = ", ".join(repr(kind) for family in families() if family.bases for kind in family.bases.model_types)
    raise CheckpointError(
        f"no model family here supports an adapter of the class {trained_on!r} on a base model of the model_type "
        f"{config.get('model_type')!r}; base models supported: {known}"
    )
