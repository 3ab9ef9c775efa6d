"""Whole files inside a Word file, which Word shows in their place: `w:altChunk`, as converters write it.

ECMA-376 part 1, section 11.3.1.
"""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lxml import etree

from polylens.documents.formats.archive import Archive, attribute, local
from polylens.documents.formats.blocks import Block
from polylens.documents.formats.encodings import decode
from polylens.documents.formats.ooxml import Package, blocks
from polylens.documents.formats.webpage import blocks_of
from polylens.errors import DocumentError

_MAX_WORDS = 100  # files inside one


def include(package: Package, part: str, root: Any) -> None:
    """Puts the paragraphs of the files inside a part where it shows them.

    Args:
        package: The Word file.
        part: Name of the part.
        root: Its root element, which is changed.
    """
    relations = package.relations(part)
    for element in [each for each in root.iter() if local(each) == "altChunk"][:_MAX_WORDS]:
        relation = relations.get(attribute(element, "id", qualified=True))
        name = relation.part if relation else "a file inside it"
        with package.archive.sparing(name):
            _replace(element, _blocks(name, package.archive.read(name)))


def _blocks(name: str, data: bytes) -> list[Block]:
    suffix = Path(name).suffix.lower()
    if suffix in (".docx", ".docm", ".dotx") or data.startswith(b"PK"):
        inner = Package(Archive(Path(name), data))
        return list(blocks(inner.archive.xml(inner.main()), lambda _, text: Block(text)))
    if suffix in (".mht", ".mhtml", ".eml"):
        return [block for page in _web_pages(data) for block in page]
    if suffix in (".html", ".htm", ".xhtml") or data.lstrip()[:1] == b"<":
        return blocks_of(data, name)
    if suffix == ".rtf" or data.startswith(b"{\\rtf"):
        raise DocumentError(f"{name} is rich text, which is not read inside a Word file; save the whole as a Word file")
    return [Block(line) for line in decode(data, name).split("\n")]


def _web_pages(data: bytes) -> Iterable[list[Block]]:
    for part in email.message_from_bytes(data, policy=email.policy.default).walk():
        if part.get_content_type() in ("text/html", "text/plain"):
            content = part.get_payload(decode=True)
            text = decode(content if isinstance(content, bytes) else b"", declared=part.get_content_charset())
            is_page = part.get_content_type() == "text/html"
            yield blocks_of(text.encode("utf-8-sig")) if is_page else [Block(text)]


def _replace(element: Any, found: Iterable[Block]) -> None:
    """Puts paragraphs in the place of an element."""
    namespace = element.tag.rpartition("}")[0] + "}"
    for block in found:
        paragraph = etree.Element(f"{namespace}p")
        text = etree.SubElement(etree.SubElement(paragraph, f"{namespace}r"), f"{namespace}t")
        text.text = "".join(char for char in block.text if char >= " " or char in "\t\n")
        element.addprevious(paragraph)
