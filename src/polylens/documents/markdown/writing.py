"""HTML as Markdown, in the dialect of GitHub: headings, lists, tables, code, quotations, links and images.

https://github.github.com/gfm/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from polylens.documents.formats.webpage import BREAKS, UNSEEN, is_hidden

_SPACES = re.compile(r"[ \t\n\r\f]+")
_HEADING = re.compile(r"h([1-6])")
_LANGUAGE = re.compile(r"(?:^|\s)(?:language|lang|highlight-source|highlight-text|brush:)[-\s]?([\w+#.-]+)")
_BLOCKS = BREAKS | {"td", "th", "tfoot", "body"}
_MARKS = {"strong": "**", "b": "**", "em": "*", "i": "*", "del": "~~", "s": "~~", "strike": "~~"}
_AT_START = re.compile(r"(?m)^(\s*)(#{1,6} |>|[-+*] |\d{1,9}[.)] |```|~~~|(?:---|\*\*\*|___)\s*$)")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_MAX_SPAN = 50  # columns or rows that one cell may cover


class Writer:
    """Writes an element as Markdown, and collects its links and images on the way.

    Args:
        plain: Write the mere text, without marks: as a browser would copy it.
    """

    def __init__(self, *, plain: bool = False) -> None:
        self._plain = plain
        self.links: list[tuple[str, str]] = []
        """Text and address of each link, in order."""
        self.images: list[tuple[str, str]] = []
        """Alternative text and address of each image, in order."""

    def write(self, root: Any) -> str:
        """The whole of an element; addresses are written as they stand in it.

        Args:
            root: An lxml element whose tags are HTML's, in lower case and without a namespace.

        Example:
            >>> from lxml import html
            >>> Writer().write(html.fromstring("<div><h2>Tides</h2><p>They <b>rise</b>.<ul><li>high<li>low</ul></div>"))
            '## Tides\\n\\nThey **rise**.\\n\\n- high\\n- low'
        """
        return "\n\n".join(self._blocks(root)).strip()

    def _blocks(self, element: Any) -> list[str]:
        """The blocks inside an element; text between them is a paragraph."""
        found: list[str] = []
        run: list[str] = []

        def flush() -> None:
            text = self._paragraph("".join(run))
            run.clear()
            if text:
                found.append(text)

        run.append(self._text(element.text))
        for child in element:
            if _is_block(child):
                flush()
                found += [block for block in self._block(child) if block.strip()]
            else:
                run.append(self._inline(child))
            run.append(self._text(child.tail))
        flush()
        return found

    def _block(self, element: Any) -> list[str]:
        if not _is_seen(element):
            return []
        tag = element.tag
        if heading := _HEADING.fullmatch(tag):
            text = " ".join(self._inside(element).split())
            return [text if self._plain or not text else f"{'#' * int(heading[1])} {text}"]
        if tag in ("ul", "ol", "menu"):
            return [self._list(element)]
        if tag == "table":
            return self._table(element)
        if tag == "pre":
            return [self._code(element)]
        if tag == "hr":
            return [] if self._plain else ["---"]
        if tag == "blockquote" and not self._plain:
            lines = "\n\n".join(self._blocks(element)).split("\n")
            return ["\n".join(f"> {line}".rstrip() for line in lines)] if any(lines) else []
        return self._blocks(element)

    def _list(self, element: Any) -> str:
        items: list[str] = []
        number = int(start) if (start := element.get("start") or "1").isdecimal() and len(start) < 10 else 1
        for child in element:
            if not _is_seen(child):
                continue
            blocks = self._blocks(child) if child.tag not in ("ul", "ol", "menu") else [self._list(child)]
            if not blocks:
                continue
            # A list right below its item belongs to it, so no blank line stands between the two.
            text = blocks[0] + "".join(("\n" if _begins_list(block) else "\n\n") + block for block in blocks[1:])
            mark = "" if self._plain else f"{number}. " if element.tag == "ol" else "- "
            if child.tag in ("ul", "ol", "menu"):
                mark = "  "  # a list directly inside a list, which HTML forbids and pages contain
            items.append(mark + text.replace("\n", "\n" + " " * len(mark)))
            number += 1
        return re.sub(r"(?m)^ +$", "", "\n".join(items))

    def _table(self, element: Any) -> list[str]:
        """A table; one that is there for the layout is read as what its cells hold."""
        captions = [text for each in element if each.tag == "caption" and (text := self._paragraph(self._inside(each)))]
        trs = [tr for tr in element.iter("tr") if next(tr.iterancestors("table"), None) is element and _is_seen(tr)]
        cells = [[cell for cell in tr if cell.tag in ("td", "th") and _is_seen(cell)] for tr in trs]
        is_layout = element.find(".//table") is not None or max(map(len, cells), default=0) < 2
        if is_layout:
            return [*captions, *(block for row in cells for cell in row for block in self._blocks(cell))]
        rows = _grid(
            [[(self._cell(cell), _span(cell, "colspan"), _span(cell, "rowspan")) for cell in row] for row in cells]
        )
        return [*captions, table(rows, plain=self._plain)]

    def _cell(self, element: Any) -> str:
        return " ".join(part for block in self._blocks(element) for part in block.split())

    def _code(self, element: Any) -> str:
        text = "".join(_all_text(element)).strip("\n").rstrip()
        if self._plain or not text:
            return text
        classes = " ".join(
            each.get("class") or "" for each in (element.getparent(), element, *element) if each is not None
        )
        language = _LANGUAGE.search(classes)
        return fenced(text, language[1] if language else "")

    def _inline(self, element: Any) -> str:
        if not isinstance(element.tag, str) or not _is_seen(element):
            return ""
        tag = element.tag
        if tag == "br":
            return "\n"
        if tag == "img":
            return self._image(element)
        if tag in ("code", "kbd", "samp", "tt") and not self._plain:
            return _coded(" ".join("".join(_all_text(element)).split()))
        inside = self._inside(element)
        if tag == "a":
            return self._link(element, inside)
        mark = "" if self._plain else _MARKS.get(tag, "")
        words = inside.strip()
        if not mark or not words or "\n" in words:
            return inside
        before, after = inside[: len(inside) - len(inside.lstrip())], inside[len(inside.rstrip()) :]
        return f"{before}{mark}{words}{mark}{after}"

    def _inside(self, element: Any) -> str:
        """What an element holds, on one line: blocks inside it become words between blanks."""
        parts = [self._text(element.text)]
        for child in element:
            if _is_block(child):
                parts.append(" " + " ".join(" ".join(block.split()) for block in self._block(child)) + " ")
            else:
                parts.append(self._inline(child))
            parts.append(self._text(child.tail))
        return "".join(parts)

    def _link(self, element: Any, inside: str) -> str:
        target, text = (element.get("href") or "").strip(), " ".join(inside.split())
        if not target or not target.lower().startswith(("http://", "https://", "mailto:", "tel:", "ftp://")):
            return inside
        shown = re.sub(r"!\[([^\]]*)\]\([^)]*\)", r"\1", text).strip()
        self.links.append((shown, target))
        if self._plain or not text:
            return inside
        return f"{_before(inside)}[{text}]({_target(target)}){_after(inside)}"

    def _image(self, element: Any) -> str:
        alternative = " ".join((element.get("alt") or "").split())
        sources = [element.get(name) or "" for name in ("src", "data-src", "data-original")]
        sources += [part.split()[0] for part in (element.get("srcset") or "").split(",") if part.strip()]
        source = next((each.strip() for each in sources if each.strip().startswith(("http://", "https://"))), "")
        if source:
            self.images.append((alternative, source))
        if self._plain or not source:
            return self._text(alternative)
        return f"![{alternative.replace('[', '(').replace(']', ')')}]({_target(source)})"

    def _text(self, text: str | None) -> str:
        if not text:
            return ""
        text = _SPACES.sub(" ", text)
        return text if self._plain else _TAG.sub(r"\\<", text)

    def _paragraph(self, text: str) -> str:
        text = re.sub(r" *\n *", "\n", re.sub(" {2,}", " ", text)).strip()
        return text if self._plain else _AT_START.sub(r"\1\\\2", text)


def table(rows: list[list[str]], *, plain: bool = False) -> str:
    """Rows of cells as a table, whose first row names the columns. Plain cells are separated by tabs.

    Example:
        >>> print(table([["Port", "Berths"], ["Aveiro | north", "12"]]))
        | Port | Berths |
        | --- | --- |
        | Aveiro \\| north | 12 |
    """
    width = max(map(len, rows), default=0)
    full = [[*row, *[""] * (width - len(row))] for row in rows if any(cell.strip() for cell in row)]
    if plain:
        return "\n".join("\t".join(row).rstrip() for row in full)
    escaped = [[re.sub(r"(?<!\\)\|", r"\\|", " ".join(cell.split())) for cell in row] for row in full]
    lines = [f"| {' | '.join(row)} |" for row in escaped]
    return "\n".join([*lines[:1], f"|{' --- |' * width}", *lines[1:]]) if lines else ""


def fenced(text: str, language: str = "") -> str:
    """A block of code, between fences longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _coded(text: str) -> str:
    if not text:
        return ""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    mark = "`" * (longest + 1)
    space = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{mark}{space}{text}{space}{mark}"


