"""EPUB books: one or several pages per chapter, then one page per picture.

EPUB 3.3, https://www.w3.org/TR/epub-33/.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

from polylens.documents.document import Document
from polylens.documents.formats.archive import Archive, Packed, Picture, local, parse_xml, reading
from polylens.documents.formats.blocks import Block, joined
from polylens.documents.formats.webpage import blocks_of
from polylens.documents.splitting import split
from polylens.errors import DocumentError

_CONTAINER = "META-INF/container.xml"
_SVG = "image/svg+xml"
_SVG_TEXTS = ("title", "desc", "text")
_ENCRYPTION = "META-INF/encryption.xml"
_CHAPTERS = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document", _SVG)
_CHAPTER_SUFFIXES = (".xhtml", ".html", ".htm", ".xht")  # whatever the package says of such a part


def open_epub(path: Path) -> Document:
    """Opens a book.

    Raises:
        DocumentError: The file is damaged, locked by its publisher, or not an EPUB book.
    """
    archive = Archive(path)
    with reading(archive):
        opf = _package(archive)
        package = list(archive.xml(opf).iter())
        manifest = [each for each in package if local(each) == "item" and each.get("href")]
        place = {_id(each.get("id")): _target(opf, each.get("href")) for each in manifest}
        kinds = {_id(each.get("id")): each.get("media-type") or "" for each in manifest}
        spine = [_id(each.get("idref")) for each in package if local(each) == "itemref"]
        chapters = [name for name in spine if name in place and _is_chapter(kinds[name], place[name])]
        if not chapters:  # a spine that leads nowhere: the chapters in the order of the manifest
            chapters = [name for name in place if _is_chapter(kinds[name], place[name]) and kinds[name] != _SVG]
        parts = dict.fromkeys(place[name] for name in chapters)
        locked = _locked(archive)
        if any(part in locked for part in parts):
            raise DocumentError(f"{path.name} is locked by its publisher (DRM)")
        images = [place[name] for name, kind in kinds.items() if kind.startswith("image/") and kind != _SVG]
        return Packed("document", archive, _texts(archive, parts), [Picture(part, "") for part in images])


def _texts(archive: Archive, parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        with archive.sparing(part):
            yield from split(joined(_chapter(archive.read(part), part)))


def _package(archive: Archive) -> str:
    """Returns the name of the part that lists all others."""
    with archive.sparing(_CONTAINER):
        named = [each.get("full-path") for each in archive.xml(_CONTAINER).iter() if local(each) == "rootfile"]
        return next(name for name in named if name and name in archive)
    return next(name for name in archive.sizes() if name.lower().endswith(".opf"))


def _chapter(data: bytes, part: str) -> list[Block]:
    if part.lower().endswith(".svg"):
        texts = (
            " ".join("".join(each.itertext()).split()) for each in parse_xml(data).iter() if local(each) in _SVG_TEXTS
        )
        return [Block(text) for text in texts if text]
    return blocks_of(data, part)


def _is_chapter(kind: str, part: str) -> bool:
    return kind.partition(";")[0].strip().lower() in _CHAPTERS or part.lower().endswith(_CHAPTER_SUFFIXES)


def _id(name: str | None) -> str:
    """Returns an identifier in a form that is compared: some books differ in case between manifest and spine."""
    return (name or "").strip().lower()


def _target(base: str, address: str) -> str:
    return posixpath.normpath(
        posixpath.join(posixpath.dirname(base), unquote(address.partition("#")[0]).replace("\\", "/"))
    )


def _locked(archive: Archive) -> set[str]:
    """Returns the encrypted parts. Fonts often are; chapters only in a book that cannot be read without a key."""
    if _ENCRYPTION not in archive:
        return set()
    root = archive.xml(_ENCRYPTION)
    return {unquote(each.get("URI", "")) for each in root.iter() if local(each) == "CipherReference"}
