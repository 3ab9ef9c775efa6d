"""Documentation that cannot lie: what it states about the code is compared with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from polylens.errors import STATUS_AND_EXIT

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_every_error_is_documented_with_its_status_and_exit_code() -> None:
    text = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
    written = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\d+) \| (\d+) \|", text, flags=re.MULTILINE)
    standard = {cls: next(base for base in cls.__mro__ if base.__module__ == "builtins") for cls in STATUS_AND_EXIT}
    assert written == [
        (cls.__name__, standard[cls].__name__, str(status), str(code))
        for cls, (status, code) in STATUS_AND_EXIT.items()
    ]


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([^)#]+\.md)\)", index))
    there = {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert there - {"README.md"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    inside = [target.partition("#")[0] for target in targets if "://" not in target and not target.startswith("#")]
    assert [target for target in inside if not (page.parent / target).exists()] == []
