"""The virtual environments of the peers: one each, because their requirements contradict each other and ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ENVIRONMENTS = ("torch", "openvino", "timm", "infinity")
"""`requirements-NAME.txt` says what is in each."""
HERE = Path(__file__).parent


def python_of(folder: Path | None, name: str) -> Path | None:
    """Returns the interpreter of a peer's environment, or None where it has not been made."""
    if folder is None:
        return None
    python = folder / name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return python if python.exists() else None


def install(folder: Path) -> list[str]:
    """Makes the environments that are missing, and returns the names of those that could not be made.

    `requirements-NAME-forced.txt` is installed last and without its dependencies: it replaces packages that the peer
    itself pins to releases which cannot read these weights.

    Args:
        folder: Where to; a folder of each name is made in it.
    """
    failed = []
    for name in ENVIRONMENTS:
        if python_of(folder, name) is not None:
            continue
        subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
        pip = [str(python_of(folder, name)), "-m", "pip", "install"]
        commands = [[*pip, "-r", str(HERE / f"requirements-{name}.txt")]]
        if (forced := HERE / f"requirements-{name}-forced.txt").exists():
            commands.append([*pip, "--no-deps", "-r", str(forced)])
        if any(subprocess.run(command, check=False).returncode for command in commands):
            failed.append(name)
    return failed
