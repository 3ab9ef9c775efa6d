"""Office files and books are zip archives of XML. This module opens them without trusting them.

Only the parts that are needed are unpacked, never more than a limit, and no XML entity is ever resolved.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lxml import etree

from polylens.documents.bounds import within
from polylens.documents.cleaning import clean
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
    """An open zip archive. Damage makes its methods raise any exception: use them inside `reading` or `sparing`.

    Args:
        path: The file.
        data: Its bytes, where it is a part of another archive.

    Raises:
        DocumentError: The file is not a zip archive, or is protected by a password.
    """

    def __init__(self, path: Path, data: bytes | None = None) -> None:
        self.name = path.name
        self.unread: dict[str, str] = {}
        """The reason why a part could not be read, by the part's name."""
        self._is_refused = False
        try:
            self._zip = zipfile.ZipFile(path if data is None else io.BytesIO(data))
        except OSError as error:
            raise DocumentError(f"{path.name} cannot be opened ({error.strerror or error})") from error
        except Exception as error:  # a fuzzed directory raises more than BadZipFile
            raise DocumentError(f"{path.name} {_why_closed(path)}") from error
        names = self._zip.namelist()
        # Writers disagree about case, and about which way a slash leans; the very name goes before any like it.
        self._parts = {**{_key(name): name for name in reversed(names)}, **{name: name for name in names}}
        self._left = MAX_UNPACKED
        self.num_bytes = path.stat().st_size if data is None else len(data)

    def __contains__(self, part: str) -> bool:
        return part in self._parts or _key(part) in self._parts

    def sizes(self) -> dict[str, int]:
        """Returns the declared unpacked size of each part, in bytes; more than that is never read."""
        return {info.filename: info.file_size for info in self._zip.infolist()}

    def read(self, part: str, limit: int = MAX_PART) -> bytes:
        """Unpacks one part.

        Raises:
            DocumentError: The part exceeds the limit, or all parts read so far exceed theirs.
        """
        return self._zip.read(self._taken(part, limit))

    def open(self, part: str, limit: int = MAX_UNPACKED) -> IO[bytes]:
        """Opens one part, to be unpacked while it is read. Errors as of `read`."""
        return self._zip.open(self._taken(part, limit))

    def _taken(self, part: str, limit: int) -> zipfile.ZipInfo:
        """Returns what the directory says of a part, which counts as read from now on."""
        if part not in self:
            raise KeyError(f"there is no {part} in it")
        info = self._zip.getinfo(self._parts.get(part) or self._parts[_key(part)])
        self._is_refused |= bool(info.flag_bits & 1) or info.file_size > self._left
        if info.flag_bits & 1:
            raise DocumentError(f"{self.name} is protected by a password")
        if info.file_size > min(limit, self._left):
            raise DocumentError(f"{self.name} is too large when unpacked: {part} has {info.file_size / 2**20:,.0f} MB")
        self._left -= info.file_size
        return info

    def xml(self, part: str) -> Any:
        """Parses an XML part and returns its root element; of one that is not well-formed, what comes before that."""
        data = self.read(part)
        try:
            return parse_xml(data)
        except etree.XMLSyntaxError as error:
            root = parse_xml(data, recover=True)
            if root is None or not len(root):
                raise
            self.unread[part] = f"is read only in part: it is not well-formed XML ({reason_of(error)})"
            return root

    @contextmanager
    def sparing(self, part: str) -> Iterator[None]:
        """Lets an error of the block cost one part alone: `unread` has it, and what follows the block goes on.

        Args:
            part: What the block reads, in a user's words: "slide 3", or the name of a part.
        """
        try:
            yield
        except Exception as error:  # a fuzzed file makes a reader raise almost anything
            if self._is_refused:  # by a password, or for its size as a whole
                raise
            self.unread[part] = reason_of(error).removeprefix(f"{self.name} ")

    def close(self) -> None:
        self._zip.close()


def _key(part: str) -> str:
    return part.lower().replace("\\", "/")


XML_OPTIONS: dict[str, Any] = {
    "resolve_entities": False,
    "load_dtd": False,
    "no_network": True,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
    "collect_ids": False,  # identifiers may be malformed, or occur twice: nothing here goes by them
}
"""Options of lxml's parsers: no entity is resolved, no DTD loaded, and the depth is limited."""


def parse_xml(data: bytes, *, recover: bool = False) -> Any:
    """Parses XML and returns its root element. Resolves no entities, loads no DTD, and limits the depth.

    Args:
        data: The bytes of a part.
        recover: Whether to keep what can be read where it is not well-formed; then there may be no root, None.
    """
    parser = etree.XMLParser(**XML_OPTIONS, recover=recover)
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        if error.code == etree.ErrorTypes.ERR_NO_MEMORY:
            raise MemoryError from error
        raise


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
    except (DocumentError, MemoryError):
        archive.close()
        raise
    except Exception as error:  # a fuzzed file makes a reader raise almost anything
        archive.close()
        raise DocumentError(
            f"{archive.name} is damaged, or not of the format that its name says ({reason_of(error)})"
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
        texts: Texts of the pages, best made while they are taken.
        pictures: Pictures in their order. Each is used once; small ones and those of unsupported formats are left out.
    """

    def __init__(self, kind: Kind, archive: Archive, texts: Iterable[str], pictures: Iterable[Picture] = ()) -> None:
        self.kind = kind
        self._archive = archive
        self.unread = archive.unread
        seen = (text for text in map(clean, texts) if text.strip())
        self._texts = list(within(seen, self.unread, packed_bytes=archive.num_bytes))
        unique = {picture.part: picture for picture in reversed(list(pictures))}
        self._pictures = [picture for picture in reversed(unique.values()) if _is_worth_a_page(archive, picture)]
        if self.unread and not self.num_pages:
            part, reason = next(iter(self.unread.items()))
            raise DocumentError(f"{archive.name}: nothing in it can be read; {part}: {reason}")

    @property
    def num_pages(self) -> int:
        return len(self._texts) + len(self._pictures)

    def page(self, number: int) -> Page:
        if number <= len(self._texts):
            return Page(number, None, self._texts[number - 1])
        picture = self._pictures[number - 1 - len(self._texts)]
        try:
            return Page(number, read_image(self._archive.read(picture.part, MAX_PICTURE)), clean(picture.text))
        except ImageError as error:  # truncated after its header: the other pages are still useful
            self.unread[picture.part] = error.message
            return Page(number, None, clean(picture.text) or "A picture that cannot be read")

    def close(self) -> None:
        self._archive.close()


def _is_worth_a_page(archive: Archive, picture: Picture) -> bool:
    width = height = 0
    with archive.sparing(picture.part):
        width, height = image_size(archive.read(picture.part, MAX_PICTURE))
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


def reason_of(error: BaseException) -> str:
    """Returns an error as a phrase of one line."""
    said = error.message if isinstance(error, ImageError) else error.args[0] if isinstance(error, KeyError) else error
    if isinstance(error, MemoryError):
        return "needs more memory than there is for one file"
    first = str(said).strip().partition("\n")[0]
    if isinstance(error, (DocumentError, ImageError)) or (" " in first and isinstance(error, KeyError)):
        return first
    return f"{type(error).__name__}: {first[:120]}" if first else type(error).__name__
