"""Office files and books are zip archives of XML. This module opens them without trusting them.

Only the parts that are needed are unpacked, never more than a limit, and no XML entity is ever resolved.
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

MAX_PART = 32 * 1024 * 1024  # bytes per XML part: some ten thousand pages of text
MAX_PICTURE = 64 * 1024 * 1024  # bytes per picture
MAX_UNPACKED = 1024 * 1024 * 1024  # bytes unpacked per file, pictures included

MIN_PICTURE_PIXELS = 10_000  # smaller pictures are bullets, rules and logos

_OLE = bytes.fromhex("d0cf11e0a1b11ae1")  # first bytes of the older office formats, and of an encrypted newer file
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


class Archive:
    """An open zip archive. Damage makes its methods raise any exception: use them inside `reading`.

    Raises:
        DocumentError: The file is not a zip archive, or is protected by a password.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise DocumentError(f"{path.name} cannot be opened ({error.strerror or error})") from error
        except Exception as error:  # a fuzzed directory raises more than BadZipFile
            raise DocumentError(f"{path.name} {_why_closed(path)}") from error
        self._parts = {name.lower(): name for name in self._zip.namelist()}  # writers disagree about case
        self._left = MAX_UNPACKED

    def __contains__(self, part: str) -> bool:
        return part.lower() in self._parts

    def sizes(self) -> dict[str, int]:
        """Returns the declared unpacked size of each part, in bytes; more than that is never read."""
        return {info.filename: info.file_size for info in self._zip.infolist()}

    def read(self, part: str, limit: int = MAX_PART) -> bytes:
        """Unpacks one part.

        Raises:
            DocumentError: The part exceeds the limit, or all parts read so far exceed theirs.
        """
        info = self._zip.getinfo(self._parts[part.lower()])
        if info.flag_bits & 1:
            raise DocumentError(f"{self.name} is protected by a password")
        if info.file_size > min(limit, self._left):
            raise DocumentError(f"{self.name} is too large when unpacked: {part} has {info.file_size / 2**20:,.0f} MB")
        self._left -= info.file_size
        return self._zip.read(info)

    def xml(self, part: str) -> Any:
        """Parses an XML part and returns its root element."""
        return parse_xml(self.read(part))

    def close(self) -> None:
        self._zip.close()


def parse_xml(data: bytes) -> Any:
    """Parses XML and returns its root element. Resolves no entities, loads no DTD, and limits the depth."""
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, remove_comments=True, remove_pis=True
    )
    return etree.fromstring(data, parser)


def local(element: Any) -> str:
    """Returns an element's name without its namespace: office programs use two namespaces for the same thing.

    Example:
        >>> local(parse_xml(b'<w:p xmlns:w="http://any"/>'))
        'p'
    """
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: Any, name: str, *, qualified: bool = False) -> str:
    """Returns an attribute by its name without a namespace; "" if it is missing.

    Args:
        element: The element.
        name: Local name of the attribute.
        qualified: Whether the attribute must have a namespace: `r:id` and not `id`.
    """
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name and (not qualified or key.startswith("{")):
            return value
    return ""


@contextmanager
def reading(archive: Archive) -> Iterator[None]:
    """Turns any error of the block into a DocumentError, and then closes the archive."""
    try:
        yield
    except DocumentError:
        archive.close()
        raise
    except Exception as error:  # a fuzzed file makes a reader raise almost anything
        archive.close()
        raise DocumentError(
            f"{archive.name} is damaged, or not of the format that its name says ({_reason(error)})"
        ) from error


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture inside a document."""

    part: str
    """Name of the part in the archive."""
    text: str
    """The alternative text."""


class Packed(Document):
    """A document in an archive: first its pages of text, then one page per picture.

    Args:
        kind: The kind of document.
        archive: The archive, which is closed with the document.
        texts: Texts of the pages.
        pictures: Pictures in their order. Each is used once; small ones and those of unsupported formats are left out.
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
        except ImageError:  # truncated after its header: the other pages are still useful
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
        return "is of an older office format (.doc, .xls, .ppt) in spite of its name; save it in the format of its name"
    return "is damaged, or not of the format that its name says (it is not a zip archive)"


def _reason(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0][:120]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
