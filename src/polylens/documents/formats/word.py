"""Word files: passages with headings, lists, tables and text boxes, then one page per picture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polylens.documents.document import Document
from polylens.documents.formats.archive import Archive, Packed, attribute, local, reading
from polylens.documents.formats.blocks import Block, heading, item, joined
from polylens.documents.formats.included import include
from polylens.documents.formats.ooxml import Package, blocks
from polylens.documents.splitting import split

_MARGINS = ("footnotes", "endnotes", "comments", "header", "footer")


def open_word(path: Path) -> Document:
    """Opens a Word file (.docx, .docm, .dotx).

    Notes, comments, headers and footers follow the text, each once.

    Raises:
        DocumentError: The file is damaged, protected by a password, or not a Word file.
    """
    archive = Archive(path)
    with reading(archive):
        package = Package(archive)
        main = package.main()
        root = archive.xml(main)
        styles = _Styles({}, frozenset())
        with archive.sparing("the styles"):
            styles = _Styles.of(package, main)
        with archive.sparing("the files inside it"):
            include(package, main, root)
        margins = [package.blocks_of(part, styles.block_of) for part in package.related(main, *_MARGINS)]
        aside = dict.fromkeys(block for margin in margins for block in margin)
        text = joined([*blocks(root, styles.block_of), *package.drawn(main), *aside])
        return Packed("document", archive, split(text), package.pictures(main, root))


@dataclass(frozen=True, slots=True)
class _Styles:
    """What the styles of a document say about paragraphs."""

    levels: dict[str, int]
    """Level of each heading style, from 1."""
    lists: frozenset[str]

    @classmethod
    def of(cls, package: Package, main: str) -> _Styles:
        levels: dict[str, int] = {}
        lists: set[str] = set()
        styles = [
            style
            for part in package.related(main, "styles")
            for style in package.archive.xml(part)
            if local(style) == "style"
        ]
        bases = {attribute(style, "styleId"): _value(style, "basedOn") for style in styles}
        for style in styles:
            name = attribute(style, "styleId")
            if level := _level(style):
                levels[name] = level
            elif any(local(each) == "numPr" for each in style.iter()):
                lists.add(name)
        for name in bases:
            ancestors = list(_chain(name, bases))
            level = next((levels[each] for each in ancestors if each in levels), 0)
            if level:
                levels[name] = level
            elif any(each in lists for each in ancestors):
                lists.add(name)
        return cls(levels, frozenset(lists))

    def block_of(self, paragraph: Any, text: str) -> Block:
        properties = next((child for child in paragraph if local(child) == "pPr"), None)
        if properties is None:
            return Block(text)
        style = _value(properties, "pStyle")
        if level := _level(properties) or self.levels.get(style, 0):
            return heading(text, level)
        if style in self.lists or any(local(child) == "numPr" for child in properties):
            depth = _value(properties, "ilvl")
            return item(text, int(depth) if depth.isdecimal() else 0)
        return Block(text)


def _chain(name: str, bases: dict[str, str]) -> Iterator[str]:
    """Yields a style and the styles it is based on, each once even if they form a circle."""
    seen: set[str] = set()
    while name and name not in seen:
        seen.add(name)
        yield name
        name = bases.get(name, "")


def _level(element: Any) -> int:
    """Returns the heading level, from 1, that a style or a paragraph's properties set; 0 if they set none."""
    outline = _value(element, "outlineLvl")
    if outline.isdecimal() and int(outline) < 9:  # 9 is body text
        return int(outline) + 1
    name = _value(element, "name").lower()
    numbered = re.fullmatch(r"heading ([1-9])", name)  # English whatever the language of Word
    return int(numbered[1]) if numbered else int(name == "title")


def _value(element: Any, name: str) -> str:
    """Returns the attribute `w:val` of the first descendant of this name; "" if there is none."""
    return next((attribute(each, "val") for each in element.iter() if local(each) == name), "")
