"""The code in README.md and in the documentation runs as it stands there; the tables of models are the catalog's."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
from tests.support import commands
from tests.support.guides import code
from tests.support.postgres import postgres
from tests.support.root import ROOT

from polylens.checkpoints.catalog import CATALOG, CatalogEntry, find

NEEDS = re.compile(r"<!-- needs: ([^\n]+) -->")
"""Says which packages a page's code needs that are not everywhere; "PostgreSQL" is one that the test starts."""
PRINTED = re.compile(r"<!-- printed -->\n```text\n(.*?)```", re.DOTALL)
"""What a page's code prints, where a page says it."""
NANO = ROOT / "src/polylens/assets/nano/config.json"
STRICT = "import warnings; warnings.simplefilter('error')\n"  # as `python -W error`
INDEXES = ROOT / "docs/guides/search-a-folder.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_is_python(page: Path) -> None:
    run, not_run = code(page)
    for block in run + not_run:
        compile(block, str(page), "exec")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples with their index, for the pages that only search in it."""
    folder = quick_samples(tmp_path_factory.mktemp("indexed") / "samples")
    done = commands.polylens("index", folder)
    assert done.returncode == 0, done.stderr
    return folder


def quick_samples(folder: Path) -> Path:
    """A dozen files of the samples, which are indexed in seconds."""
    folder.mkdir()
    for sample in (ROOT / "samples").iterdir():
        if sample.suffix != ".pdf" and sample.is_file():
            (folder / sample.name).symlink_to(sample)
    return folder


@pytest.mark.skipif(not NANO.exists(), reason="nano's weights are not there yet: src/polylens/assets/nano is empty")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if code(page)[0]], ids=lambda page: str(page.relative_to(ROOT))
)
def test_python_runs(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The blocks of a page one after the other, as a reader would paste them, beside the samples.

    One page's index begins empty; the others find what it would be.
    """
    text = page.read_text(encoding="utf-8")
    needs = [name for names in NEEDS.findall(text) for name in names.split(", ")]
    for name in needs:
        if name != "PostgreSQL" and importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed; {page.name} says what brings it")
    samples, python = quick_samples(tmp_path / "samples"), "\n".join(code(page)[0])
    if 'Library("samples")' in python and page != INDEXES:
        shutil.copytree(request.getfixturevalue("indexed") / ".polylens", samples / ".polylens")
    with postgres() if "PostgreSQL" in needs else nullcontext("") as database:
        variables = {"HF_HUB_OFFLINE": "1", "DATABASE": database}
        done = commands.run(code=STRICT + python, cwd=tmp_path, environment={**os.environ, **variables})
    said = done.stderr.decode()
    if "on Debian: apt-get install fonts-" in said:
        pytest.skip("the fonts that pages are made with are not installed")
    assert done.returncode == 0, said
    printed = "".join(PRINTED.findall(text))
    assert not printed or done.stdout.decode() == printed


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
