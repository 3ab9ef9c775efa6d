"""PowerPoint files: one page per slide, with its tables, charts and notes, then one page per picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from polylens.documents.cleaning import clean
from polylens.documents.document import Document
from polylens.documents.formats.archive import Archive, Packed, Picture, attribute, local, reading
from polylens.documents.formats.blocks import Block, heading, item, joined
from polylens.documents.formats.ooxml import Package, blocks
from polylens.errors import DocumentError

_TITLES = ("title", "ctrTitle")
_LISTS = ("body", "obj")
_REPEATED = ("sldNum", "dt", "ftr", "hdr")  # number, date, footer and header, which all slides share


def open_slides(path: Path) -> Document:
    """Opens a PowerPoint file (.pptx, .pptm, .ppsx, .potx).

    Page n is slide n, hidden slides included; the text of an empty slide is its number. Pictures follow the last slide.

    Raises:
        DocumentError: The file is damaged, protected by a password, or not a PowerPoint file.
    """
    archive = Archive(path)
    with reading(archive):
        package = Package(archive)
        main = package.main()
        texts: list[str] = []
        pictures: list[Picture] = []
        for number, part in enumerate(_slides(package, main), start=1):
            texts.append(f"Slide {number}")
            with archive.sparing(f"slide {number}"):
                texts[-1], more = _slide(package, part, number)
                pictures += more
        if len(archive.unread) >= len(texts) > 0 and all(
            f"slide {n}" in archive.unread for n in range(1, len(texts) + 1)
        ):
            raise DocumentError(f"{path.name} is damaged: no slide can be read ({archive.unread['slide 1']})")
        return Packed("slides", archive, texts, pictures)


def _slides(package: Package, main: str) -> list[str]:
    """Returns the names of the slides' parts in order; "" for a slide that has none."""
    relations = package.relations(main)
    # A list of sections, too, has elements named sldId, whose identifiers lead to no part.
    names = [
        attribute(each, "id", qualified=True) for each in package.archive.xml(main).iter() if local(each) == "sldId"
    ]
    return [relations[name].part if name in relations else "" for name in names if name]


def _slide(package: Package, part: str, number: int) -> tuple[str, list[Picture]]:
    """Returns the text of a slide and its pictures."""
    root = package.archive.xml(part)
    found = sorted(blocks(root, _block_of), key=lambda block: block.role != "heading")
    notes = [each for name in package.related(part, "notesSlide") for each in package.blocks_of(name, _note_of)]
    comments = package.comments(part)
    aside = [*([Block("Notes:", "heading")] if notes else []), *notes]
    aside += [*([Block("Comments:", "heading")] if comments else []), *comments]
    text = clean(joined([*found, *package.drawn(part), *aside])).strip() or f"Slide {number}"
    name = found[0].text.lstrip("# ") if found and found[0].role == "heading" else ""
    place = f"Slide {number}: {name}" if name else f"Slide {number}"
    return text, [replace(each, text=f"{place}\n{each.text}".strip()) for each in package.pictures(part, root)]


def _note_of(paragraph: Any, text: str) -> Block | None:
    return Block(text, "item") if _role(paragraph) == "body" else None


def _block_of(paragraph: Any, text: str) -> Block | None:
    role = _role(paragraph)
    if role in _REPEATED:
        return None
    if role in _TITLES:
        return heading(text, 1)
    if role in _LISTS:
        return item(text, _depth(paragraph))
    return Block(text, "item")


def _role(paragraph: Any) -> str:
    """Returns the placeholder type of the shape around a paragraph; "" if it is not a placeholder."""
    for shape in paragraph.iterancestors():
        if local(shape) == "sp":
            holders = [each for each in shape.iter() if local(each) == "ph"]
            return (attribute(holders[0], "type") or "obj") if holders else ""
    return ""


def _depth(paragraph: Any) -> int:
    levels = [attribute(child, "lvl") for child in paragraph if local(child) == "pPr"]
    return int(levels[0]) if levels and levels[0].isdecimal() else 0
