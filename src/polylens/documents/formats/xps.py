"""XPS documents (.xps, .oxps), as Windows prints them: one page of text per page, then one page per picture.

XML Paper Specification, ECMA-388. The pages are not drawn: no library with a free licence does that.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from polylens.documents.bounds import MAX_PAGES
from polylens.documents.document import Document
from polylens.documents.formats.archive import Archive, Packed, Picture, local, reading

_LINE = 2.0  # units of 1/96 inch by which words on one line may differ in height


def open_xps(path: Path) -> Document:
    """Opens a document.

    Raises:
        DocumentError: The file is damaged, protected by a password, or not an XPS document.
    """
    archive = Archive(path)
    with reading(archive):
        pages = list(dict.fromkeys(_pages(archive)))[:MAX_PAGES]
        texts: list[str] = []
        pictures: list[Picture] = []
        for number, part in enumerate(pages, start=1):
            if part not in archive:
                texts.append(f"Page {number}, which the file lacks")
                continue
            root = archive.xml(part)
            texts.append(_text(root) or f"Page {number}")
            sources = (each.get("ImageSource", "") for each in root.iter() if local(each) == "ImageBrush")
            pictures += [Picture(_target(part, source), f"Page {number}") for source in sources if source[:1] != "{"]
        return Packed("document", archive, texts, pictures)


def _pages(archive: Archive) -> Iterator[str]:
    """Yields the pages in their order: a sequence names documents, each of which names its pages."""
    sequences = [name for name in archive.sizes() if name.lower().endswith(".fdseq")]
    for sequence in sequences[:1]:
        for document in archive.xml(sequence).iter():
            if local(document) == "DocumentReference":
                place = _target(sequence, document.get("Source", ""))
                for page in archive.xml(place).iter():
                    if local(page) == "PageContent":
                        yield _target(place, page.get("Source", ""))
    if not sequences:
        raise KeyError("FixedDocumentSequence")


def _text(root: Any) -> str:
    """Returns the words of a page, those of one line together, in the order in which they are drawn."""
    lines: list[str] = []
    height = None
    for each in root.iter():
        if local(each) == "Glyphs" and (written := each.get("UnicodeString", "").removeprefix("{}")).strip():
            found = re.match(r"-?\d{1,7}(?:\.\d{1,9})?", each.get("OriginY", ""))
            place = float(found[0]) if found else None
            if lines and place is not None and height is not None and abs(place - height) <= _LINE:
                lines[-1] += f" {written}"
            else:
                lines.append(written)
            height = place
    return "\n".join(" ".join(line.split()) for line in lines)


def _target(base: str, address: str) -> str:
    return posixpath.normpath(posixpath.join("/", posixpath.dirname(base), unquote(address))).lstrip("/")
