"""Saved web pages (.mhtml, .mht): passages of the visible text, then one page per picture. Nothing is fetched.

MIME HTML, RFC 2557, https://www.rfc-editor.org/rfc/rfc2557.
"""

from __future__ import annotations

from pathlib import Path

from polylens.documents.document import Document
from polylens.documents.formats.blocks import joined
from polylens.documents.formats.mail import decoded, parse_parts, read_message
from polylens.documents.formats.passages import Enclosed, Passages
from polylens.documents.formats.webpage import blocks_of
from polylens.documents.splitting import split
from polylens.errors import DocumentError


def open_webarchive(path: Path) -> Document:
    """Opens a saved web page.

    Raises:
        DocumentError: The file is too long, damaged, or holds no web page.
    """
    data = read_message(path)
    try:
        parts = parse_parts(data)
        pages = [part for part in parts if part.get_content_type() in ("text/html", "application/xhtml+xml")]
        if not pages:
            raise DocumentError("holds no web page")
        marked = [b"\xef\xbb\xbf" + decoded(part).encode("utf-8", "replace") for part in pages]  # the mark decides
        texts = [passage for page in marked for passage in split(joined(blocks_of(page, path.name)))]
        images = [part.get_payload(decode=True) for part in parts if part.get_content_maintype() == "image"]
    except DocumentError as error:
        raise DocumentError(f"{path.name} {str(error).removeprefix(path.name).lstrip()}") from error
    except MemoryError:
        raise
    except Exception as error:  # a fuzzed file makes a parser raise almost anything
        raise DocumentError(f"{path.name} cannot be read as a saved web page ({type(error).__name__})") from error
    return Passages("text", texts, [Enclosed(image) for image in images if isinstance(image, bytes)])
