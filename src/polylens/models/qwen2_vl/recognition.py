"""Which set of prompts a checkpoint has, from its small files and from the names of the others; none is executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from polylens.errors import CheckpointError
from polylens.models.files import read_json
from polylens.models.qwen2_vl.prompts import GME, PLACEHOLDER, PROMPT_SETS, TEXT, VDR, PromptSet

PROMPTS_FILE = "config_sentence_transformers.json"
GME_CODE = ("gme_inference.py", "modeling_gme_qwen2vl.py")
"""Files of code that the repositories of gme have, and no others; only their names are looked at."""
NAME = "prompt_set"
LIMITS = {"min_image_tokens": "min_tokens", "max_image_tokens": "max_tokens"}
"""Fields of gme's `config.json` -> ours."""

Json = Mapping[str, Any]


def prompts_of(folder: Path, config: Json) -> PromptSet:
    """Returns the set of prompts of a checkpoint.

    Its name is the `prompt_set` of `config.json`, which the catalog adds for its models; else gme's, if `config.json`
    or a file's name refers to gme's code; else vdr's, if `config_sentence_transformers.json` has prompts of its form.
    Prompts in that form replace those of the set.

    Args:
        folder: Folder of the checkpoint.
        config: The content of its `config.json`.

    Raises:
        CheckpointError: Nothing tells the prompts, as for Qwen2-VL itself, or a prompt is not usable.
    """
    templates = _published_templates(folder)
    name = config.get(NAME)
    if name is None and _refers_to_gme(folder, config):
        name = GME.name
    if name is None and templates:
        name = VDR.name
    if name is None:
        raise CheckpointError(
            f"{folder} has a Qwen2-VL, and nothing says by which prompts it makes vectors. Qwen2-VL itself makes none, "
            f"nor does the base of an adapter. For an embedding model, add {PROMPTS_FILE} with prompts named 'image' "
            f"and 'query' ({TEXT} is the text), or {NAME!r} to config.json, one of {', '.join(PROMPT_SETS)}"
        )
    if not isinstance(name, str) or name not in PROMPT_SETS:
        raise CheckpointError(f"{NAME} of config.json must be one of {', '.join(PROMPT_SETS)}, got {name!r}")
    return replace(PROMPT_SETS[name], **templates, **_limits(config))


def _refers_to_gme(folder: Path, config: Json) -> bool:
    named = [*(config.get("architectures") or ()), *dict(config.get("auto_map") or {}).values()]
    return any("GmeQwen2VL" in str(each) for each in named) or any((folder / file).exists() for file in GME_CODE)


def _published_templates(folder: Path) -> dict[str, Any]:
    """Returns the prompts of the file, if it has the form of vdr's: one for images, and one with a place for a text."""
    path = folder / PROMPTS_FILE
    prompts = (read_json(path).get("prompts") or {}) if path.exists() else {}
    image, query = (prompts.get(name) if isinstance(prompts, dict) else None for name in ("image", "query"))
    if not (isinstance(image, str) and isinstance(query, str) and TEXT in query):
        return {}
    before, _, after = query.partition(TEXT)
    if image.count(PLACEHOLDER) != 1 or TEXT in after or PLACEHOLDER in after or before.count(PLACEHOLDER) > 1:
        raise CheckpointError(
            f"{path} must have a prompt 'image' with {PLACEHOLDER} once, and a prompt 'query' with {TEXT} once, "
            f"before which {PLACEHOLDER} may stand once; got {image!r} and {query!r}"
        )
    return {"image": image, "text": query}


def _limits(config: Json) -> dict[str, Any]:
    found = {ours: config[theirs] for theirs, ours in LIMITS.items() if config.get(theirs) is not None}
    for field, value in found.items():
        if type(value) is not int or value < 1:
            raise CheckpointError(f"{field} of images in config.json must be a whole number above 0, got {value!r}")
    return found


def render_prompts(prompts: PromptSet) -> tuple[dict[str, Any], dict[str, Json]]:
    """Returns the fields of `config.json` and the files by their names, from which `prompts_of` reads the set again."""
    known = PROMPT_SETS[prompts.name]
    limits = {
        theirs: getattr(prompts, ours)
        for theirs, ours in LIMITS.items()
        if getattr(prompts, ours) != getattr(known, ours)
    }
    files: dict[str, Json] = {}
    if (prompts.text, prompts.image) != (known.text, known.image):
        files[PROMPTS_FILE] = {"prompts": {"image": prompts.image, "query": prompts.text}}
    return {NAME: prompts.name, **limits}, files
