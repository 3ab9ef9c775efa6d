"""Places in real searches: by words; by looks, from stored vectors against the heat map that the search page shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from tests.support.fakes import FakeEmbedder
from tests.support.root import ROOT
from typer.testing import CliRunner

import polylens
from polylens.cli import app
from polylens.library.library import Library
from polylens.library.results import hit_dict
from polylens.media.marks import COLOUR, marked
from polylens.server.search_page.explaining import explain
from polylens.types import Box

QUERY = "the lamp of the lighthouse"


@pytest.fixture(scope="module")
def nano() -> Any:
    return polylens.load("nano", engine="torch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, nano: Any) -> Path:
    from reportlab.pdfgen.canvas import Canvas

    folder = tmp_path_factory.mktemp("papers")
    with PIL.Image.open(ROOT / "samples" / "keepers-letter.jpg") as letter:
        letter.convert("RGB").resize((420, 560)).save(folder / "letter.png")
    canvas = Canvas(str(folder / "a.pdf"), pagesize=(300, 200))
    canvas.setFont("Courier", 20)
    canvas.drawString(120, 40, "an invoice")
    canvas.save()
    (folder / "note.txt").write_text("an invoice")
    Library(folder, nano).update()
    return folder


def test_by_words(folder: Path, nano: Any) -> None:
    hits = {hit.file: hit for hit in Library(folder, nano).search("invoice")}
    [place] = hits["a.pdf"].places
    assert (place.text, hits["a.pdf"].places_from) == ("invoice", "words")
    assert place.box.left == pytest.approx((120 + 3 * 12) / 300, abs=0.01)
    assert place.box.width == pytest.approx(7 * 12 / 300, abs=0.01)
    assert place.box.top < 160 / 200 < place.box.top + place.box.height
    assert (hits["note.txt"].places, hits["note.txt"].places_from) == ((), None)
    found = hit_dict(hits["a.pdf"])
    assert set(found["places"][0]) == {"left", "top", "width", "height", "text"} and found["places_from"] == "words"


def test_by_looks_it_is_the_peak_of_the_heat_map(folder: Path, nano: Any) -> None:
    library = Library(folder, nano)
    hit = next(hit for hit in library.search(QUERY) if hit.file == "letter.png")
    assert hit.places_from == "looks" and all(place.text is None for place in hit.places)
    image = library.page("letter.png", 1).image
    assert image is not None
    shown = explain(nano, QUERY, image)
    warmth = np.array(shown.whole).reshape(shown.rows, shown.columns)
    box = hit.places[0].box
    rows = slice(round(box.top * shown.rows), round((box.top + box.height) * shown.rows))
    columns = slice(round(box.left * shown.columns), round((box.left + box.width) * shown.columns))
    assert warmth[rows, columns].max() > 0.98 * warmth.max()  # the index keeps half precision
    assert warmth[rows, columns].size < 0.25 * warmth.size


def test_pictures_in_the_query_and_none_asked_for(folder: Path, nano: Any) -> None:
    library = Library(folder, nano)
    picture = PIL.Image.new("RGB", (112, 112), "white")
    hits = {hit.file: hit for hit in library.search([picture, "zebra"])}
    assert hits["letter.png"].places_from == hits["a.pdf"].places_from == "looks"
    assert all(hit.places == () and hit.places_from is None for hit in library.search(QUERY, places=False))


def test_like_another_page_by_the_words_that_they_share(folder: Path, nano: Any) -> None:
    hits = Library(folder, nano).like("note.txt", 1)
    assert [place.text for hit in hits if hit.file == "a.pdf" for place in hit.places] == ["invoice"]


def test_a_model_without_heat_maps_has_words_only(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (60, 60), "red").save(tmp_path / "red.png")
    library = Library(tmp_path, FakeEmbedder())
    library.update()
    [hit] = library.search("anything")
    assert (hit.places, hit.places_from) == ((), None)


def test_on_the_command_line(folder: Path, tmp_path: Path) -> None:
    command = ["search", "invoice", "--library", str(folder), "--top", "9", "--save-marks", str(tmp_path / "marks")]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    lines = [line for line in done.stdout.splitlines() if "a.pdf" in line]
    assert ", page 1, bottom  (" in lines[0] or ", page 1, lower right  (" in lines[0]
    rank = int(lines[0].split(".")[0])
    with PIL.Image.open(tmp_path / "marks" / f"{rank}.png") as picture:
        colours = {colour for _, colour in picture.getcolors(1_000_000) or []}
    assert COLOUR in colours
    assert len(list((tmp_path / "marks").iterdir())) == 2  # the text has no picture


class TestMarks:
    def test_letters_stay_and_the_rest_of_the_page_too(self) -> None:
        page = PIL.Image.new("RGB", (200, 100), "white")
        PIL.ImageDraw.Draw(page).rectangle((60, 50, 70, 55), fill="black")
        picture = marked(page, [Box(0.25, 0.4, 0.25, 0.25), Box(0.9, 0.9, 0.5, 0.5)])
        assert picture.getpixel((65, 52)) == (0, 0, 0) and picture.getpixel((80, 50)) == COLOUR
        assert picture.getpixel((10, 10)) == (255, 255, 255) == page.getpixel((80, 50))
        assert picture.size == page.size
