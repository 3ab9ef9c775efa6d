"""The shape of the package: what nobody would dare to split later is split now."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.support.root import ROOT

FILE_LINES, FUNCTION_LINES = 450, 60
SOURCE = ROOT / "src/polylens"


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in SOURCE.glob("*/__init__.py")))
def test_files_and_functions_stay_short(folder: str) -> None:
    too_long = [found for path in sorted((SOURCE / folder).rglob("*.py")) for found in _too_long(path)]
    assert too_long == []


def _too_long(path: Path) -> list[str]:
    text, name = path.read_text(encoding="utf-8"), path.relative_to(SOURCE)
    functions = [each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {f"{name}:{each.name}": (each.end_lineno or 0) - each.lineno + 1 for each in functions}
    found = [f"{function} has {length} lines" for function, length in lengths.items() if length > FUNCTION_LINES]
    num_lines = len(text.splitlines())
    return [*found, *([f"{name} has {num_lines} lines"] if num_lines > FILE_LINES else [])]
