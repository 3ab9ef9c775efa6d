"""Jupyter notebooks (.ipynb): passages of the cells and of what they printed, then one page per picture.

nbformat 3 and 4, https://nbformat.readthedocs.io/en/latest/format_description.html.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polylens.documents.document import Document
from polylens.documents.formats.blocks import Block, joined
from polylens.documents.formats.encodings import decode
from polylens.documents.formats.passages import Enclosed, Passages
from polylens.documents.formats.text import TextFile, read_bytes
from polylens.documents.formats.webpage import blocks_of
from polylens.documents.splitting import split

MAX_OUTPUT = 10_000  # characters per output; what a cell prints may be a data set

_PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif", "png", "jpeg")  # the last two in nbformat 3
_TERMINAL = re.compile(r"\x1b\[[0-9;?]{0,20}[A-Za-z]")  # colours of a traceback


def open_notebook(path: Path) -> Document:
    """Opens a notebook. A file that is none, such as one with a merge conflict, is read as plain text.

    Raises:
        DocumentError: The file is too long, or not text.
    """
    text = decode(read_bytes(path), path.name)
    try:
        notebook = json.loads(text)
        cells = list(_cells(notebook))
        language = str(_at(notebook, "metadata", "kernelspec", "language") or _language(notebook))
        blocks = [block for cell in cells for block in _blocks(cell, language)]
        pictures = [picture for cell in cells for picture in _pictures(cell)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return TextFile(path)
    if not cells and "cells" not in notebook and "worksheets" not in notebook:
        return TextFile(path)
    return Passages("document", split(joined(blocks)), pictures)


def _cells(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for sheet in (notebook, *notebook.get("worksheets", [])):
        yield from (cell for cell in sheet.get("cells", []) if isinstance(cell, dict))


def _language(notebook: dict[str, Any]) -> object:
    return _at(notebook, "metadata", "language_info", "name") or ""


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _blocks(cell: dict[str, Any], language: str) -> Iterator[Block]:
    source = _text(cell.get("source", cell.get("input", "")))
    kind = cell.get("cell_type")
    if kind == "code":
        yield Block(f"```{language}\n{source.rstrip()}\n```" if source.strip() else "")
    elif kind == "heading":  # of nbformat 3
        yield Block(f"{'#' * min(max(int(cell.get('level', 1)), 1), 6)} {source}")
    else:
        yield Block(source)
    for output in _outputs(cell):
        yield from _shown(output)


def _outputs(cell: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in cell.get("outputs", []) if isinstance(each, dict)]


def _shown(output: dict[str, Any]) -> Iterator[Block]:
    data = output["data"] if isinstance(output.get("data"), dict) else output
    for name in ("text/markdown", "text/plain", "text"):
        if name in data:
            text = _TERMINAL.sub("", _text(data[name]))[:MAX_OUTPUT]
            if not re.fullmatch(r"\s*<.{0,300}>\s*", text):  # <Figure size 640x480 with 1 Axes>
                yield Block(text.strip("\n"))
                return
    for name in ("text/html", "html"):
        if name in data:
            yield from blocks_of(b"\xef\xbb\xbf" + _text(data[name])[:MAX_OUTPUT].encode("utf-8", "replace"))
            return
    if "traceback" in output:
        lines = "\n".join(map(_text, output["traceback"]))
        yield Block(_TERMINAL.sub("", lines)[-MAX_OUTPUT:])


def _pictures(cell: dict[str, Any]) -> Iterator[Enclosed]:
    attached = cell.get("attachments")
    bundles = [output["data"] if isinstance(output.get("data"), dict) else output for output in _outputs(cell)]
    bundles += list(attached.values()) if isinstance(attached, dict) else []
    about = _text(cell.get("source", cell.get("input", "")))[:500].strip()
    for bundle in bundles:
        for name in _PICTURES:
            if isinstance(bundle, dict) and name in bundle:
                try:
                    yield Enclosed(base64.b64decode(_text(bundle[name])), about)
                    break
                except (binascii.Error, ValueError):  # that picture alone is lost
                    continue


def _text(value: Any) -> str:
    """Returns a multi-line string, which notebooks keep as a list of lines or as one."""
    return "".join(map(str, value)) if isinstance(value, list) else str(value)
