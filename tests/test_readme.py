"""The code in README.md and in the documentation runs as it stands there; the tables of models are the catalog's."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from tests.support.guides import code
from tests.support.postgres import postgres
from tests.support.root import ROOT
from tests.support.waiting import PROGRAM_HANG

from polylens.checkpoints.catalog import CATALOG, CatalogEntry, find

NEEDS = re.compile(r"<!-- needs: ([^\n]+) -->")
"""Says which packages a page's code needs that are not everywhere; "PostgreSQL" is one that the test starts."""
PRINTED = re.compile(r"<!-- printed -->\n```text\n(.*?)```", re.DOTALL)
"""What a page's code prints, where a page says it."""
NANO = ROOT / "src/polylens/assets/nano/config.json"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_is_python(page: Path) -> None:
    run, not_run = code(page)
    for block in run + not_run:
        compile(block, str(page), "exec")


@pytest.mark.skipif(not NANO.exists(), reason="nano's weights are not there yet: src/polylens/assets/nano is empty")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if code(page)[0]], ids=lambda page: str(page.relative_to(ROOT))
)
def test_python_runs(page: Path, tmp_path: Path) -> None:
    """The blocks of a page one after the other, as a reader would paste them, beside the samples."""
    (tmp_path / "samples").mkdir()
    for sample in (ROOT / "samples").iterdir():
        if sample.suffix != ".pdf" and sample.is_file():  # a dozen quick files
            (tmp_path / "samples" / sample.name).symlink_to(sample)
    text = page.read_text(encoding="utf-8")
    needs = [name for names in NEEDS.findall(text) for name in names.split(", ")]
    for name in needs:
        if name != "PostgreSQL" and importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed; {page.name} says what brings it")
    with postgres() if "PostgreSQL" in needs else nullcontext("") as database:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", "\n".join(code(page)[0])],
            cwd=tmp_path,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "DATABASE": database},
            capture_output=True,
            text=True,
            timeout=PROGRAM_HANG,
            check=False,
        )
    if "on Debian: apt-get install fonts-" in done.stderr:
        pytest.skip("the fonts that pages are made with are not installed")
    assert done.returncode == 0, done.stderr
    printed = "".join(PRINTED.findall(text))
    assert not printed or done.stdout == printed


def row_of(page: Path, name: str) -> list[str]:
    """Cells of the one row of a table that begins with a model's name."""
    [row] = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}` |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.name)
def test_the_table_of_models_is_the_catalogs(entry: CatalogEntry) -> None:
    cells = row_of(ROOT / "docs/guides/which-model.md", entry.name)
    assert cells[1] == " and ".join(f"{modality}s" for modality in entry.modalities)
    assert cells[2] == (", ".join(map(str, reversed(entry.dims))) or "none: scores pairs")
    assert cells[3] == str(entry.multivector_dim or "-")
    assert cells[4] == f"{entry.context:,} tokens"
    assert cells[5:7] == list(sizes(entry.parameters))
    assert cells[7:9] == [entry.languages, entry.licence]


def test_the_readmes_models_are_of_the_catalog() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"^\| `([^`]+)` \|", readme, flags=re.MULTILINE)
    assert len(names) >= 8
    for entry in map(find, names):
        *_, size, licence = row_of(ROOT / "README.md", entry.name)
        assert (size, licence) == (sizes(entry.parameters)[1], entry.licence)


def sizes(parameters: int | None) -> tuple[str, str]:
    """Parameters and bytes in bfloat16, as the tables write them; dashes where no source has the number."""
    if parameters is None:
        return "-", "-"
    if parameters >= 1e9:
        return f"{parameters / 1e9:.2f} B", f"{2 * parameters / 1e9:.1f} GB"
    return f"{parameters / 1e6:.1f} M", f"{2 * parameters / 1e6:.0f} MB"
