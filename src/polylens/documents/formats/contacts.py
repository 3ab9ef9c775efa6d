"""Contacts (.vcf): passages of names, addresses and numbers, then one page per portrait.

vCard, RFC 6350, https://www.rfc-editor.org/rfc/rfc6350, and its older versions 2.1 and 3.0.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from pathlib import Path

from polylens.documents.document import Document
from polylens.documents.formats.blocks import Block, heading, joined
from polylens.documents.formats.contentlines import ContentLine, read_lines
from polylens.documents.formats.encodings import decode
from polylens.documents.formats.passages import Enclosed, Passages
from polylens.documents.formats.text import read_bytes
from polylens.documents.splitting import split
from polylens.errors import DocumentError

_LABELS = {
    "NICKNAME": "Called", "ORG": "Organization", "TITLE": "Title", "ROLE": "Role", "EMAIL": "E-mail",
    "TEL": "Telephone", "ADR": "Address", "BDAY": "Birthday", "URL": "Link", "CATEGORIES": "Categories", "NOTE": "Note",
}  # fmt: skip
_STRUCTURED = frozenset({"ORG", "ADR", "N"})


def open_contacts(path: Path) -> Document:
    """Opens contacts.

    Raises:
        DocumentError: The file is too long, or has no contacts.
    """
    text = decode(read_bytes(path), path.name, declared="utf-8")
    if "BEGIN:VCARD" not in text.upper():
        raise DocumentError(f"{path.name} has no contacts: it has no BEGIN:VCARD")
    cards = list(_cards(text))
    blocks = [block for card in cards for block in _blocks(card)]
    return Passages("document", split(joined(blocks)), [each for card in cards for each in _portraits(card)])


def _cards(text: str) -> Iterator[list[ContentLine]]:
    card: list[ContentLine] = []
    for line in read_lines(text):
        if line.name in ("BEGIN", "END"):
            if card:
                yield card
            card = []
        else:
            card.append(line)
    if card:
        yield card


def _name(card: Sequence[ContentLine]) -> str:
    full = [line.text for line in card if line.name == "FN" and line.text.strip()]
    parts = [" ".join([*line.fields[1:3], *line.fields[:1]]) for line in card if line.name == "N"]
    return " ".join([*full, *parts, "(no name)"][0].split()) or "(no name)"


def _blocks(card: Sequence[ContentLine]) -> Iterator[Block]:
    yield heading(_name(card), 2)
    told = []
    for line in card:
        if line.name in _LABELS:
            value = ", ".join(filter(None, line.fields)) if line.name in _STRUCTURED else line.text
            told.append(f"{_LABELS[line.name]}: {' '.join(value.split())}")
    yield Block("\n".join(dict.fromkeys(told)))


def _portraits(card: Sequence[ContentLine]) -> Iterator[Enclosed]:
    for line in card:
        if line.name in ("PHOTO", "LOGO"):
            data = line.value.partition("base64,")[2] or line.value
            try:
                yield Enclosed(base64.b64decode("".join(data.split())), _name(card))
            except (binascii.Error, ValueError):  # an address, which is not fetched
                continue
