"""What was written on a page of a PDF: the values of its form fields, and its notes.

They are drawn on the page and are no part of its text layer. ISO 32000-1, sections 12.5 and 12.7.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from polylens.documents.formats.pdf_words import Noted, Rect

MAX_ANNOTATIONS = 5_000  # per page
MAX_VALUE_CHARS = 20_000  # characters per value or note

_FILLED_IN = (pdfium.FPDF_FORMFIELD_TEXTFIELD, pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX)
_WITHOUT_WORDS = (pdfium.FPDF_ANNOT_POPUP, pdfium.FPDF_ANNOT_LINK)  # a pop-up shows the words of its note
_UNSEEN = pdfium.FPDF_ANNOT_FLAG_HIDDEN | pdfium.FPDF_ANNOT_FLAG_NOVIEW
_PASSWORD = 1 << 13  # a flag of text fields


def notes_on(page: pypdfium2.PdfPage) -> list[Noted]:
    """Returns the values of a page's form fields, where the document's forms are initialised, and its notes, in order.

    Values that are hidden, passwords and the states of buttons are left out.
    """
    found = (Noted(text.replace("\r\n", "\n").replace("\r", "\n").strip(), place) for text, place in _texts(page))
    return [note for note in found if note.text]


def _texts(page: pypdfium2.PdfPage) -> Iterator[tuple[str, Rect]]:
    form = page.formenv.raw if page.formenv else None
    for index in range(min(pdfium.FPDFPage_GetAnnotCount(page.raw), MAX_ANNOTATIONS)):
        annotation = pdfium.FPDFPage_GetAnnot(page.raw, index)
        if not annotation:
            continue
        try:
            kind = pdfium.FPDFAnnot_GetSubtype(annotation)
            if pdfium.FPDFAnnot_GetFlags(annotation) & _UNSEEN or kind in _WITHOUT_WORDS:
                continue
            if kind != pdfium.FPDF_ANNOT_WIDGET:
                yield _string(pdfium.FPDFAnnot_GetStringValue, annotation, b"Contents"), _rect(annotation)
            elif form is not None:
                yield from ((value, _rect(annotation)) for value in _value(form, annotation))
        finally:
            pdfium.FPDFPage_CloseAnnot(annotation)


def _value(form: Any, annotation: Any) -> Iterator[str]:
    if pdfium.FPDFAnnot_GetFormFieldType(form, annotation) not in _FILLED_IN:
        return
    if pdfium.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD:
        return
    chosen = [
        _string(pdfium.FPDFAnnot_GetOptionLabel, form, annotation, option)
        for option in range(min(pdfium.FPDFAnnot_GetOptionCount(form, annotation), MAX_ANNOTATIONS))
        if pdfium.FPDFAnnot_IsOptionSelected(form, annotation, option)
    ]
    yield "\n".join(chosen) or _string(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation)


def _rect(annotation: Any) -> Rect:
    rect = pdfium.FS_RECTF()
    pdfium.FPDFAnnot_GetRect(annotation, rect)
    left, right = sorted((rect.left, rect.right))
    bottom, top = sorted((rect.bottom, rect.top))
    return left, bottom, right, top


def _string(function: Callable[..., int], *arguments: Any) -> str:
    """Calls a function of PDFium that writes UTF-16 into a buffer, and returns its bytes if given none."""
    size = min(function(*arguments, None, 0), 2 * MAX_VALUE_CHARS)
    if size <= 2:  # the end mark alone
        return ""
    buffer = ctypes.create_string_buffer(size)
    if function(*arguments, ctypes.cast(buffer, ctypes.POINTER(pdfium.FPDF_WCHAR)), size) > size:
        return ""
    return buffer.raw[: size - 2].decode("utf-16-le", "replace")
