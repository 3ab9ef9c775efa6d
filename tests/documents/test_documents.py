"""Files of every kind -> pages, and what is said of those that are none."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pypdfium2
import pytest
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas
from tests.support.root import ROOT

from polylens.documents import kind_of, open_document, opening
from polylens.documents.formats.encodings import decode
from polylens.documents.formats.pdf import clean, render_scale
from polylens.documents.splitting import MAX_CHARS, split
from polylens.errors import DocumentError
from polylens.types import Page


def make_pdf(path: Path, *texts: str, size: tuple[float, float] = (300, 400), password: str = "") -> Path:
    canvas = Canvas(str(path), pagesize=size, encrypt=StandardEncryption(password) if password else None)
    for text in texts:
        canvas.setFillColorRGB(1, 0, 0)
        canvas.rect(0, size[1] - 50, 50, 50, stroke=0, fill=1)  # a red square, top left
        canvas.setFillColorRGB(0, 0, 0)
        for line, words in enumerate(text.split("\n")):
            canvas.drawString(60, size[1] - 60 - 14 * line, words)
        canvas.showPage()
    canvas.save()
    return path


def pages_of(path: Path, **options: int) -> list[Page]:
    with open_document(path, **options) as document:
        pages = list(document)
        assert document.num_pages == len(pages)
        assert [page.number for page in pages] == list(range(1, len(pages) + 1))
        return pages


class TestPdf:
    def test_picture_and_text_of_each_page(self, tmp_path: Path) -> None:
        first, second = pages_of(make_pdf(tmp_path / "a.pdf", "Hello there\nsecond line", "Another page"))
        assert first.text == "Hello there\nsecond line"
        assert second.text == "Another page"
        for page in (first, second):
            assert page.image is not None and page.image.mode == "RGB"
            assert page.image.getpixel((5, 5)) == (255, 0, 0)  # not blue: the channels are in order
            assert page.image.getpixel((page.image.width - 1, page.image.height - 1)) == (255, 255, 255)

    def test_size_of_the_picture(self, tmp_path: Path) -> None:
        path = make_pdf(tmp_path / "a.pdf", "x", size=(595, 842))
        for max_pixels in (100_000, 1_003_520):
            [page] = pages_of(path, max_pixels=max_pixels)
            assert page.image is not None
            width, height = page.image.size
            assert 0.99 * max_pixels < width * height <= max_pixels
            assert abs(width / height - 595 / 842) < 0.005
        [stamp] = pages_of(make_pdf(tmp_path / "b.pdf", "x", size=(72, 72)))
        assert stamp.image is not None and stamp.image.size == (200, 200)  # 200 dots per inch at most

    @pytest.mark.parametrize("size", [(595.3, 841.9), (1, 200), (14_400, 14_400), (14_400, 72), (33.3, 6_000)])
    def test_scale_is_the_greatest_allowed(self, size: tuple[float, float]) -> None:
        def num_pixels(scale: float) -> int:
            return math.ceil(size[0] * scale) * math.ceil(size[1] * scale)

        scale = render_scale(*size, max_pixels=500_000)
        assert num_pixels(scale) <= 500_000
        assert scale == 200 / 72 or num_pixels(scale * 1.03) > 500_000

    @pytest.mark.parametrize("size", [(0, 100), (0.5, 0.5), (20_000, 100), (14_000, 10), (math.inf, 5), (math.nan, 5)])
    def test_absurd_sizes(self, size: tuple[float, float]) -> None:
        with pytest.raises(DocumentError, match="its size is"):
            render_scale(*size, max_pixels=500_000)

    def test_absurd_page_is_named(self, tmp_path: Path) -> None:
        path = make_pdf(tmp_path / "line.pdf", "x", size=(14_000, 2))
        with open_document(path) as document, pytest.raises(DocumentError, match=r"line\.pdf: page 1 .*its size is"):
            list(document)

    def test_broken_ones_say_why(self, tmp_path: Path) -> None:
        def reason(path: Path) -> str:
            with pytest.raises(DocumentError) as caught:
                pages_of(path)
            assert path.name in str(caught.value)
            return str(caught.value)

        whole = make_pdf(tmp_path / "a.pdf", "text").read_bytes()
        for name, data in {"junk": b"\x00\x01\x02" * 99, "cut": whole[:200]}.items():
            (tmp_path / f"{name}.pdf").write_bytes(data)
            assert "not a PDF, is broken" in reason(tmp_path / f"{name}.pdf")
        (tmp_path / "empty.pdf").write_bytes(b"")
        assert "is empty" in reason(tmp_path / "empty.pdf")
        assert "protected by a password" in reason(make_pdf(tmp_path / "locked.pdf", "x", password="secret"))
        with pypdfium2.PdfDocument.new() as none:
            none.save(tmp_path / "none.pdf")
        assert "has no pages" in reason(tmp_path / "none.pdf")
        assert "does not exist" in reason(tmp_path / "absent.pdf")

    def test_pages_are_made_one_by_one_and_the_file_is_let_go(self, tmp_path: Path) -> None:
        document = open_document(make_pdf(tmp_path / "a.pdf", *"abc"))
        assert next(iter(document)).text == "a"
        document.close()
        document.close()

    def test_clean(self) -> None:
        assert clean("a\x00b\u00ad c \r\nd\re\n\n\n\nf\ufeff") == "ab c\nd\ne\n\nf"
        assert clean("hyphen\ufffe\r\nated, and In-\nLine") == "hyphenated, and In-\nLine"


class TestImages:
    def test_one_page(self, tmp_path: Path) -> None:
        PIL.Image.new("RGBA", (4, 3), (0, 0, 0, 0)).save(tmp_path / "a.PNG")
        [page] = pages_of(tmp_path / "a.PNG")
        assert page.text == ""
        assert page.image is not None
        assert (page.image.mode, page.image.size, page.image.getpixel((0, 0))) == ("RGB", (4, 3), (255, 255, 255))

    def test_animation_is_one_page_and_tiff_is_many(self, tmp_path: Path) -> None:
        frames = [PIL.Image.new("L", (4, 4), grey) for grey in (10, 20, 30)]
        for name in ("a.gif", "a.tiff"):
            frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert len(pages_of(tmp_path / "a.gif")) == 1
        greys = [np.asarray(page.image).max() for page in pages_of(tmp_path / "a.tiff")]
        assert greys == [10, 20, 30]

    @pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
    def test_broken(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(DocumentError, match=rf"{name}: is not a complete image"):
            pages_of(tmp_path / name)

    def test_tiff_cut_in_a_later_page(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
        frames = [PIL.Image.fromarray(frame) for frame in noise]
        frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
        whole = (tmp_path / "a.tif").read_bytes()
        (tmp_path / "a.tif").write_bytes(whole[: len(whole) * 5 // 6])
        with open_document(tmp_path / "a.tif") as document:
            assert [page.number for page in document] == [1, 2]
            assert "truncated" in document.unread["page 3"]


class TestTexts:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252"])
    def test_encodings(self, tmp_path: Path, encoding: str) -> None:
        text = "Grüße, naïve façade."
        (tmp_path / "a.txt").write_bytes(text.encode(encoding))
        [page] = pages_of(tmp_path / "a.txt")
        assert (page.text, page.image) == (text, None)

    def test_marks_and_line_ends(self) -> None:
        assert decode(b"\xff\xfea\x00\r\x00\n\x00") == "a\n"
        assert decode(b"\xfe\xff\x00a\x00\r") == "a\n"
        assert decode("“quoted”".encode("cp1252")) == "“quoted”"
        assert decode(b"\x81 undefined in cp1252") == "\x81 undefined in cp1252"

    @pytest.mark.parametrize(
        "data", [bytes(range(256)) * 4, b"\x7fELF\x02\x01\x01" + bytes(50), b"text\x00text", b"\xff\xfea"]
    )
    def test_binary_junk_is_refused(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "a.md").write_bytes(data)
        with pytest.raises(DocumentError, match=r"a\.md is not text"):
            pages_of(tmp_path / "a.md")

    def test_no_text_no_pages(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text(" \n\n \n")
        assert pages_of(tmp_path / "a.txt") == []

    @pytest.mark.parametrize("seed", range(8))
    def test_passages_are_short_and_add_up(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        parts = ["word ", "longerword ", "end. ", "\n", "\n\n", "    indented\n", "文字。", "x" * 300, "\t"]
        text = "".join(rng.choice(parts, size=rng.integers(1, 3000)))
        passages = list(split(text))
        assert "".join("".join(passages).split()) == "".join(text.split())
        assert all(0 < len(passage) <= MAX_CHARS and passage.strip() for passage in passages)
        assert all(len(passage) > MAX_CHARS // 4 for passage in passages[:-1] if "\n\n\n" not in text)

    def test_where_passages_end(self) -> None:
        paragraphs = "\n\n".join(["one two three four. " * 20] * 9)
        assert all(passage.endswith("four.") and len(passage) > 1000 for passage in split(paragraphs))
        lines = "\n".join(["a line of text without a full stop"] * 200)
        assert all(passage.endswith("stop") and passage.startswith("a line") for passage in split(lines))
        words = "wörter " * 1000
        assert all(passage.endswith("wörter") for passage in split(words))
        assert [len(passage) for passage in split("x" * 3001)] == [1500, 1500, 1]

    def test_too_long(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("polylens.documents.formats.text.MAX_BYTES", 1_000_000)
        (tmp_path / "a.log").write_text("x" * 1_000_001)
        with pytest.raises(DocumentError, match="longer than"):
            pages_of(tmp_path / "a.log")


def test_kinds() -> None:
    names = ["a.pdf", "A.JPG", "b.tiff", "c.webp", "d.py", "README", "Makefile", "e.mp3", "f", ".txt"]
    kinds = ["pdf", "image", "image", "image", "text", "text", "text", None, None, None]
    assert [kind_of(name) for name in names] == kinds
    packed = {"document": "docx docm odt epub", "slides": "pptx odp", "sheet": "xlsx ods", "text": "html xhtml"}
    assert all(kind_of(f"a.{suffix}") == kind for kind, suffixes in packed.items() for suffix in suffixes.split())
    assert kind_of("~$report.docx") is None  # lies there while Word has report.docx open
    converted = {"document": "doc pages", "slides": "ppt key", "sheet": "xls numbers"}
    assert all(kind_of(f"a.{suffix}") == kind for kind, suffixes in converted.items() for suffix in suffixes.split())
    more = {
        "document": "ipynb rtf xps ics vcf eml mbox msg zip cbz",
        "image": "heic heif avif jp2 ico svg",
        "text": "mhtml mht",
        "slides": "odg",
    }
    assert all(kind_of(f"a.{suffix}") == kind for kind, suffixes in more.items() for suffix in suffixes.split())


def test_the_list_of_suffixes_in_the_reference_is_whole() -> None:
    page = (ROOT / "docs/reference/files.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `.")]
    written = re.findall(r"\.\w+", " ".join(rows))
    assert sorted(written) == sorted(opening._READERS)


def test_unknown_kind_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="not a PDF, image, text, web page, office document or book"):
        open_document(tmp_path / "a.xyz")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(DocumentError, match="is not a file"):
        open_document(tmp_path / "folder.txt")
