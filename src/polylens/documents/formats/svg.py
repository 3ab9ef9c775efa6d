"""Drawings (.svg, .svgz): one page with the picture, and the words in it.

SVG 1.1, https://www.w3.org/TR/SVG11/. resvg draws it: it knows no scripts and no network, and what leads out of the
file is removed first.
"""

from __future__ import annotations

import importlib.util
import math
import re
import zlib
from pathlib import Path
from typing import Any

from lxml import etree

from polylens.documents.bounds import MAX_PAGE_CHARS
from polylens.documents.document import Document
from polylens.documents.formats.archive import MAX_PART, local, parse_xml
from polylens.documents.formats.blocks import Block, heading, joined
from polylens.documents.formats.text import read_bytes
from polylens.errors import DocumentError, ImageError
from polylens.media.image import read_image
from polylens.types import Page

MAX_ASPECT = 200  # longer side to shorter side; the vision towers refuse more

ADVICE = "pip install 'polylens[files]'"

_PICTURE = "the picture"  # its name among the parts that are not read
_MIN_SIDE = 512  # pixels of the longer side, where the drawing itself is smaller: an icon, say
_SCALE = 200 / 96  # from CSS pixels to 200 dots per inch
_WORDS = frozenset({"text", "title", "desc", "foreignObject"})
_ENCLOSED = re.compile(r"\s*data:image/(png|jpe?g|gif|webp)[;,]", re.I)
_LENGTH = re.compile(r"\s*(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*([a-z%]*)\s*", re.I)
_UNITS = {"": 1.0, "px": 1.0, "pt": 96 / 72, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}


class Svg(Document):
    """A drawing. Without what draws it, or where that fails, the page has the words only.

    Args:
        path: The file.
        max_pixels: Largest number of pixels of the picture.

    Raises:
        DocumentError: The file is damaged, or it has no words and cannot be drawn.
    """

    kind = "image"

    def __init__(self, path: Path, *, max_pixels: int) -> None:
        self.path = path
        self._max_pixels = max_pixels
        data = read_bytes(path)
        if not data.strip():
            raise DocumentError(f"{path.name} is empty ({len(data)} bytes)")
        try:
            root = parse_xml(_unpacked(data))
        except (etree.XMLSyntaxError, zlib.error) as error:
            raise DocumentError(f"{path.name} is damaged, or no SVG drawing ({type(error).__name__})") from error
        if local(root) != "svg":
            raise DocumentError(f"{path.name} is no SVG drawing: it begins with <{local(root)[:40]}>")
        self._text = joined(_words(root))[:MAX_PAGE_CHARS]
        self._size = _size(root)
        _close_off(root)
        self._root = root
        if not self._text and not can_draw():
            raise DocumentError(f"{path.name} has no words and cannot be drawn; {ADVICE} adds what draws it")

    @property
    def num_pages(self) -> int:
        return 1

    def page(self, number: int) -> Page:
        if not can_draw():
            self.unread[_PICTURE] = f"is not drawn; {ADVICE} adds what draws it"
            return Page(number, None, self._text)
        try:
            return Page(number, read_image(_drawn(self._scaled())), self._text)
        except (DocumentError, ImageError) as error:
            if self._text:
                self.unread[_PICTURE] = f"is not drawn: it {error}"
                return Page(number, None, self._text)
            raise DocumentError(f"{self.path.name} cannot be drawn: {error}") from error

    def undrawn(self, number: int) -> Page:
        return Page(number, None, self._text) if self._text else super().undrawn(number)

    def _scaled(self) -> str:
        """Returns the drawing at the size of the picture: as printed, larger if that is small, and within the limit."""
        width, height = self._size
        scale = max(_SCALE, _MIN_SIDE / max(width, height))
        scale = min(scale, math.sqrt(self._max_pixels / (width * height)))
        if _box(self._root) is None:
            self._root.set("viewBox", f"0 0 {width:.3f} {height:.3f}")
        self._root.set("width", str(max(1, int(width * scale))))
        self._root.set("height", str(max(1, int(height * scale))))
        return str(etree.tostring(self._root, encoding="unicode"))


def can_draw() -> bool:
    """Returns whether this machine has what draws SVG."""
    return importlib.util.find_spec("resvg_py") is not None


def _drawn(svg: str) -> bytes:
    """Returns a drawing as a PNG file."""
    import resvg_py

    try:
        return bytes(resvg_py.svg_to_bytes(svg_string=svg))
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # what Rust calls a panic is no Exception
        raise DocumentError(f"cannot be read ({type(error).__name__}: {str(error)[:120]})") from error


def _unpacked(data: bytes) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    packed = zlib.decompressobj(31)
    unpacked = packed.decompress(data, MAX_PART)
    if packed.unconsumed_tail:
        raise DocumentError(f"is too large when unpacked: more than {MAX_PART // 2**20} MB")
    return unpacked


def _words(root: Any) -> list[Block]:
    """Returns what is written in a drawing. Its title comes first."""
    found: list[Block] = []
    walk = etree.iterwalk(root, events=("start",))
    for _, element in walk:
        name = local(element)
        if name in ("style", "script", "metadata"):
            walk.skip_subtree()
        elif name in _WORDS:
            walk.skip_subtree()
            parts = [each for each in element.itertext() if each.strip()]
            text = " ".join(" ".join(parts).split())
            if text:
                found.append(heading(text, 1) if name == "title" else Block(text, "row"))
    return sorted(dict.fromkeys(found), key=lambda block: block.role != "heading")


def _size(root: Any) -> tuple[float, float]:
    """Returns width and height in CSS pixels, of a shape that can be shown."""
    inner = _box(root)
    width, height = _length(root.get("width")), _length(root.get("height"))
    if inner:
        if width and not height:
            height = width * inner[1] / inner[0]
        elif height and not width:
            width = height * inner[0] / inner[1]
    width, height = (width, height) if width and height else inner or (100.0, 100.0)
    return max(width, height / MAX_ASPECT), max(height, width / MAX_ASPECT)


def _box(root: Any) -> tuple[float, float] | None:
    """Returns width and height of what is shown, in units of the drawing; None if it does not say them."""
    box = [float(each) for each in re.findall(r"-?\d{1,9}(?:\.\d{1,9})?", root.get("viewBox") or "")[2:4]]
    return (box[0], box[1]) if len(box) == 2 and min(box) > 0 else None


def _length(written: str | None) -> float:
    """Returns a length in CSS pixels; 0 if it is none, or relative to what is around."""
    match = _LENGTH.fullmatch(written or "")
    return float(match[1]) * _UNITS.get(match[2].lower(), 0.0) if match else 0.0


def _close_off(root: Any) -> None:
    """Removes what leads out of the file, what runs, and pictures that are drawings themselves."""
    etree.strip_tags(root, etree.Entity)
    for element in list(root.iter()):
        if local(element) in ("script", "foreignObject") and element.getparent() is not None:
            element.getparent().remove(element)
            continue
        for name, value in list(element.attrib.items()):
            bare = name.rpartition("}")[2].lower()
            leads_out = bare == "href" and not value.lstrip().startswith("#") and not _ENCLOSED.match(value)
            if leads_out or bare == "base" or bare.startswith("on"):
                del element.attrib[name]
