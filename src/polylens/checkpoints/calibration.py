"""A model's calibration: what its scores mean to people, in a file that `polylens eval match` writes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polylens.atomic import write_beside
from polylens.errors import CheckpointError
from polylens.models.description import Header
from polylens.models.files import read_json

FILE = "match.json"

log = logging.getLogger("polylens.models")


def read_calibration(header: Header) -> Mapping[str, Any] | None:
    """The calibration of a model.

    Args:
        header: The header of its checkpoint.

    Returns:
        The content of the file; None where there is none, or one that was made for other weights, which is logged.

    Raises:
        CheckpointError: The file is broken.
    """
    path = header.folder / FILE
    if not path.is_file():
        return None
    found = read_json(path)
    made_for = found.get("fingerprint")
    if not isinstance(made_for, str):
        raise CheckpointError(f"{path} must name the weights that it was made for in fingerprint, got {made_for!r}")
    if made_for != header.fingerprint:
        log.warning(
            "%s was made for other weights (%s, these are %s) and is not used: `polylens eval match --model %s "
            "--write` makes it anew",
            path,
            made_for,
            header.fingerprint,
            header.folder,
        )
        return None
    return found


def write_calibration(header: Header, curves: Mapping[str, Any]) -> Path:
    """Writes a model's calibration beside its weights, and returns the file.

    Args:
        header: The header of its checkpoint.
        curves: What `polylens.index.ranking.match.curves_of` reads, and how it was made.
    """
    path = header.folder / FILE
    with write_beside(path) as beside:
        beside.write_text(json.dumps({"fingerprint": header.fingerprint, **curves}, indent=2) + "\n", encoding="utf-8")
    return path
