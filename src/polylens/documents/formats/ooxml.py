"""Office Open XML, which Word and PowerPoint files share: relations between parts, and text in paragraphs.

ECMA-376, https://ecma-international.org/publications-and-standards/standards/ecma-376/. Its two variants, transitional
and strict, differ in their namespaces; only local names are compared here.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from polylens.documents.formats.archive import Archive, Picture, attribute, local
from polylens.documents.formats.blocks import Block, row

_UNSEEN = frozenset({"pPr", "rPr", "tblPr", "sectPr", "Fallback", "moveFrom", "del", "delText", "instrText"})
"""Formatting, deleted text, and copies of drawings for older programs."""

_MAIN = ("word/document.xml", "ppt/presentation.xml", "xl/workbook.xml")  # where programs put the document itself
_SHORT = {"br": "\n", "cr": "\n", "tab": "\t", "noBreakHyphen": "-"}
_FILE_NAME = re.compile(r"\S+\.\w{3,4}")  # some programs write this as the alternative text
_FIELDS = ("slidenum", "datetime")  # prefixes of the fields that a slide fills in by itself


@dataclass(frozen=True, slots=True)
class Relation:
    """A reference from one part to another."""

    kind: str
    """Last word of the relation's type: "slide", "image", "footnotes"."""
    part: str


class Package:
    """An archive whose parts refer to each other."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._relations: dict[str, dict[str, Relation]] = {}

    def main(self) -> str:
        """Returns the name of the part with the document itself.

        Raises:
            KeyError: There is none.
        """
        with self.archive.sparing("_rels/.rels"):
            if named := self.related("", "officeDocument"):
                return named[0]
        usual = [part for part in _MAIN if part in self.archive]
        if not usual:
            raise KeyError("no part of it is the document itself")
        return usual[0]

    def relations(self, part: str) -> dict[str, Relation]:
        """Returns the references of a part to others in the archive, by their identifiers."""
        if part not in self._relations:
            folder, name = posixpath.split(part)
            table = posixpath.join(folder, "_rels", f"{name}.rels")
            root: Any = []
            if table in self.archive:
                with self.archive.sparing(table):
                    root = self.archive.xml(table)
            self._relations[part] = {
                each.get("Id", ""): Relation(each.get("Type", "").rpartition("/")[2], _target(folder, each))
                for each in root
                if isinstance(each.tag, str) and each.get("TargetMode") != "External"
            }
        return self._relations[part]

    def related(self, part: str, *kinds: str) -> list[str]:
        """Returns the existing parts of some kinds that a part refers to, each once."""
        found = [each.part for each in self.relations(part).values() if each.kind in kinds]
        return [each for each in dict.fromkeys(found) if each in self.archive]

    def pictures(self, part: str, root: Any) -> Iterator[Picture]:
        """Yields the pictures in a part, in order, with their alternative texts."""
        relations = self.relations(part)
        for element in root.iter():
            name = {"blip": "embed", "imagedata": "id"}.get(local(element))
            if name and (relation := relations.get(attribute(element, name, qualified=True))):
                yield Picture(relation.part, _alternative_text(element))

    def drawn(self, part: str) -> Iterator[Block]:
        """Yields the words of each chart and diagram of a part."""
        for drawing in self.related(part, "chart", "chartEx", "diagramData"):
            with self.archive.sparing(drawing):
                words = [" ".join((w.text or "").split()) for w in self.archive.xml(drawing).iter() if _is_word(w)]
                yield row(dict.fromkeys(word for word in words if word))

    def blocks_of(self, part: str, block_of: Callable[[Any, str], Block | None]) -> list[Block]:
        """Returns the paragraphs and table rows of a part beside the document; none where it cannot be read."""
        found: list[Block] = []
        with self.archive.sparing(part):
            found.extend(blocks(self.archive.xml(part), block_of))
        return found

    def comments(self, part: str) -> list[Block]:
        """Returns the comments on a slide or sheet, of old and new kinds, each once."""
        found: list[Block] = []
        for name in self.related(part, "comments", "threadedComment"):
            with self.archive.sparing(name):
                for comment in self.archive.xml(name):
                    texts = [text_of(each) for each in comment.iter() if local(each) in ("p", "text", "commentText")]
                    # The text of an old comment stands in the element itself, or in runs, and that of a new one in
                    # paragraphs.
                    plain = [each.text or "" for each in comment.iter() if local(each) == "text"]
                    found += [Block(text.strip(), "item") for text in dict.fromkeys([*texts, *plain]) if text.strip()]
        return list(dict.fromkeys(found))


def _target(folder: str, relation: Any) -> str:
    return posixpath.normpath(posixpath.join("/", folder, unquote(relation.get("Target", "")))).lstrip("/")


def _is_word(element: Any) -> bool:
    """Returns whether an element is text of a chart or diagram: names of series and categories too, but no numbers."""
    name, parent = local(element), element.getparent()
    return name == "t" or (name == "v" and local(parent.getparent()) == "strCache")


def _alternative_text(element: Any) -> str:
    for frame in element.iterancestors():
        if local(frame) in ("inline", "anchor", "pic", "sp"):
            texts = [attribute(each, "descr") for each in frame.iter() if local(each) in ("docPr", "cNvPr")]
            found = " ".join(next(filter(None, texts), "").split())
            if found and not _FILE_NAME.fullmatch(found):
                return found
    return ""


def blocks(element: Any, block_of: Callable[[Any, str], Block | None]) -> Iterator[Block]:
    """Yields the paragraphs and table rows of an element, in order; a text box follows the paragraph it is anchored in.

    Args:
        element: The element; the parser limits its depth.
        block_of: Makes a block of a paragraph and its text; returns None to leave it out.
    """
    for child in element:
        name = local(child)
        if name in _UNSEEN:
            continue
        if name == "p":
            text = text_of(child).strip()
            block = block_of(child, text) if text else None
            if block:
                yield block
            for box in _boxes(child):
                yield from blocks(box, block_of)
        elif name == "tr":
            yield row(_cells(child, block_of))
        else:
            yield from blocks(child, block_of)


def _cells(table_row: Any, block_of: Callable[[Any, str], Block | None]) -> Iterator[str]:
    for child in table_row:
        if local(child) == "tc":
            yield " ".join(block.text for block in blocks(child, block_of))
        elif local(child) not in _UNSEEN:  # a cell inside a content control
            yield from _cells(child, block_of)


def _boxes(element: Any) -> Iterator[Any]:
    for child in element:
        if local(child) == "txbxContent":
            yield child
        elif local(child) not in _UNSEEN:
            yield from _boxes(child)


def text_of(element: Any) -> str:
    """Returns the text of a paragraph, without its text boxes."""
    parts: list[str] = []
    for child in element:
        name = local(child)
        if name == "t":
            parts.append(child.text or "")
        elif name in _SHORT:
            parts.append(_SHORT[name])
        elif name not in _UNSEEN and name != "txbxContent" and not _is_filled_in(child):
            parts.append(text_of(child))
    return "".join(parts)


def _is_filled_in(element: Any) -> bool:
    return local(element) == "fld" and attribute(element, "type").startswith(_FIELDS)
