"""The machine and the versions that a figure was measured with."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

import polylens


def processor() -> str:
    """Returns the name of the processor, if the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def measured_on() -> dict[str, str]:
    """Returns the machine and the versions, for a report."""
    return {
        "hardware": f"{os.cpu_count()} cores, {processor()}",
        "versions": f"polylens {polylens.__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }
