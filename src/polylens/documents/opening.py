"""From a file's name to the document that it is."""

from __future__ import annotations

from pathlib import Path

from polylens.documents.document import MAX_PIXELS, Document
from polylens.errors import DocumentError
from polylens.types import Kind

_IMAGE = "png jpg jpeg jpe jfif webp tif tiff gif bmp dib"
_TEXT = """
    txt text md markdown mdx rst adoc asciidoc org tex ltx bib log csv tsv json jsonl ndjson yaml yml toml ini cfg
    conf properties xml xsd css scss less js mjs cjs jsx ts tsx vue svelte py pyi pyx ipynb rb php pl
    pm lua r jl m c h cc cpp cxx hh hpp hxx cu cs java kt kts scala groovy gradle go rs swift dart zig nim hs lhs ml
    mli fs fsx ex exs erl clj cljs lisp el scm sql sh bash zsh fish ps1 bat cmd mk cmake dockerfile proto graphql tf
    hcl nix srt vtt po
"""
_PACKED: dict[str, Kind] = {
    "docx docm dotx": "document",
    "pptx pptm ppsx ppsm potx": "slides",
    "xlsx xlsm xltx": "sheet",
    "epub": "document",
    "odt ott": "document",
    "odp otp": "slides",
    "ods ots": "sheet",
}
_WEB = "html htm xhtml"
_KINDS: dict[str, Kind] = {
    ".pdf": "pdf",
    **{f".{suffix}": kind for suffixes, kind in _PACKED.items() for suffix in suffixes.split()},
    **{f".{suffix}": "text" for suffix in _WEB.split()},
    **{f".{suffix}": "image" for suffix in _IMAGE.split()},
    **{f".{suffix}": "text" for suffix in _TEXT.split()},
}
_TEXT_NAMES = frozenset(
    "readme license licence copying notice authors changelog contributing makefile dockerfile".split()  # noqa: SIM905
)


def kind_of(path: str | Path) -> Kind | None:
    """What a file is by its name; None where it is nothing that has pages."""
    path = Path(path)
    if path.name.startswith("~$"):  # lies beside a document for as long as an office program has it open
        return None
    kind = _KINDS.get(path.suffix.lower())
    return "text" if kind is None and path.name.lower() in _TEXT_NAMES else kind


def open_document(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Document:
    """Open a PDF, an image, a text, an office document, a book or a web page.

    Args:
        path: The file; its name says its kind.
        max_pixels: Upper bound of the pixels of a rendered PDF page. Images keep their own size.

    Raises:
        DocumentError: Not a kind that has pages, missing, broken, or protected by a password.

    Example:
        >>> with open_document("LICENSE") as document:  # doctest: +SKIP
        ...     first = next(iter(document))
    """
    path = Path(path)
    kind = kind_of(path)
    if kind is None:
        raise DocumentError(f"{path.name} is neither a PDF nor an image, a text or an office document, by its name")
    if not path.is_file():
        raise DocumentError(f"{path} is not a file" if path.exists() else f"{path} does not exist")
    suffix = path.suffix.lower()
    if kind == "pdf":
        from polylens.documents.formats.pdf import Pdf

        return Pdf(path, max_pixels=max_pixels)
    if kind == "image":
        from polylens.documents.formats.image import ImageFile

        return ImageFile(path)
    if kind != "text":
        return _open_packed(path, suffix, kind)
    if suffix[1:] in _WEB.split():
        from polylens.documents.formats.webpage import WebPage

        return WebPage(path)
    from polylens.documents.formats.text import TextFile

    return TextFile(path)


def _open_packed(path: Path, suffix: str, kind: Kind) -> Document:
    if suffix.startswith(".o"):
        from polylens.documents.formats.opendocument import open_opendocument

        return open_opendocument(path, kind)
    if suffix == ".epub":
        from polylens.documents.formats.epub import open_epub

        return open_epub(path)
    if kind == "slides":
        from polylens.documents.formats.slides import open_slides

        return open_slides(path)
    if kind == "sheet":
        from polylens.documents.formats.sheets import open_sheets

        return open_sheets(path)
    from polylens.documents.formats.word import open_word

    return open_word(path)
