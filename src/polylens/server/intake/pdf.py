"""The pages of PDFs that clients send, rendered in a child process.

A PDF renderer is a large program in C++ that reads hostile bytes. Here it may crash, hang or ask for all memory: the
server loses a child process of bounded memory and time, and one request, but goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

import PIL.Image

from polylens.errors import DocumentError
from polylens.server.intake.pdf_worker import DONE, ERROR, HEADER, MAX_MESSAGE, PAGE

COMMAND = (sys.executable, "-B", "-P", "-m", "polylens.server.intake.pdf_worker")
"""The command of the child, which writes no bytecode and does not import from the working directory."""

FILE_NAME = "document.pdf"
"""The name of the file in messages; its own name is unknown."""

_INHERITED = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")


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
    with tempfile.TemporaryDirectory(prefix="polylens-") as folder:
        path = Path(folder) / FILE_NAME
        path.write_bytes(data)
        try:
            async with asyncio.timeout(timeout):
                return await _render(path, max_pages, max_pixels, cpu_seconds=math.ceil(timeout) + 1)
        except TimeoutError as error:
            raise DocumentError(f"the PDF took longer than {timeout:g} s to render") from error


async def _render(path: Path, max_pages: int, max_pixels: int, *, cpu_seconds: int) -> list[PIL.Image.Image]:
    arguments = (str(path), str(max_pages), str(max_pixels), str(cpu_seconds))
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env=_environment(), start_new_session=True
    )
    assert process.stdout is not None
    try:
        return await _receive(process.stdout, max_pages, max_pixels)
    except asyncio.IncompleteReadError as error:
        raise DocumentError(f"the PDF crashed its renderer ({await _exit_reason(process)})") from error
    finally:
        await _end(process)


async def _receive(stream: asyncio.StreamReader, max_pages: int, max_pixels: int) -> list[PIL.Image.Image]:
    """Reads the output of the child without trusting it: sizes and counts are checked again."""
    pages: list[PIL.Image.Image] = []
    while True:
        kind, first, second = HEADER.unpack(await stream.readexactly(HEADER.size))
        if kind == DONE:
            return pages
        if kind == ERROR and first <= MAX_MESSAGE:
            raise DocumentError((await stream.readexactly(first)).decode("utf-8", "replace"))
        if kind != PAGE or len(pages) == max_pages or not 0 < first * second <= max_pixels:
            raise DocumentError("the PDF made its renderer send data that is not the image of a page")
        pixels = await stream.readexactly(first * second * 3)
        pages.append(PIL.Image.frombytes("RGB", (first, second), pixels))


async def _exit_reason(process: Process) -> str:
    """The signal or the exit status that ended a child after it closed its pipe."""
    status = await process.wait()
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


async def _end(process: Process) -> None:
    """Ends the child, and reads its pipe to the end so that nothing stays open."""
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        process.kill()
    await process.communicate()


def _environment() -> dict[str, str]:
    """The variables that the child needs, and none of the server's secrets. Each thread would reserve address space."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return inherited | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
