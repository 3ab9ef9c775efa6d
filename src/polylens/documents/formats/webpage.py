"""Web pages: the visible text, split into passages."""

from __future__ import annotations

import html.entities
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lxml import etree

from polylens.documents.bounds import within
from polylens.documents.document import Document
from polylens.documents.formats.archive import local, parse_xml
from polylens.documents.formats.blocks import Block, heading, item, joined, row
from polylens.documents.formats.encodings import decode
from polylens.documents.formats.text import read_bytes
from polylens.documents.splitting import split
from polylens.errors import DocumentError
from polylens.types import Page

_HUGE = 9_000_000
"""Bytes from which on one text may be longer than libxml2 takes, which drops it and, in silence, all that follows."""

UNSEEN = frozenset(
    "script style template noscript svg iframe object embed canvas audio video select datalist textarea rt rp "  # noqa: SIM905
    "head".split()
)
BREAKS = frozenset(
    "address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure "  # noqa: SIM905
    "footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol option p pre search section "
    "summary table tbody tfoot thead tr ul".split()
)
_SPACES = re.compile(r"[ \t\n\r\f]+")
_NAMED = re.compile(r"&(\w{2,31});")
_XML_NAMES = frozenset({"amp", "lt", "gt", "quot", "apos"})


class WebPage(Document):
    """An HTML or XHTML file, read as a whole. Scripts, styles and hidden elements are left out; nothing is fetched."""

    kind = "text"

    def __init__(self, path: Path) -> None:
        data = read_bytes(path)
        try:
            self._passages = list(within(split(joined(blocks_of(data, path.name))), self.unread))
        except (DocumentError, MemoryError):
            raise
        except Exception as error:  # a fuzzed file makes a parser raise almost anything
            raise DocumentError(f"{path.name} cannot be read as a web page ({type(error).__name__})") from error

    @property
    def num_pages(self) -> int:
        return len(self._passages)

    def page(self, number: int) -> Page:
        return Page(number, None, self._passages[number - 1])


def blocks_of(data: bytes, name: str = "the page") -> list[Block]:
    """Parses a web page, or a chapter of a book, into blocks. The title comes first.

    Raises:
        DocumentError: The bytes are not text.

    Example:
        >>> [block.text for block in blocks_of(b"<title>A</title><ul><li>b<script>c</script></ul><p>d<br>e")]
        ['# A', '- b', 'd\\ne']
    """
    root = parse_page(decode(data, name))
    if root is None:
        return []
    found = list(_Walk().blocks(root))
    title = next((" ".join("".join(each.itertext()).split()) for each in root.iter() if local(each) == "title"), "")
    if title and all(block.text.lstrip("# ") != title for block in found if block.role == "heading"):
        found.insert(0, heading(title, 1))
    return found


def parse_page(text: str) -> Any:
    """Returns the root element; None if there is none. In XHTML, which is XML, `<title/>` is a whole element."""
    if text.lstrip("\ufeff \n\t").startswith("<?xml") or "http://www.w3.org/1999/xhtml" in text[:1024]:
        try:
            return parse_xml(re.sub(r"^\s*<\?xml.*?\?>", "", _without_names(text), flags=re.S).strip().encode())
        except etree.XMLSyntaxError:
            pass  # not well-formed: parsed as HTML
    data = re.sub(r"^\s*<\?xml.*?\?>", "", text, flags=re.S).strip().encode("utf-8", "replace")
    huge = len(data) > _HUGE
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True, huge_tree=huge)
    return etree.fromstring(data, parser) if data else None


def _without_names(text: str) -> str:
    """Replaces HTML's named character references, which plain XML does not know, by the characters."""

    def character(match: re.Match[str]) -> str:
        name = match[1]
        return match[0] if name in _XML_NAMES else html.entities.html5.get(f"{name};", match[0])

    return _NAMED.sub(character, text)


class _Walk:
    """One pass over a page: text accumulates until an element breaks the line, and then becomes a block."""

    def __init__(self) -> None:
        self._written: list[str] = []
        self._cells: list[str] | None = None  # of the table row that is open
        self._lists = 0  # number of open lists
        self._begins_item = False
        self._verbatim = 0  # number of open `pre` elements

    def blocks(self, root: Any) -> Iterator[Block]:
        walk = etree.iterwalk(root, events=("start", "end"))  # no recursion: a page may nest as it likes
        for event, element in walk:
            name = local(element).lower()
            if event == "start":
                if name in UNSEEN or is_hidden(element):
                    walk.skip_subtree()
                    continue
                yield from self._start(element, name)
            else:
                if not (name in UNSEEN or is_hidden(element)):
                    yield from self._end(name)
                if element is not root:
                    self._write(element.tail)

    def _start(self, element: Any, name: str) -> Iterator[Block]:
        if name in BREAKS:
            yield from self._flush()
        if name == "tr" and self._cells is None and element.find(".//{*}table") is None:
            self._cells = []  # a table inside a table is there for the layout
        elif name == "br":
            self._written.append("\n")
        elif name == "img":
            self._write(f" {element.get('alt', '')} ")
        self._lists += name in ("ul", "ol", "menu")
        self._begins_item |= name == "li"
        self._verbatim += name == "pre"
        self._write(element.text)

    def _end(self, name: str) -> Iterator[Block]:
        if name in ("td", "th") and self._cells is not None:
            self._cells.append(self._taken())
        elif name == "tr" and self._cells is not None:
            cells, self._cells = self._cells, None
            yield row(cells)
        elif name in BREAKS:
            yield from self._flush(name)
        elif name in ("td", "th"):
            yield from self._flush()
        self._lists -= name in ("ul", "ol", "menu")
        self._begins_item &= name != "li"
        self._verbatim -= name == "pre"

    def _write(self, text: str | None) -> None:
        if text:
            self._written.append(text if self._verbatim else _SPACES.sub(" ", text))

    def _taken(self) -> str:
        text, self._written = "".join(self._written), []
        if self._verbatim:
            return text.strip("\n").rstrip()
        return re.sub(r" *\n *", "\n", re.sub(" {2,}", " ", text)).strip()

    def _flush(self, name: str = "") -> Iterator[Block]:
        if self._cells is not None:
            self._written.append(" ")  # a block in a cell
            return
        text = self._taken()
        if not text.strip():
            return
        if name[:1] == "h" and name[1:].isdigit():
            yield heading(text, int(name[1:]))
        elif self._begins_item:
            self._begins_item = False
            yield item(text, self._lists - 1)
        else:
            yield Block(text)


def is_hidden(element: Any) -> bool:
    style = element.get("style")
    return "hidden" in element.attrib or bool(style and re.search(r"display\s*:\s*none", style, re.I))
