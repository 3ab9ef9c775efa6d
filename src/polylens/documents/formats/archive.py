"""Office files and books are zip archives of XML: opening them without trusting them, and the pages they give.

Only what is asked for is unpacked, never more than a limit, and no entity of their XML is ever resolved.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import etree

from polylens.documents.document import Document
from polylens.errors import DocumentError, ImageError
from polylens.media.image import image_size, read_image
from polylens.types import Kind, Page

MAX_PART = 32 * 1024 * 1024  # bytes of one XML part: some ten thousand pages of text
MAX_PICTURE = 64 * 1024 * 1024  # bytes of one picture
MAX_UNPACKED = 1024 * 1024 * 1024  # bytes that are unpacked of one file, pictures included

MIN_PICTURE_PIXELS = 10_000  # smaller pictures are bullets, rules and logos

_OLE = bytes.fromhex("d0cf11e0a1b11ae1")  # begins the older office formats, and what wraps an encrypted newer file
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


class Archive:
    """An open zip archive. Its methods raise whatever a damaged one makes them raise: use them below `reading`.

    Raises:
        DocumentError: It is no zip archive, or is protected by a password.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise DocumentError(f"{path.name} cannot be opened ({error.strerror or error})") from error
        except Exception as error:  # a fuzzed directory makes it raise more than BadZipFile
            raise DocumentError(f"{path.name} {_why_closed(path)}") from error
        self._parts = {name.lower(): name for name in self._zip.namelist()}  # writers disagree about case
        self._left = MAX_UNPACKED

    def __contains__(self, part: str) -> bool:
        return part.lower() in self._parts

    def sizes(self) -> dict[str, int]:
        """Bytes of each part when unpacked, as the archive declares them; more than that is never read."""
        return {info.filename: info.file_size for info in self._zip.infolist()}

    def read(self, part: str, limit: int = MAX_PART) -> bytes:
        """Unpack one part.

        Raises:
            DocumentError: It is larger than the limit, or all that was read together is.
        """
        info = self._zip.getinfo(self._parts[part.lower()])
        if info.flag_bits & 1:
            raise DocumentError(f"{self.name} is protected by a password")
        if info.file_size > min(limit, self._left):
            raise DocumentError(f"{self.name} would unpack to too much: {part} has {info.file_size / 2**20:,.0f} MB")
        self._left -= info.file_size
        return self._zip.read(info)

    def xml(self, part: str) -> Any:
        """The root element of an XML part."""
        return parse_xml(self.read(part))

    def close(self) -> None:
        self._zip.close()


def parse_xml(data: bytes) -> Any:
    """XML -> its root element. No entity is resolved, no DTD loaded, nothing fetched, no absurd depth followed."""
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, remove_comments=True, remove_pis=True
    )
    return etree.fromstring(data, parser)


def local(element: Any) -> str:
    """An element's name without its namespace, which office programs have two of for the same thing.

    Example:
        >>> local(parse_xml(b'<w:p xmlns:w="http://any"/>'))
        'p'
    """
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: Any, name: str, *, qualified: bool = False) -> str:
    """An attribute by its name without a namespace; "" where it is missing.

    Args:
        element: Of which.
        name: Its local name.
        qualified: Only one that has a namespace: `r:id` and not `id`.
    """
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name and (not qualified or key.startswith("{")):
            return value
    return ""


@contextmanager
def reading(archive: Archive) -> Iterator[None]:
    """Turns whatever goes wrong below into a DocumentError, and lets go of the file then."""
    try:
        yield
    except DocumentError:
        archive.close()
        raise
    except Exception as error:  # a fuzzed file makes a reader raise almost anything
        archive.close()
        raise DocumentError(f"{archive.name} is damaged, or not what its name says ({_reason(error)})") from error


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture inside a document."""

    part: str
    """Its name in the archive."""
    text: str
    """What is written of it: its alternative text."""


class Packed(Document):
    """A document out of an archive: its pages of text, then the pictures in it, a page each.

    Args:
        kind: What it is. Each picture is a page without a text layer to speak of.
        archive: Closed with the document.
        texts: Of the pages.
        pictures: In their order. Each is taken once; small ones, and those that no decoder here knows, are left out.
    """

    def __init__(self, kind: Kind, archive: Archive, texts: Sequence[str], pictures: Iterable[Picture] = ()) -> None:
        self.kind = kind
        self._archive = archive
        self._texts = texts
        unique = {picture.part: picture for picture in reversed(list(pictures))}
        self._pictures = [picture for picture in reversed(unique.values()) if _is_worth_a_page(archive, picture)]

    @property
    def num_pages(self) -> int:
        return len(self._texts) + len(self._pictures)

    def page(self, number: int) -> Page:
        if number <= len(self._texts):
            return Page(number, None, self._texts[number - 1])
        picture = self._pictures[number - 1 - len(self._texts)]
        try:
            return Page(number, read_image(self._archive.read(picture.part, MAX_PICTURE)), picture.text)
        except ImageError:  # cut off behind its header: the rest of the document is worth having
            return Page(number, None, picture.text or "A picture that cannot be read")

    def close(self) -> None:
        self._archive.close()


def _is_worth_a_page(archive: Archive, picture: Picture) -> bool:
    if picture.part not in archive:
        return False
    try:
        width, height = image_size(archive.read(picture.part, MAX_PICTURE))
    except (ImageError, zipfile.BadZipFile, zlib.error, EOFError):
        return False
    return width * height >= MIN_PICTURE_PIXELS


def _why_closed(path: Path) -> str:
    data = path.read_bytes()
    if not data:
        return "is empty (0 bytes)"
    if data.startswith(_OLE):
        if _ENCRYPTED in data:
            return "is protected by a password"
        return "is of the older office formats (.doc, .xls, .ppt) in spite of its name; save it anew as its name says"
    return "is damaged, or not what its name says (it is no zip archive)"


def _reason(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0][:120]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
