"""Formats figures for people and for programs, and writes reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from polylens.atomic import write_beside
from polylens.evaluate.metrics import Estimate


def figures(estimate: Estimate) -> dict[str, Any]:
    """Formats a mean and its interval for programs."""
    return {"mean": round(estimate.mean, 4), "95 %": [round(estimate.low, 4), round(estimate.high, 4)]}


def written(estimate: Estimate) -> str:
    """Formats a mean and its interval for people."""
    return f"{estimate.mean:.3f} ({estimate.low:.2f}-{estimate.high:.2f})"


def write_json(report: dict[str, Any], file: Path) -> None:
    """Writes a report; the file appears whole or not at all."""
    write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", file)


def write_text(text: str, file: Path) -> None:
    """Writes a text; the file appears whole or not at all."""
    with write_beside(file) as beside:
        beside.write_text(text, encoding="utf-8")
