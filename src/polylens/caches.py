"""Where this machine keeps what can be made again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "POLYLENS_CACHE"  # names the folder of everything that can be made again

NO_HOME = Path("/nonexistent")
"""Stands for the home of a user without one, as in a container. Nobody can write there, so nothing is kept: a folder
that all users of a machine share, such as /tmp, is no place for graphs that are run."""


def cache_folder() -> Path:
    """Returns the user's folder for what can be made again: `$POLYLENS_CACHE`, or where the system keeps such files."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(_home() / "AppData/Local")
    elif sys.platform == "darwin":
        base = str(_home() / "Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(_home() / ".cache")
    return Path(base) / "polylens"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        return NO_HOME
