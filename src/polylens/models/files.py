"""The small files of a checkpoint: JSON and the tokenizer, with errors that name them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from polylens.errors import CheckpointError


def read_json(path: Path) -> Mapping[str, Any]:
    """Reads a JSON object from a file.

    Raises:
        CheckpointError: The file is missing, or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as missing:
        raise CheckpointError(f"{path.parent} lacks {path.name}; is it a folder in the official layout?") from missing
    except (json.JSONDecodeError, UnicodeDecodeError) as broken:
        raise CheckpointError(f"{path} is not JSON: {broken}") from broken
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value


def read_tokenizer(folder: Path) -> Tokenizer:
    """Reads the `tokenizer.json` of a folder.

    Raises:
        CheckpointError: The file is missing, or is no tokenizer.
    """
    path = folder / "tokenizer.json"
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except FileNotFoundError as missing:
        raise CheckpointError(f"{folder} lacks {path.name}") from missing
    except Exception as broken:  # the tokenizers library raises bare exceptions
        raise CheckpointError(f"{path} cannot be read: {broken}") from broken
