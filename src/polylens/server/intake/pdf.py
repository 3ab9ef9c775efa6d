"""The pages of PDFs that clients send, rendered in a process of bounded memory and time.

A PDF renderer is a large program in C++ that reads hostile bytes. Here it may crash, hang or ask for all memory: the
server loses a process and one request, but goes on. Each PDF gets a process of its own, so that one that takes its
process over never sees what another client sends.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import PIL.Image

from polylens.documents.bounds import Bounds
from polylens.documents.document import Document
from polylens.documents.reader_child import Ended
from polylens.documents.reader_processes import Readers
from polylens.errors import DocumentError
from polylens.types import Page

FILE_NAME = "document.pdf"
"""The name of the file in messages; its own name is unknown."""


async def render_pdf(data: bytes, *, max_pages: int, max_pixels: int, timeout: float) -> list[PIL.Image.Image]:
    """Renders every page of a PDF.

    Args:
        data: The bytes of the file.
        max_pages: Upper bound of the pages; a PDF with more is refused as a whole.
        max_pixels: Upper bound of the pixels of one page.
        timeout: The seconds for the whole rendering, the start of the process included.

    Returns:
        One RGB image per page, in order.

    Raises:
        DocumentError: The PDF is broken, protected by a password, has too many pages, took too long, or crashed its
            renderer.
    """
    seconds = math.ceil(timeout) + 1
    bounds = Bounds(written=0, opening_seconds=seconds, page_seconds=seconds, patience=timeout + 1)
    thread = ThreadPoolExecutor(1)  # and not the loop's own threads, which look up addresses
    with tempfile.TemporaryDirectory(prefix="polylens-") as folder:
        path = Path(folder) / FILE_NAME
        path.write_bytes(data)
        readers = Readers(1, bounds, keeps_words=False)
        work = asyncio.get_running_loop().run_in_executor(thread, _render, readers, path, max_pages, max_pixels)
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(work)
        except TimeoutError as error:
            raise DocumentError(f"the PDF took longer than {timeout:g} s to render") from error
        finally:
            readers.close()
            while not work.done():  # it may just have been about to start the process
                await asyncio.wait([work], timeout=0.05)
                readers.close()
            work.exception()  # which was raised above, or nobody waits for any more
            thread.shutdown()


def _render(readers: Readers, path: Path, max_pages: int, max_pixels: int) -> list[PIL.Image.Image]:
    with readers, readers.open(path, max_pixels=max_pixels) as document:
        if document.num_pages > max_pages:
            raise DocumentError(f"the PDF has {document.num_pages:,} pages, and the limit is {max_pages:,}")
        pages = (_rendered(document, number) for number in range(1, document.num_pages + 1))
        return [page.image for page in document.readable(pages) if page.image is not None]


def _rendered(document: Document, number: int) -> Page | None:
    """Returns a page; None for one that is broken, while one that ends the process ends all."""
    try:
        return document.page(number)
    except DocumentError as error:
        if isinstance(error.__cause__, Ended):
            raise
        return None
