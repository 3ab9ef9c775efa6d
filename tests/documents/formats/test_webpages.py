"""Web pages as a reader sees them, and books, which are many of them in an archive."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import papers

from polylens.documents import open_document
from polylens.documents.formats.webpage import blocks_of
from polylens.documents.splitting import MAX_CHARS
from polylens.errors import DocumentError
from polylens.types import Page


def pages_of(path: Path) -> list[Page]:
    with open_document(path) as document:
        assert document.kind in ("text", "document")
        return list(document)


def read(page: str | bytes) -> list[str]:
    return [block.text for block in blocks_of(page.encode() if isinstance(page, str) else page)]


class TestWhatIsSeen:
    def test_scripts_and_all_that_is_hidden_are_left_out(self) -> None:
        page = """<!doctype html><html><head><title>Tides</title><style>p { color: red }</style></head><body>
        <script>var a = "<p>no</p>";</script><noscript>no</noscript><template><p>no</p></template><!-- no -->
        <p hidden>no</p><p style="color:red; DISPLAY : none">no</p><svg><text>no</text></svg><select><option>no</select>
        <p>They <b>rise</b> &amp; fall<script>no()</script> twice.</p><img alt="a gauge" src="http://192.0.2.1/a.png">
        </body></html>"""
        assert read(page) == ["# Tides", "They rise & fall twice.", "a gauge"]

    @pytest.mark.parametrize("head", ["", f'<html xmlns="{papers.XHTML}">'])
    def test_a_paragraph_longer_than_the_parser_takes(self, head: str) -> None:
        """libxml2 drops a text of more than 10 MB, and all that follows."""
        first, long, last = read(
            f"{head}<p>first</p><p>{'word ' * 2_100_000}</p><p>last</p>{'</html>' if head else ''}"
        )
        assert (first, last) == ("first", "last") and long.count("word") == 2_100_000

    def test_structure(self) -> None:
        page = """<title>Ice</title><h1>Ice </h1><p>one<br>two<div>three<div>four</div>five</div>
        <ul><li>a<li><p>b</p><ol><li>c</ol></ul><h3>The\n table</h3><table><caption>T</caption><thead>
        <tr><th>x<th>y</thead>
        <tr><td><p>1</p><p>2</p><td></tr></table><pre>  if x:\n    y()\n</pre>tail<dl><dt>d</dt><dd>e</dd></dl>"""
        assert read(page) == [
            "# Ice", "one\ntwo", "three", "four", "five", "- a", "- b", "  - c", "### The table", "T", "x | y", "1 2",
            "  if x:\n    y()", "tail", "d", "e",
        ]  # fmt: skip

    def test_a_table_for_the_layout_is_none(self) -> None:
        page = "<table><tr><td><p>left</p><table><tr><td>a<td>b</table></td><td>right</td></tr></table>"
        assert read(page) == ["left", "a | b", "right"]

    def test_xhtml_is_xml(self) -> None:
        page = (
            '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.1//EN" '
            '"http://192.0.2.1/xhtml11.dtd"><html xmlns="http://www.w3.org/1999/xhtml"><head><title/><script/></head>'
            '<body><a id="x"/><p>caf&eacute;&nbsp;&amp;&lt;b&gt; &unheard; </p></body></html>'
        )
        assert read(page)[0].startswith("café\u00a0&<b>")

    def test_careless_ones(self) -> None:
        assert read("<p>a<p>b</b></i><div>c") == ["a", "b", "c"]
        assert read("just words") == ["just words"]
        assert read("<!-- only -->") == [] and read("") == [] and read(" \n ") == []
        assert read('<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><p>not<br>XML') == ["not\nXML"]

    def test_depth_and_length_have_no_limit_that_matters(self) -> None:
        deep = "<div>" * 100_000 + "deep" + "</div>" * 100_000
        assert len(read("<p>before</p>" + deep)) >= 1
        assert sum(len(text) for text in read("<p>" + "word " * 200_000)) == 999_999

    @pytest.mark.parametrize(
        ("encoding", "claim"),
        [
            ("utf-8", '<meta charset="utf-8">'),
            ("utf-8", ""),
            ("utf-8-sig", '<meta charset="latin-1">'),
            ("utf-16", ""),
            ("cp1252", '<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1">'),
            ("cp1252", ""),
        ],
    )
    def test_western(self, encoding: str, claim: str) -> None:
        assert read(f"{claim}<p>Grüße – “naïve”</p>".encode(encoding)) == ["Grüße – “naïve”"]

    @pytest.mark.parametrize(
        ("encoding", "charset", "text"),
        [
            ("cp1251", "windows-1251", "Ледовая обстановка"),
            ("koi8-r", "KOI8-R", "Ледовая обстановка"),
            ("shift_jis", "Shift_JIS", "津波避難"),
            ("gb18030", "gb2312", "台风防备"),
            ("big5", "Big5", "颱風"),
            ("euc_kr", "EUC-KR", "태풍"),
            ("cp949", "ks_c_5601-1987", "똠방각하"),
            ("gb18030", "x-gbk", "㐀台风"),  # the first character is in gb18030 alone
            ("cp874", "tis-620", "ท่าเรือ"),
            ("mac-cyrillic", "x-mac-ukrainian", "Ледовая обстановка"),  # a label that Python does not know
        ],
    )
    def test_others(self, encoding: str, charset: str, text: str) -> None:
        page = f"<html><head><meta charset={charset}></head><p>{text}</p>"
        assert read(page.encode(encoding)) == [text]
        assert read(page.encode(encoding) + b"\xff") != []  # a byte that does not fit costs no more than itself
        assert text in read(page.encode(encoding) + b"<p>\xff")[0]

    @pytest.mark.parametrize(
        "charset", ["hex", "unicode_escape", "idna", "zip", "made-up", "utf-16", "rot13", "hz-gb-2312"]
    )
    def test_claims_that_no_page_can_make(self, charset: str) -> None:
        assert read(f"<meta charset={charset}><p>Grüße") == ["Grüße"]

    def test_no_text(self) -> None:
        with pytest.raises(DocumentError, match=r"a\.html is not text"):
            blocks_of(bytes(range(256)) * 9, "a.html")


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.HTML").write_text("<title>Long</title>" + "<p>" + "<p>".join(["A sentence of it. " * 20] * 20))
    pages = pages_of(tmp_path / "a.HTML")
    assert [page.number for page in pages] == list(range(1, len(pages) + 1)) and len(pages) > 3
    assert all(len(page.text) <= MAX_CHARS and page.image is None for page in pages)
    (tmp_path / "b.htm").write_text("<script>only()</script>")
    assert pages_of(tmp_path / "b.htm") == []


class TestBooks:
    def test_chapters_come_in_the_order_of_reading(self, tmp_path: Path) -> None:
        book = papers.make_epub(
            tmp_path / "a.epub", {"zwei": "<h1>Zwei</h1><p>First&nbsp;of all.</p>", "eins": "<h1>Eins</h1><p>Then.</p>"}
        )
        first, second, picture = pages_of(book)
        assert (first.text, second.text) == ("# Zwei\nFirst\u00a0of all.", "# Eins\nThen.")
        assert picture.image is not None and picture.image.size == (160, 120)

    def test_long_chapters_are_several_pages_and_none_spans_two(self, tmp_path: Path) -> None:
        chapters = {f"c{n}": f"<p>begin{n}</p>" + f"<p>{'word ' * 150}</p>" * 4 for n in range(5)}
        texts = [page.text for page in pages_of(papers.make_epub(tmp_path / "a.epub", chapters)) if page.text]
        assert len(texts) > 5 and all(len(text) <= MAX_CHARS for text in texts)
        begins = [n for n, text in enumerate(texts) if "begin" in text]
        assert len(begins) == 5 and all(texts[n].startswith("begin") for n in begins)

    def test_locked(self, tmp_path: Path) -> None:
        locks = "<encryption><CipherReference URI='OEBPS/{}'/></encryption>"
        fonts = papers.make_epub(
            tmp_path / "a.epub", {"one": "<p>open</p>"}, **{"META-INF__encryption.xml": locks.format("font.otf")}
        )
        assert pages_of(fonts)[0].text == "open"
        locked = papers.make_epub(
            tmp_path / "b.epub", {"one": "<p>x</p>"}, **{"META-INF__encryption.xml": locks.format("one.xhtml")}
        )
        with pytest.raises(DocumentError, match=r"^b\.epub is locked by its publisher"):
            open_document(locked)
