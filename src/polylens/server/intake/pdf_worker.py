"""The process that renders the pages of an untrusted PDF: `python -m polylens.server.intake.pdf_worker`.

Its arguments are those of `main`. It writes a sequence of messages to standard output, each a `HEADER` and a body:
PAGE with width, height and the RGB bytes; at the end either DONE, or ERROR with the length of a text in UTF-8. The
reader executes none of it, whatever a broken or hostile PDF has made of this process.
"""

from __future__ import annotations

import os
import resource
import struct
import sys
from pathlib import Path
from typing import BinaryIO

from polylens.documents.formats.pdf import Pdf
from polylens.errors import DocumentError

HEADER = struct.Struct("!cII")
PAGE, DONE, ERROR = b"P", b"D", b"E"

MAX_MESSAGE = 2000  # bytes of the text of an error

MEMORY = 2 * 1024**3
"""The most bytes of address space, the libraries included."""


def main(path: str, max_pages: str, max_pixels: str, cpu_seconds: str) -> None:
    """Renders the pages of a file to standard output.

    Args:
        path: The PDF.
        max_pages: Upper bound of the pages; a file with more is refused before its first page is rendered.
        max_pixels: Upper bound of the pixels of one page.
        cpu_seconds: CPU time after which the system ends this process.
    """
    limit_resources(int(cpu_seconds))
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # whatever a library prints must not get between the messages
        try:
            _send_pages(out, Path(path), int(max_pages), int(max_pixels))
            out.write(HEADER.pack(DONE, 0, 0))
        except DocumentError as error:
            _send_error(out, str(error))
        except MemoryError:
            _send_error(out, f"rendering the PDF needs more than {MEMORY:,} bytes of memory")


def limit_resources(cpu_seconds: int) -> None:
    """Limits the memory and the CPU time of this process, and keeps it from writing files, core dumps included."""
    _lower(resource.RLIMIT_CPU, cpu_seconds)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_CORE, 0)
    if sys.platform == "linux":  # macOS refuses to set this one
        _lower(resource.RLIMIT_AS, MEMORY)


def _lower(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _send_pages(out: BinaryIO, path: Path, max_pages: int, max_pixels: int) -> None:
    with Pdf(path, max_pixels=max_pixels) as pdf:
        if pdf.num_pages > max_pages:
            raise DocumentError(f"the PDF has {pdf.num_pages:,} pages, and the limit is {max_pages:,}")
        for page in pdf:
            assert page.image is not None
            out.write(HEADER.pack(PAGE, *page.image.size))
            out.write(page.image.tobytes())
            out.flush()


def _send_error(out: BinaryIO, text: str) -> None:
    body = text.encode("utf-8", "replace")[:MAX_MESSAGE]
    out.write(HEADER.pack(ERROR, len(body), 0) + body)


if __name__ == "__main__":
    main(*sys.argv[1:])
