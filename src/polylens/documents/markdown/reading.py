"""What is wanted of a page or file, and what was read of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What is to be read, and how."""

    name: str
    """The name of the file, for messages; its suffix says the kind."""
    url: str = ""
    """The address that it came from, against which links are read."""
    charset: str | None = None
    """The encoding that the response declared."""
    whole: bool = False
    """Keep the menus and banners of a web page, too."""
    target: str = ""
    """A CSS selector: only what it selects is read of a web page."""
    remove: str = ""
    """A CSS selector: what it selects is left out of a web page."""


@dataclass(kw_only=True, slots=True)
class Reading:
    """A page or file as text."""

    title: str = ""
    url: str = ""
    description: str = ""
    published: str = ""
    """The time of publication, as the page writes it."""
    content: str = ""
    """Markdown."""
    text: str = ""
    """The mere text."""
    html: str = ""
    """The source of a web page."""
    links: list[tuple[str, str]] = field(default_factory=list)
    """Texts and addresses, in order."""
    images: list[tuple[str, str]] = field(default_factory=list)
    """Alternative texts and addresses, in order."""
    pages: list[tuple[int, str]] = field(default_factory=list)
    """The number and the Markdown of each page, where the file has any: PDFs, slides, sheets."""
    warning: str = ""


_ADDRESS = re.compile(r"https?://[^\s<>\"'\])}]+[^\s<>\"'\])}.,;:!?]")


def addresses_in(text: str) -> list[tuple[str, str]]:
    """The addresses that are written out in a text, each once.

    Example:
        >>> addresses_in("See https://a.example/b. And (http://c.example).")
        [('https://a.example/b', 'https://a.example/b'), ('http://c.example', 'http://c.example')]
    """
    return [(found, found) for found in dict.fromkeys(_ADDRESS.findall(text))]
