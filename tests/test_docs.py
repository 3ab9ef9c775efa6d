"""Documentation that cannot lie: what it states about the code is compared with the code."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.root import ROOT
from typer.main import get_command

from polylens.cli import app
from polylens.errors import STATUS_AND_EXIT, wire_code
from polylens.lab.nano.nano_recipe import nano

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_every_error_is_documented_with_its_status_and_exit_code() -> None:
    text = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
    written = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\d+) \| (\d+) \| `(\w+)`", text, flags=re.MULTILINE)
    standard = {cls: next(base for base in cls.__mro__ if base.__module__ == "builtins") for cls in STATUS_AND_EXIT}
    published = {cls: wire_code(cls("a message")) for cls in STATUS_AND_EXIT}
    assert written == [
        (cls.__name__, standard[cls].__name__, str(status), str(exit_code), published[cls])
        for cls, (status, exit_code, _) in STATUS_AND_EXIT.items()
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


def with_subcommands(context: Any) -> Iterator[Any]:
    yield context
    for name, command in getattr(context.command, "commands", {}).items():
        yield from with_subcommands(type(context)(command, parent=context, info_name=name))


def command_line() -> str:
    """What `--help` says of every command, without the frames it draws on a terminal."""
    group = get_command(app)
    top = group.make_context("polylens", ["models"], resilient_parsing=True, terminal_width=100, max_content_width=100)
    sections = []
    for context in with_subcommands(top):
        context.command.rich_markup_mode = None
        name = context.command_path.removeprefix("polylens ")
        sections.append(f"## {name}\n\n```\n{context.get_help().rstrip()}\n```\n")
    return "\n".join(sections)


def test_the_reference_of_the_command_line_is_what_help_says() -> None:
    """POLYLENS_WRITE_DOCS=1 writes the page anew instead."""
    page = ROOT / "docs/reference/command-line.md"
    introduction, mark, _ = page.read_text(encoding="utf-8").partition(
        "<!-- from here on written by tests/test_docs.py -->\n"
    )
    current = f"{introduction}{mark}\n{command_line()}"
    if os.environ.get("POLYLENS_WRITE_DOCS"):
        page.write_text(current, encoding="utf-8")
    assert mark
    assert page.read_text(encoding="utf-8") == current, (
        "run POLYLENS_WRITE_DOCS=1 .venv/bin/python -m pytest tests/test_docs.py"
    )


def test_the_stages_of_nano_are_the_recipes() -> None:
    guide = " ".join((ROOT / "docs/guides/train-nano.md").read_text(encoding="utf-8").split())
    recipe = nano()
    for stage in recipe.stages:
        row = f"| `{stage.name}` | {stage.height} x {stage.width} | {stage.steps:,} | {stage.images} |"
        assert row in guide, row
        for blended in stage.blend:
            assert f"{100 * blended.share:.0f} % of those after `{blended.stage}`" in guide
        if stage.blend:
            assert f"{100 - 100 * sum(blended.share for blended in stage.blend):.0f} % of its own" in guide
    assert f"A checkpoint is written every {recipe.checkpoint_every} steps." in guide


def test_two_hops_lead_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .*\? \| `(\S+/)` \| `(\w+\.py)(?:: ([\w.]+))?` \|$", text, flags=re.MULTILINE)
    assert len(rows) == 12
    for folder, file, name in rows:
        source = (ROOT / "src/polylens" / folder / file).read_text(encoding="utf-8")
        assert re.search(rf"^ *(def|class|async def)? ?{name.rpartition('.')[2]}\b", source, flags=re.MULTILINE), name
