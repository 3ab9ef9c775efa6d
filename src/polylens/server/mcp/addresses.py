"""The addresses of pages: `polylens://LIBRARY/FILE#PAGE`, percent-encoded as RFC 3986 asks."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from polylens.errors import NotFoundError

SCHEME = "polylens"

_ADDRESS = re.compile(rf"{SCHEME}://([^/?#]*)/([^?#]+)(?:#([0-9]{{1,9}}))?", re.I)


class PageAddress(NamedTuple):
    """A page of a library."""

    file: str
    """The file's path relative to the library's folder, with forward slashes."""
    page: int
    """Its number, from 1."""


def label(library: str) -> str:
    """The name by which the addresses call a library: the last part of its folder or of its place on object storage.

    Example:
        >>> label("/home/ada/My papers"), label("s3://shelf/documents"), label("/")
        ('My papers', 'documents', 'library')
    """
    return PurePosixPath(library.replace("\\", "/")).name or "library"


def template(library: str) -> str:
    """The addresses of all pages of a library as a template of RFC 6570; the parts of a file's path are a list.

    Example:
        >>> template("My papers")
        'polylens://My%20papers{/file*}#{page}'
    """
    return f"{SCHEME}://{_encoded(library)}{{/file*}}#{{page}}"


def address_of(library: str, place: PageAddress) -> str:
    """The address of a page.

    Example:
        >>> address_of("papers", PageAddress("2024/#1 käse.pdf", 3))
        'polylens://papers/2024/%231%20k%C3%A4se.pdf#3'
    """
    parts = "/".join(map(_encoded, place.file.split("/")))
    return f"{SCHEME}://{_encoded(library)}/{parts}#{place.page}"


def read_address(address: str, library: str) -> PageAddress:
    """The page that an address of this library names; without a number it is the first.

    Raises:
        NotFoundError: It is no such address, or one of another library.

    Example:
        >>> read_address("polylens://papers/2024/%231%20k%C3%A4se.pdf#3", "papers")
        PageAddress(file='2024/#1 käse.pdf', page=3)
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise NotFoundError(f"{address[:200]!r} is not the address of a page; those are like {template(library)}")
    # Some clients write the part after :// in lower case, as they would a host.
    if _decoded(found[1]).casefold() != library.casefold():
        raise NotFoundError(f"{address[:200]!r} is of another library; the one here is {library!r}")
    return PageAddress(_decoded(found[2]), int(found[3] or 1))


def _encoded(text: str) -> str:
    return quote(text.encode("utf-8", "surrogateescape"), safe="")


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")
