"""Saved web pages, and documents as Windows prints them."""

from __future__ import annotations

import random
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

import pytest
from tests.support import papers
from tests.support.pages import pages_of, reason, text_of

from polylens.errors import DocumentError


def saved(path: Path, *parts: MIMEText | MIMEImage) -> Path:
    made = MIMEMultipart("related", type="text/html")
    made["Subject"] = "Tides"
    for part in parts:
        made.attach(part)
    path.write_bytes(made.as_bytes())
    return path


class TestWebArchives:
    def test_text_and_pictures(self, tmp_path: Path) -> None:
        page = MIMEText("<title>Gezeiten</title><meta charset=latin-1><p>Größe<script>x()</script>", "html", "utf-8")
        text, picture = pages_of(saved(tmp_path / "a.mhtml", page, MIMEImage(papers.picture(1))))
        assert text.text == "# Gezeiten\nGröße" and text.image is None
        assert picture.image is not None and picture.image.size == (160, 120)

    def test_the_charset_of_the_part_counts(self, tmp_path: Path) -> None:
        assert text_of(saved(tmp_path / "a.mht", MIMEText("<p>津波", "html", "shift_jis"))) == "津波"

    def test_none(self, tmp_path: Path) -> None:
        assert reason(saved(tmp_path / "a.mhtml", MIMEText("words", "plain"))) == "a.mhtml holds no web page"
        (tmp_path / "a.mhtml").write_bytes(b" ")
        assert "is empty" in reason(tmp_path / "a.mhtml")
        (tmp_path / "a.mhtml").write_bytes(b"<p>words")
        assert "does not begin with a header" in reason(tmp_path / "a.mhtml")

    @pytest.mark.parametrize("seed", range(20))
    def test_bytes_changed(self, tmp_path: Path, seed: int) -> None:
        rng = random.Random(seed)
        path = saved(tmp_path / "a.mhtml", MIMEText("<p>Größe", "html", "utf-8"), MIMEImage(papers.picture(1, 20, 20)))
        data = bytearray(path.read_bytes())
        for _ in range(rng.randint(1, 30)):
            data[rng.randrange(min(600, len(data)))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            pages_of(path)
        except DocumentError as error:
            assert str(error).startswith("a.mhtml") and "\n" not in str(error)


XPS = "http://schemas.microsoft.com/xps/2005/06"


def printed(path: Path, *pages: str, **more: str | bytes) -> Path:
    content = "".join(f'<PageContent Source="Pages/{n}.fpage"/>' for n in range(1, len(pages) + 1))
    parts: dict[str, str | bytes] = {
        "FixedDocumentSequence.fdseq": f'<FixedDocumentSequence xmlns="{XPS}">'
        '<DocumentReference Source="/Documents/1/FixedDocument.fdoc"/></FixedDocumentSequence>',
        "Documents/1/FixedDocument.fdoc": f'<FixedDocument xmlns="{XPS}">{content}</FixedDocument>',
        **{
            f"Documents/1/Pages/{number}.fpage": f'<FixedPage xmlns="{XPS}">{page}</FixedPage>'
            for number, page in enumerate(pages, start=1)
        },
    }
    return papers.pack(path, {**parts, **more})


class TestXps:
    def test_words_by_line_and_pictures(self, tmp_path: Path) -> None:
        first = (
            '<Glyphs OriginX="9" OriginY="20" UnicodeString="Two"/><Glyphs OriginX="40" OriginY="20.5" '
            'UnicodeString="masts"/><Glyphs OriginY="50" UnicodeString="{}{quay}"/><Path><Path.Fill><ImageBrush '
            'ImageSource="/Resources/a.png"/></Path.Fill></Path>'
        )
        path = printed(tmp_path / "a.xps", first, "<Path/>", **{"Resources/a.png": papers.picture(1)})
        one, two, picture = pages_of(path)
        assert (one.text, two.text) == ("Two masts\n{quay}", "Page 2")
        assert picture.image is not None and picture.text == "Page 1"

    def test_a_page_that_is_missing_costs_itself_alone(self, tmp_path: Path) -> None:
        path = printed(tmp_path / "a.oxps", '<Glyphs UnicodeString="one"/>', "")
        parts = {"Documents/1/FixedDocument.fdoc": f'<D xmlns="{XPS}"><PageContent Source="Pages/1.fpage"/>'
                 '<PageContent Source="Pages/9.fpage"/></D>'}  # fmt: skip
        path = printed(path, '<Glyphs UnicodeString="one"/>', **parts)
        assert [page.text for page in pages_of(path)] == ["one", "Page 2, which the file lacks"]

    def test_none(self, tmp_path: Path) -> None:
        assert "is damaged" in reason(papers.pack(tmp_path / "a.xps", {"a": "b"}))


def test_a_drawing_of_libreoffice(tmp_path: Path) -> None:
    page = "<draw:page><draw:frame><draw:text-box><text:p>Quay 4</text:p></draw:text-box></draw:frame></draw:page>"
    [found] = pages_of(papers.make_odf(tmp_path / "a.odg", f"<office:drawing>{page}</office:drawing>"))
    assert found.text == "Quay 4"
