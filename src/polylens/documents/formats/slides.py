"""PowerPoint files: one page per slide, with its tables, charts and notes, then one page per picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from polylens.documents.document import Document
from polylens.documents.formats.archive import Archive, Packed, Picture, attribute, local, reading
from polylens.documents.formats.blocks import Block, heading, item, joined
from polylens.documents.formats.ooxml import Package, blocks

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
        relations = package.relations(main)
        ids = [attribute(each, "id", qualified=True) for each in archive.xml(main).iter() if local(each) == "sldId"]
        texts: list[str] = []
        pictures: list[Picture] = []
        for number, part in enumerate((relations[each].part for each in ids), start=1):
            root = archive.xml(part)
            found = sorted(blocks(root, _block_of), key=lambda block: block.role != "heading")
            notes = [each for name in package.related(part, "notesSlide") for each in _notes(archive.xml(name))]
            label = [Block("Notes:", "heading")] if notes else []
            texts.append(joined([*found, *package.drawn(part), *label, *notes]) or f"Slide {number}")
            name = found[0].text.lstrip("# ") if found and found[0].role == "heading" else ""
            place = f"Slide {number}: {name}" if name else f"Slide {number}"
            pictures += [replace(each, text=f"{place}\n{each.text}".strip()) for each in package.pictures(part, root)]
        return Packed("slides", archive, texts, pictures)


def _notes(root: Any) -> list[Block]:
    return list(blocks(root, lambda paragraph, text: Block(text, "item") if _role(paragraph) == "body" else None))


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
