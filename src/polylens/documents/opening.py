"""Opens a file as the kind of document that its name says."""

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
    """Returns the kind of a file by its name; None if files of such a name have no pages."""
    path = Path(path)
    if path.name.startswith("~$"):  # a lock file of an office program that has the document open
        return None
    kind = _KINDS.get(path.suffix.lower())
    return "text" if kind is None and path.name.lower() in _TEXT_NAMES else kind


def open_document(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Document:
    """Opens a PDF, an image, a text, an office document, a book or a web page.

    Args:
        path: The file; its name says its kind.
        max_pixels: Largest number of pixels per rendered PDF page. Images keep their own size.

    Raises:
        DocumentError: The file is of another kind, missing, broken, or protected by a password.

    Example:
        >>> with open_document("LICENSE") as document:  # doctest: +SKIP
        ...     first = next(iter(document))
    """
    path = Path(path)
    kind = kind_of(path)
    if kind is None:
        raise DocumentError(
            f"{path.name} is not a PDF, image, text, web page, office document or book, judging by its name"
        )
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