def _is_block(element: Any) -> bool:
    """Whether an element breaks the line: by its kind, or because it holds one that does, as a `span` or `a` may."""
    if not isinstance(element.tag, str):
        return False
    if element.tag in _BLOCKS:
        return True
    if element.tag in ("a", "img", "br", *_MARKS) or not _is_seen(element):
        return False
    return any(each.tag in _BLOCKS for each in element.iterdescendants())


def _is_seen(element: Any) -> bool:
    return isinstance(element.tag, str) and element.tag not in UNSEEN and not is_hidden(element)


def _begins_list(block: str) -> bool:
    return re.match(r"(?:- |\d+\. )", block) is not None


def _grid(rows: list[list[tuple[str, int, int]]]) -> list[list[str]]:
    """Texts of cells by row and column, where a cell may cover several of both: the others it covers are empty."""
    found: list[list[str]] = []
    covered: dict[int, int] = {}  # column -> rows further down that a cell above covers
    for cells in rows:
        row: list[str] = []

        def skip(row: list[str] = row) -> None:
            while covered.get(len(row), 0) > 0:
                covered[len(row)] -= 1
                row.append("")

        for text, columns, below in cells:
            skip()
            for number in range(columns):
                covered[len(row)] = below - 1
                row.append(text if number == 0 else "")
        skip()
        found.append(row)
    return found


def _span(cell: Any, name: str) -> int:
    given = cell.get(name) or "1"
    return min(max(int(given), 1), _MAX_SPAN) if given.isdecimal() and len(given) < 5 else 1


def _all_text(element: Any) -> Iterator[str]:
    """The text of code, as it stands; `br` breaks the line."""
    yield element.text or ""
    for child in element:
        if child.tag == "br":
            yield "\n"
        elif _is_seen(child):
            yield from _all_text(child)
        yield child.tail or ""


def _target(address: str) -> str:
    return re.sub(r"[\s()<>]", lambda match: f"%{ord(match[0]):02X}", address)


def _before(text: str) -> str:
    return " " if text[:1].isspace() else ""


def _after(text: str) -> str:
    return " " if text[-1:].isspace() else ""
