"""Opens a file as the kind of document that its name says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from polylens.documents.document import MAX_PIXELS, Document
from polylens.errors import DocumentError
from polylens.types import Kind

SHORT = 1024 * 1024  # bytes of a plain text that is read wherever it is asked for


@dataclass(frozen=True, slots=True)
class _Request:
    """A file to be opened, and how."""

    path: Path
    kind: Kind
    max_pixels: int
    is_inner: bool
    """Whether it lies inside another file; what lies in it is named then, and not opened."""

    @property
    def open_file(self) -> Callable[[Path], Document] | None:
        """What opens the files inside this one."""
        return None if self.is_inner else partial(_open, max_pixels=self.max_pixels, is_inner=True)


def _pdf(request: _Request) -> Document:
    from polylens.documents.formats.pdf import Pdf

    return Pdf(request.path, max_pixels=request.max_pixels)


def _image(request: _Request) -> Document:
    from polylens.documents.formats.image import ImageFile

    return ImageFile(request.path)


def _heif(request: _Request) -> Document:
    from polylens.media.image import readable_formats

    if "HEIF" not in readable_formats():
        raise DocumentError(f"{request.path.name} is a HEIF picture; pip install 'polylens[files]' adds what reads it")
    return _image(request)


def _svg(request: _Request) -> Document:
    from polylens.documents.formats.svg import Svg

    return Svg(request.path, max_pixels=request.max_pixels)


def _text(request: _Request) -> Document:
    from polylens.documents.formats.text import TextFile

    return TextFile(request.path)


def _web(request: _Request) -> Document:
    from polylens.documents.formats.webpage import WebPage

    return WebPage(request.path)


def _webarchive(request: _Request) -> Document:
    from polylens.documents.formats.webarchive import open_webarchive

    return open_webarchive(request.path)


def _notebook(request: _Request) -> Document:
    from polylens.documents.formats.notebook import open_notebook

    return open_notebook(request.path)


def _rtf(request: _Request) -> Document:
    from polylens.documents.formats.richtext import open_rtf

    return open_rtf(request.path)


def _word(request: _Request) -> Document:
    from polylens.documents.formats.word import open_word

    return open_word(request.path)


def _slides(request: _Request) -> Document:
    from polylens.documents.formats.slides import open_slides

    return open_slides(request.path)


def _sheets(request: _Request) -> Document:
    from polylens.documents.formats.sheets import open_sheets

    return open_sheets(request.path)


def _opendocument(request: _Request) -> Document:
    from polylens.documents.formats.opendocument import open_opendocument

    return open_opendocument(request.path, request.kind)


def _epub(request: _Request) -> Document:
    from polylens.documents.formats.epub import open_epub

    return open_epub(request.path)


def _xps(request: _Request) -> Document:
    from polylens.documents.formats.xps import open_xps

    return open_xps(request.path)


def _converted(request: _Request) -> Document:
    from polylens.documents.formats.libreoffice import open_converted

    return open_converted(request.path, request.kind, max_pixels=request.max_pixels)


def _calendar(request: _Request) -> Document:
    from polylens.documents.formats.calendars import open_calendar

    return open_calendar(request.path)


def _contacts(request: _Request) -> Document:
    from polylens.documents.formats.contacts import open_contacts

    return open_contacts(request.path)


def _mail(request: _Request) -> Document:
    from polylens.documents.formats.mail import open_mail

    return open_mail(request.path, request.open_file)


def _mailbox(request: _Request) -> Document:
    from polylens.documents.formats.mail import open_mailbox

    return open_mailbox(request.path, request.open_file)


def _outlook(request: _Request) -> Document:
    from polylens.documents.formats.outlook import open_outlook

    return open_outlook(request.path, request.open_file)


def _zip(request: _Request) -> Document:
    from polylens.documents.formats.zipped import open_zip

    return open_zip(request.path, request.open_file)


_Reader = Callable[[_Request], Document]

_PLAIN = """
    txt text md markdown mdx rst adoc asciidoc org tex ltx bib log csv tsv json jsonl ndjson yaml yml toml ini cfg
    conf properties xml xsd css scss less js mjs cjs jsx ts tsx vue svelte py pyi pyx rb php pl
    pm lua r jl m c h cc cpp cxx hh hpp hxx cu cs java kt kts scala groovy gradle go rs swift dart zig nim hs lhs ml
    mli fs fsx ex exs erl clj cljs lisp el scm sql sh bash zsh fish ps1 bat cmd mk cmake dockerfile proto graphql tf
    hcl nix srt vtt po
