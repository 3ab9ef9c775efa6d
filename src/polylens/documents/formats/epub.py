"""EPUB books: one or several pages per chapter, then one page per picture.

EPUB 3.3, https://www.w3.org/TR/epub-33/.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from urllib.parse import unquote

from polylens.documents.document import Document
from polylens.documents.formats.archive import Archive, Packed, Picture, local, reading
from polylens.documents.formats.blocks import joined
from polylens.documents.formats.webpage import blocks_of
from polylens.documents.splitting import split
from polylens.errors import DocumentError

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_CHAPTERS = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")


def open_epub(path: Path) -> Document:
    """Opens a book.

    Raises:
        DocumentError: The file is damaged, locked by its publisher, or not an EPUB book.
    """
    archive = Archive(path)
    with reading(archive):
        opf = next(each.get("full-path") for each in archive.xml(_CONTAINER).iter() if local(each) == "rootfile")
        package = list(archive.xml(opf).iter())
        manifest = {each.get("id"): each for each in package if local(each) == "item" and each.get("href")}
        place = {name: _target(opf, each.get("href")) for name, each in manifest.items()}
        spine = [each.get("idref") for each in package if local(each) == "itemref"]
        chapters = [place[name] for name in spine if name in place and manifest[name].get("media-type") in _CHAPTERS]
        locked = _locked(archive)
        if any(chapter in locked for chapter in chapters):
            raise DocumentError(f"{path.name} is locked by its publisher (DRM)")
        texts = [
            passage
            for chapter in dict.fromkeys(chapters)
            for passage in split(joined(blocks_of(archive.read(chapter), chapter)))
        ]
        images = [name for name, each in manifest.items() if (each.get("media-type") or "").startswith("image/")]
        return Packed("document", archive, texts, [Picture(place[name], "") for name in images])


def _target(base: str, address: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), unquote(address.partition("#")[0])))


def _locked(archive: Archive) -> set[str]:
    """Returns the encrypted parts. Fonts often are; chapters only in a book that cannot be read without a key."""
    if _ENCRYPTION not in archive:
        return set()
    root = archive.xml(_ENCRYPTION)
    return {unquote(each.get("URI", "")) for each in root.iter() if local(each) == "CipherReference"}
