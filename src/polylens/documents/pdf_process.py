"""The process that opens PDFs for `PdfProcesses`: `python -m polylens.documents.pdf_process`.

It reads requests from standard input, one JSON object per line: a path, the most pixels per page, and the number of a
page, or 0 for the number of pages. It answers each on standard output: a line of JSON, and the RGB bytes of a page.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any, BinaryIO

from polylens.documents.document import Document
from polylens.documents.opening import open_document
from polylens.errors import DocumentError

MEMORY = 4 * 1024**3
"""The most bytes of address space, the libraries included."""

NICENESS = 10  # the model comes first


def main() -> None:
    """Answers requests until standard input ends."""
    _limit()
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # whatever a library prints must not get between the answers
        opened: tuple[Any, Document] | None = None
        for line in sys.stdin.buffer:
            request = json.loads(line)
            try:
                key = request["path"], request["max_pixels"], request["opening"]
                if opened is None or opened[0] != key:
                    if opened is not None:
                        opened[1].close()
                        opened = None
                    opened = key, open_document(Path(request["path"]), max_pixels=request["max_pixels"])
                _answer(out, opened[1], request["page"])
            except DocumentError as error:
                _send(out, {"error": str(error)})
            except MemoryError:
                _send(out, {"error": f"needs more than {MEMORY:,} bytes of memory"})


def _answer(out: BinaryIO, document: Document, number: int) -> None:
    if number == 0:
        _send(out, {"num_pages": document.num_pages})
        return
    page = document.page(number)
    assert page.image is not None
    words = [(word.text, *astuple(word.box)) for word in page.words]
    _send(out, {"text": page.text, "words": words, "size": page.image.size}, page.image.tobytes())


def _send(out: BinaryIO, answer: dict[str, Any], pixels: bytes = b"") -> None:
    try:
        out.write(json.dumps(answer).encode("ascii") + b"\n" + pixels)
        out.flush()
    except BrokenPipeError:  # whoever asked was killed: nobody wants to read of that
        os._exit(0)


def _limit() -> None:
    """Bounds the memory of this process and lowers its priority, where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError, AttributeError):
        import resource

        os.nice(NICENESS)
        if sys.platform == "linux":
            hard = resource.getrlimit(resource.RLIMIT_AS)[1]
            most = MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard)
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))
            resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


if __name__ == "__main__":
    main()
