"""Files that ask for too much: each costs itself, or what of it is too much, and says so; the next file is read."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import PIL.Image
import pytest
from tests.support import bombs, papers

from polylens.documents import open_document
from polylens.documents.bounds import GB, MAX_PAGES, Bounds
from polylens.documents.reader_processes import Readers
from polylens.errors import DocumentError

SMALL = Bounds(memory=GB, opening_seconds=20, page_seconds=3)


@pytest.fixture(scope="module")
def pool() -> Iterator[Readers]:
    with Readers(1, SMALL) as pool:
        yield pool


def read(pool: Readers, path: Path) -> tuple[list[str], dict[str, str]]:
    """The texts of a file's pages and what is not read; then a good file, which must be read whatever came before."""
    try:
        with pool.open(path) as document:
            found = [page.text for page in document], document.unread
    except DocumentError as error:
        found = [], {"all": str(error)}
    good = papers.make_docx(path.with_name("good.docx"))
    with pool.open(good) as document:
        assert "The harbour froze over" in document.page(1).text
    assert len(found[0]) <= MAX_PAGES
    return found


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.xlsx", bombs.shared_strings),
        ("b.xlsx", bombs.same_text),
        ("a.ods", bombs.repeated_cells),
        ("a.epub", bombs.long_chapter),
    ],
)
def test_texts_that_pack_to_nothing_are_cut(
    pool: Readers, tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    make(tmp_path / name)
    texts, unread = read(pool, tmp_path / name)
    [(part, reason)] = unread.items()
    assert part.startswith("the text after page ") and "and of this size has at most" in reason
    most = 2_000_000 + 20 * (tmp_path / name).stat().st_size
    assert most - 40_000 < sum(map(len, texts)) <= most


def test_forms_in_forms(pool: Readers, tmp_path: Path) -> None:
    bombs.nested_forms(tmp_path / "a.pdf")
    _, unread = read(pool, tmp_path / "a.pdf")
    assert unread["all"].startswith("a.pdf: page 1 is given up: it ")


def test_a_page_that_takes_too_much_keeps_its_words(pool: Readers, tmp_path: Path) -> None:
    pytest.importorskip("resvg_py", reason="the extra files is not installed: pip install 'polylens[files]'")
    bombs.slow_filter(tmp_path / "a.svg")
    texts, unread = read(pool, tmp_path / "a.svg")
    assert texts == ["words"]
    assert unread == {"the picture of page 1": "is given up: it takes more than 3 s"}


def test_drawings_in_drawings(pool: Readers, tmp_path: Path) -> None:
    bombs.nested_uses(tmp_path / "a.svg")
    assert read(pool, tmp_path / "a.svg")[0] == ["words"]


def test_a_pdf_that_claims_a_million_pages(pool: Readers, tmp_path: Path) -> None:
    bombs.million_pages(tmp_path / "a.pdf")
    with pool.open(tmp_path / "a.pdf") as document:
        assert document.num_pages == MAX_PAGES and document.page(1).image is not None
        assert list(document.unread) == ["what follows page 20,000"]
        assert [document.page_or_none(number) for number in (2, 3, 4)] == [None] * 3
        assert list(document.unread) == ["what follows page 20,000", "pages 2 to 4"]


@pytest.mark.parametrize(("name", "make"), [("a.png", bombs.deep_picture), ("b.png", bombs.clear_picture)])
def test_a_large_picture_takes_twice_its_pixels(tmp_path: Path, name: str, make: Callable[[Path, int], None]) -> None:
    """36 megapixels are 144 MB, the process itself 70 MB and a strip 100 MB."""
    make(tmp_path / name, 6_000)
    with Readers(1, Bounds(memory=480 * 2**20)) as pool, pool.open(tmp_path / name) as document:
        [page] = list(document)
    assert page.image is not None and page.image.size == (6_000, 6_000)


def test_frames_are_walked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bombs.many_frames(tmp_path / "a.tif", 50)
    opened = []
    real = PIL.Image.open
    monkeypatch.setattr(PIL.Image, "open", lambda *given, **more: opened.append(1) or real(*given, **more))
    with open_document(tmp_path / "a.tif") as document:
        shades = [page.image.getpixel((0, 0)) for page in document if page.image is not None]
        assert document.page(7).image is not None
    assert shades == [(number, number, number) for number in range(50)]
    assert len(opened) == 3  # to count them, for the first frame, and for all others, back and forth


def test_tables_in_tables(pool: Readers, tmp_path: Path) -> None:
    bombs.nested_tables(tmp_path / "a.docx", width=20_000)
    texts, unread = read(pool, tmp_path / "a.docx")
    assert sum(text.count("word") for text in texts) == 20_000 and unread == {}
    bombs.nested_tables(tmp_path / "b.docx", depth=2_000, width=10)
    assert read(pool, tmp_path / "b.docx")[1]


def test_entities(pool: Readers, tmp_path: Path) -> None:
    bombs.entities(tmp_path / "a.xhtml")
    texts, unread = read(pool, tmp_path / "a.xhtml")
    assert sum(map(len, texts)) < 1_000 and (texts or unread)


def test_archives(pool: Readers, tmp_path: Path) -> None:
    bombs.zip_of_zeros(tmp_path / "a.zip")
    texts, unread = read(pool, tmp_path / "a.zip")
    assert texts[-1] == "a.zip/note.txt\nwords"
    assert unread == {"a.zip/zeros.txt": "is too large when unpacked: 95 MB, from 0.09 MB"}


def test_bombs_in_an_archive_cost_themselves(pool: Readers, tmp_path: Path) -> None:
    bombs.zip_of_bombs(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["note.txt", "a.pdf", "b.xlsx"]
    texts, unread = read(pool, tmp_path / "a.zip")
    assert "a.zip/note.txt\nwords" in texts
    assert unread["page 3"].startswith("is given up: it ")
    assert any(part.startswith("a.zip/b.xlsx, the text after page") for part in unread)


def test_a_mailbox_of_many_messages(pool: Readers, tmp_path: Path) -> None:
    bombs.many_messages(tmp_path / "a.mbox", 20_100)
    with pool.open(tmp_path / "a.mbox") as document:
        assert document.num_pages == MAX_PAGES and "words" in document.page(2).text
        assert document.unread


def test_a_notebook_that_printed_megabytes(pool: Readers, tmp_path: Path) -> None:
    bombs.long_outputs(tmp_path / "a.ipynb")
    texts, _ = read(pool, tmp_path / "a.ipynb")
    assert 300 * 5 < len(texts) < 300 * 10  # an output counts for as much as 10,000 characters
