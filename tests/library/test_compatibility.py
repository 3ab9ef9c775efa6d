"""Indexes that released versions wrote, kept in `tests/data`: this version searches, updates and exports them.

`tests/data/keep_library.py` made them. A kept index is never made anew: whoever changes the format keeps one more.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.support.fakes import FakeEmbedder
from tests.support.root import ROOT

from polylens.errors import PolylensError
from polylens.index.export import export
from polylens.index.table.manifest import FORMAT, read_manifest
from polylens.library.doctor import examine
from polylens.library.library import Library

KEPT = sorted((ROOT / "tests/data").glob("library-*"))
MODEL = "kept"
NUM_FILES = 6


@pytest.fixture(params=KEPT, ids=lambda kept: kept.name)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the kept files, with their kept index where an index lies."""
    folder = tmp_path / "folder"
    shutil.copytree(request.param / "files", folder)
    shutil.copytree(request.param / "index", folder / ".polylens")
    return folder


def test_every_format_has_a_kept_index() -> None:
    formats = {json.loads((kept / "index/index.json").read_text(encoding="utf-8"))["format"] for kept in KEPT}
    assert formats == set(range(1, FORMAT + 1))


def test_it_is_searched_in_every_way(folder: Path) -> None:
    library = Library(folder, FakeEmbedder(MODEL))
    for by in ("fused", "late", "dense", "text"):
        [best] = library.search("keeper lamp", top=1, by=by)
        assert (best.file, best.language) == ("keeper.md", "en"), by
    [invoice] = library.search("invoice 2024-0417", top=1)
    assert invoice.file == "invoice-2024-0417.pdf" and invoice.places


def test_an_update_embeds_nothing_that_it_has(folder: Path) -> None:
    embedder = FakeEmbedder(MODEL)
    (folder / "haven.txt").write_text("De havenmeester schrijft elke ochtend het weer op.", encoding="utf-8")
    report = Library(folder, embedder).update(ocr="off")
    assert (report.unchanged, report.indexed, embedder.num_inputs, report.failed) == (NUM_FILES, 1, 1, [])
    assert Library(folder, embedder).search("havenmeester", top=1)[0].file == "haven.txt"


def test_the_doctor_finds_it_well_and_it_is_exported(folder: Path, tmp_path: Path) -> None:
    library = Library(folder, FakeEmbedder(MODEL))
    diagnosis = examine(library)
    assert diagnosis.is_well and diagnosis.num_files == NUM_FILES, diagnosis.findings
    assert export(library.storage, tmp_path / "out.parquet") == diagnosis.num_pages


def test_a_later_format_is_refused_by_name(folder: Path) -> None:
    place = folder / ".polylens/index.json"
    place.write_text(json.dumps({**json.loads(place.read_text(encoding="utf-8")), "format": FORMAT + 1}))
    with pytest.raises(PolylensError, match=rf"has format {FORMAT + 1}, this version reads format {FORMAT}; make it"):
        read_manifest(folder / ".polylens")
