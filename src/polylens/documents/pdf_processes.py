"""PDFs that other processes open and draw: several at a time, and a crash costs one page.

PDFium is not thread-safe, so one process draws one page at a time. It is a large program that reads any bytes: where it
crashes, the file that it was reading is broken, and the others are drawn by a new process.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import PIL.Image

from polylens.documents.document import Document
from polylens.errors import DocumentError
from polylens.types import Box, Page, Word

COMMAND = (sys.executable, "-P", "-m", "polylens.documents.pdf_process")
"""The command of a process, which does not import from the working directory."""


class PdfProcesses:
    """A few processes that open PDFs. They are started as they are needed; close them, or use a `with` statement.

    Args:
        count: The number of processes.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._children = [_Child() for _ in range(count)]
        self._free: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        self._openings = itertools.count()
        for child in self._children:
            self._free.put(child)

    def open(self, path: Path, *, max_pixels: int) -> Document:
        """Opens a PDF; the arguments and errors are those of `open_document`.

        Its pages may be read from several threads, as many at once as there are processes.
        """
        return _Pdf(self, path, max_pixels, next(self._openings))

    def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Asks whichever process is free, and waits for one; the answer is a JSON object and a page's RGB bytes.

        Raises:
            DocumentError: The PDF cannot be read, or it crashed its process.
        """
        child = self._free.get()
        try:
            answer, pixels = child.ask(request)
        except (OSError, EOFError) as gone:
            raise DocumentError(f"{Path(request['path']).name} crashed the process that reads it ({gone})") from gone
        finally:
            self._free.put(child)
        if "error" in answer:
            raise DocumentError(answer["error"])
        return answer, pixels

    def close(self) -> None:
        """Ends the processes; may be called again."""
        for child in self._children:
            child.end()

    def __enter__(self) -> PdfProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Pdf(Document):
    kind = "pdf"

    def __init__(self, processes: PdfProcesses, path: Path, max_pixels: int, opening: int) -> None:
        self._processes = processes
        self._request = {"path": str(path), "max_pixels": max_pixels, "opening": opening}
        self._num_pages: int = processes.ask({**self._request, "page": 0})[0]["num_pages"]

    @property
    def num_pages(self) -> int:
        return self._num_pages

    def page(self, number: int) -> Page:
        answer, pixels = self._processes.ask({**self._request, "page": number})
        words = tuple(Word(text, Box(*box)) for text, *box in answer["words"])
        return Page(number, PIL.Image.frombytes("RGB", tuple(answer["size"]), pixels), answer["text"], words=words)


class _Child:
    """One process, which is started again when it has ended; used by one thread at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Raises EOFError, with how it ended, where the process ends instead of answering."""
        if self._process is None:
            self._process = subprocess.Popen(
                COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode("ascii") + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
            answer = json.loads(line) if line.endswith(b"\n") else None
            width, height = (0, 0) if answer is None else answer.get("size", (0, 0))
            pixels = process.stdout.read(3 * width * height)
        except BaseException:  # Ctrl-C, too: half of an answer would be taken for the next one's
            self.end()
            raise
        if answer is None or len(pixels) < 3 * width * height:
            self.end(wait=True)
            status = process.returncode
            raise EOFError(signal.Signals(-status).name if status < 0 else f"exit status {status}")
        return answer, pixels

    def end(self, *, wait: bool = False) -> None:
        """Ends the process; with `wait`, lets one that is ending by itself do so."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        if wait:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
        else:
            process.kill()
        process.wait()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # what it was sent last never arrived
            process.stdin.close()
