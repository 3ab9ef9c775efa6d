"""PDF files: each page is rendered, and its text layer is read."""

from __future__ import annotations

import contextlib
import logging
import math
import mmap
import os
import re
import threading
from pathlib import Path

import PIL.Image
import pypdfium2

from polylens.documents.cleaning import clean as unseen_out
from polylens.documents.cleaning import join_broken_words
from polylens.documents.document import MAX_PIXELS, Document
from polylens.documents.formats.pdf_notes import notes_on
from polylens.documents.formats.pdf_words import Noted, placed_words
from polylens.errors import DocumentError
from polylens.types import Page, Word

MAX_DPI = 200  # dots per inch; a higher resolution shows nothing that a model could use
MAX_ASPECT = 200  # longer side to shorter side; the vision towers refuse more
MAX_SIDE = 200 * 72  # points per side: 200 inches, the largest page of the format

MAX_MENDED = 64 * 1024 * 1024  # bytes of a file without a header that is read with one all the same

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufffe\uffff]")
_HEADER = b"%PDF-"
_HEADER_WITHIN = 1024  # bytes from the beginning, where PDFium looks for it

logging.getLogger("pypdfium2").setLevel(logging.ERROR)  # its remarks are meant for programmers, and name no file

_pdfium = threading.RLock()
"""Held around every call: PDFium is not thread-safe."""


class Pdf(Document):
    """An open PDF.

    Args:
        path: The file.
        max_pixels: Largest number of pixels per rendered page.
    """

    kind = "pdf"

    def __init__(self, path: Path, *, max_pixels: int = MAX_PIXELS) -> None:
        self.path = path
        self.max_pixels = max_pixels
        with _pdfium:
            try:
                self._pdf = _opened(path)
            except pypdfium2.PdfiumError as error:
                raise DocumentError(f"{path.name} {_why_closed(path, error.err_code)}") from error
            except OSError as error:
                raise DocumentError(f"{path.name} cannot be opened ({error.strerror})") from error
            self._num_pages = len(self._pdf)
            if self._num_pages < 1:
                self._pdf.close()
                raise DocumentError(f"{path.name} has no pages")
            with contextlib.suppress(pypdfium2.PdfiumError):  # a page without its form is still useful
                self._pdf.init_forms()

    @property
    def num_pages(self) -> int:
        return self._num_pages

    def close(self) -> None:
        with _pdfium:
            self._pdf.close()

    def page(self, number: int) -> Page:
        with _pdfium:
            try:
                page = self._pdf[number - 1]
            except pypdfium2.PdfiumError as error:
                raise DocumentError(f"{self.path.name}: page {number} is broken ({error})") from error
            try:
                scale = render_scale(*page.get_size(), max_pixels=self.max_pixels)
                bitmap = page.render(scale=scale, fill_color=(255, 255, 255, 255), rev_byteorder=True)
                try:
                    image: PIL.Image.Image = (
                        bitmap.to_pil().convert("RGB").copy()
                    )  # a copy, because the bitmap is closed
                finally:
                    bitmap.close()
                text, words = self._text(page)
                return Page(number, image, text, words=words)
            except (DocumentError, pypdfium2.PdfiumError, ValueError) as error:
                raise DocumentError(f"{self.path.name}: page {number} cannot be rendered: {error}") from error
            finally:
                page.close()

    def undrawn(self, number: int) -> Page:
        with _pdfium:
            try:
                page = self._pdf[number - 1]
            except pypdfium2.PdfiumError as error:
                raise DocumentError(f"{self.path.name}: page {number} is broken ({error})") from error
            try:
                text, _ = self._text(page)
            finally:
                page.close()
        return Page(number, None, text) if text else super().undrawn(number)

    def _text(self, page: pypdfium2.PdfPage) -> tuple[str, tuple[Word, ...]]:
        """Returns the text layer, then what was filled in and noted on the page; and the places of these words."""
        raw, layer = "", None
        with contextlib.suppress(pypdfium2.PdfiumError):  # the image of a page is useful without its text
            layer = page.get_textpage()
            raw = layer.get_text_bounded()
        try:
            notes: dict[str, Noted] = {}
            for note in notes_on(page):
                notes.setdefault(note.text, note)
            notes.pop(raw, None)
            text = clean("\n\n".join([raw, *notes]))
            return text, placed_words(page, layer, raw, [*notes.values()], text)
        finally:
            if layer is not None:
                layer.close()


def _opened(path: Path) -> pypdfium2.PdfDocument:
    """Opens a file with PDFium; one whose header is missing, or comes late, as if it had one."""
    try:
        return pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError:
        if path.stat().st_size > MAX_MENDED:
            raise
        data = path.read_bytes()
        start = data.find(_HEADER)
        if 0 <= start <= _HEADER_WITHIN or b"endobj" not in data:
            raise
        return pypdfium2.PdfDocument(data[start:] if start > 0 else _HEADER + b"1.7\n" + data)


def _why_closed(path: Path, code: int | None) -> str:
    """Says why PDFium did not open a file.

    Args:
        path: The file.
        code: PDFium's error code, which may be that of an earlier file.
    """
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return "is empty (0 bytes)"
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            is_encrypted = data.find(b"/Encrypt") >= 0
    if is_encrypted and code == pypdfium2.raw.FPDF_ERR_PASSWORD:
        return "is protected by a password"
    if is_encrypted and code == pypdfium2.raw.FPDF_ERR_SECURITY:
        return "is encrypted in a way that is not supported; save it without"
    return "is not a PDF, is broken, or has no pages"


def render_scale(width: float, height: float, *, max_pixels: int) -> float:
    """Chooses the scale, in pixels per point, for a page whose size is given in points.

    Returns:
        The largest scale at which the page has at most `max_pixels` and at most 200 dots per inch.

    Raises:
        DocumentError: A side is not finite, shorter than a point or longer than 200 inches, or 200 times the other.

    Example:
        >>> round(render_scale(595, 842, max_pixels=1_003_520) * 72)  # A4, in dots per inch
        102
    """
    short, long = sorted((width, height))
    if not (math.isfinite(width) and math.isfinite(height) and short >= 1 and long <= MAX_SIDE):
        raise DocumentError(f"its size is {width:g} x {height:g} points; each side must be between 1 and {MAX_SIDE}")
    if long > MAX_ASPECT * short:
        raise DocumentError(
            f"its size is {width:g} x {height:g} points; one side is more than {MAX_ASPECT} times the other"
        )
    scale = min(MAX_DPI / 72, math.sqrt(max_pixels / (width * height)))
    while math.ceil(width * scale) * math.ceil(height * scale) > max_pixels:  # the renderer rounds up
        scale *= 0.999
    return scale


def clean(text: str) -> str:
    r"""Cleans a text layer: removes marks that nobody sees and blanks at line ends, and joins words broken there.

    A line ends with `\n`.

    Example:
        >>> clean("co\u00adoperate\x00 \r\nnext")
        'cooperate\nnext'
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0c", "\n")
    text = re.sub("[\x02\ufffe](?=\n)", "-", text)  # PDFium's mark for a hyphen at the end of a line
    text = _CONTROLS.sub("", text)
    text = re.sub(r"(?<![ \t\u00a0])[ \t\u00a0]+\n", "\n", text)  # not from each blank of many: quadratic time
    text = join_broken_words(unseen_out(text))
    return re.sub(r"\n{3,}", "\n\n", text).strip()