"""
_ROWS: tuple[tuple[str, Kind, _Reader], ...] = (
    ("pdf", "pdf", _pdf),
    ("png jpg jpeg jpe jfif webp tif tiff gif bmp dib avif jp2 j2k jpf jpx ico ppm pgm pbm pnm", "image", _image),
    ("heic heif hif", "image", _heif),
    ("svg svgz", "image", _svg),
    (_PLAIN, "text", _text),
    ("html htm xhtml", "text", _web),
    ("mhtml mht", "text", _webarchive),
    ("ipynb", "document", _notebook),
    ("rtf", "document", _rtf),
    ("docx docm dotx", "document", _word),
    ("pptx pptm ppsx ppsm potx", "slides", _slides),
    ("xlsx xlsm xltx", "sheet", _sheets),
    ("odt ott", "document", _opendocument),
    ("odp otp odg otg", "slides", _opendocument),
    ("ods ots", "sheet", _opendocument),
    ("epub", "document", _epub),
    ("xps oxps", "document", _xps),
    ("doc dot pages", "document", _converted),
    ("ppt pps pot key", "slides", _converted),
    ("xls xlt numbers", "sheet", _converted),
    ("ics", "document", _calendar),
    ("vcf vcard", "document", _contacts),
    ("eml", "document", _mail),
    ("mbox", "document", _mailbox),
    ("msg", "document", _outlook),
    ("zip cbz", "document", _zip),
)
"""Suffixes, the kind of such files, and what opens them."""

_READERS = {f".{suffix}": (kind, reader) for suffixes, kind, reader in _ROWS for suffix in suffixes.split()}
_TEXT_NAMES = frozenset(
    "readme license licence copying notice authors changelog contributing makefile dockerfile".split()  # noqa: SIM905
)


def kind_of(path: str | Path) -> Kind | None:
    """Returns the kind of a file by its name; None if files of such a name have no pages."""
    reader = _reader(Path(path))
    return reader and reader[0]


def is_plain_text(path: Path) -> bool:
    """Returns whether a file is a short text that is its own content: no markup is parsed, and no picture decoded."""
    found = _reader(path)
    try:
        return found is not None and found[1] is _text and path.stat().st_size <= SHORT
    except OSError:
        return False


def open_document(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Document:
    """Opens a PDF, an image, a text, an office document, a book, a web page, a message or an archive.

    It is read in this process, so a file that was made to do harm may take all of its memory or time, or crash it. What
    a library indexes is read by `reader_processes.Readers`, within bounds.

    Args:
        path: The file; its name says its kind.
        max_pixels: Largest number of pixels per rendered PDF page. Images keep their own size.

    Raises:
        DocumentError: The file is of another kind, missing, broken, or protected by a password.

    Example:
        >>> with open_document("LICENSE") as document:  # doctest: +SKIP
        ...     first = next(iter(document))
    """
    return _open(Path(path), max_pixels=max_pixels, is_inner=False)


def _open(path: Path, *, max_pixels: int, is_inner: bool) -> Document:
    found = _reader(path)
    if found is None:
        raise DocumentError(
            f"{path.name} is not a PDF, image, text, web page, office document or book, nor a message or an archive, "
            "judging by its name"
        )
    if not path.is_file():
        raise DocumentError(f"{path} is not a file" if path.exists() else f"{path} does not exist")
    kind, reader = found
    return reader(_Request(path, kind, max_pixels, is_inner))


def _reader(path: Path) -> tuple[Kind, _Reader] | None:
    if path.name.startswith("~$"):  # a lock file of an office program that has the document open
        return None
    found = _READERS.get(path.suffix.lower())
    return ("text", _text) if found is None and path.name.lower() in _TEXT_NAMES else found
