"""Which kind of file some bytes are: by what a server said, by the name in the address, and by how they begin."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import replace
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from polylens.documents.markdown.reading import Wish
from polylens.documents.opening import kind_of

KINDS = ("text/", "application/", "message/rfc822", "image/svg+xml")
"""The beginnings of the media types that are read."""

_SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".xhtml",
    "application/pdf": ".pdf",
    "application/msword": ".doc",
    "application/rtf": ".rtf",
    "text/rtf": ".rtf",
    "application/epub+zip": ".epub",
    "application/json": ".json",
    "application/xml": ".xml",
    "text/xml": ".xml",
    "text/csv": ".csv",
    "text/markdown": ".md",
    "text/calendar": ".ics",
    "text/vcard": ".vcf",
    "message/rfc822": ".eml",
    "application/vnd.ms-excel": ".xls",
    "application/vnd.ms-powerpoint": ".ppt",
    "application/vnd.oasis.opendocument.text": ".odt",
    "application/vnd.oasis.opendocument.spreadsheet": ".ods",
    "application/vnd.oasis.opendocument.presentation": ".odp",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}
_BEGINNINGS = (
    (
        re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S),
        ".html",
    ),
    (re.compile(rb".{0,1024}?%PDF-", re.S), ".pdf"),
    (re.compile(rb"\{\\rtf"), ".rtf"),
)
_CHARSET = re.compile(r"charset=[\"']?([\w.:-]+)")
_IN_ZIP = (("word/", ".docx"), ("ppt/", ".pptx"), ("xl/", ".xlsx"), ("META-INF/container.xml", ".epub"))


def name_of(data: bytes, url: str = "", media_type: str = "") -> str:
    """A name for a file, whose suffix says its kind.

    Args:
        data: Its bytes.
        url: The address that it came from.
        media_type: What the server said it is, without parameters.

    Example:
        >>> name_of(b"%PDF-1.7", "https://a.example/paper?download=1"), name_of(b"<p>", media_type="text/html")
        ('paper.pdf', 'page.html')
    """
    try:
        last = PurePosixPath(unquote(urlsplit(url).path)).name
    except ValueError:
        last = ""
    name = re.sub(r"[\x00-\x1f\x7f/\\\\]", "_", last)[:120] or "page"
    own = PurePosixPath(name).suffix.lower()
    suffix = _SUFFIXES.get(media_type)
    if suffix is None and own and kind_of(name) is not None and own not in (".html", ".htm"):
        return name
    suffix = suffix or _by_content(data)
    return name if own == suffix else f"{name}{suffix}"


def found_at(wish: Wish, data: bytes, url: str, content_type: str) -> Wish:
    """The wish with the name, the address and the encoding of a file that was fetched.

    Args:
        wish: What is wanted of it.
        data: Its bytes.
        url: The address that answered.
        content_type: What the response said it is, with parameters.
    """
    media_type, _, parameters = content_type.partition(";")
    charset = _CHARSET.search(parameters)
    name = name_of(data, url, media_type.strip())
    return replace(wish, name=name, url=url, charset=charset[1] if charset else None)


def _by_content(data: bytes) -> str:
    start = data[:2048]
    for beginning, suffix in _BEGINNINGS:
        if beginning.match(start):
            return suffix
    if start.startswith(b"PK\x03\x04"):
        try:
            parts = zipfile.ZipFile(io.BytesIO(data)).namelist()
        except (zipfile.BadZipFile, ValueError, OSError):
            return ".zip"
        return next((suffix for part, suffix in _IN_ZIP if any(name.startswith(part) for name in parts)), ".zip")
    return ".txt"
