"""Where this machine keeps what can be made again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "POLYLENS_CACHE"  # names the folder of everything that can be made again


def cache_folder() -> Path:
    """Returns the user's folder for what can be made again: `$POLYLENS_CACHE`, or where the system keeps such files."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData/Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "polylens"
