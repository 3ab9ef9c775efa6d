"""The process that reads files for `Readers`: `python -m polylens.documents.reader_process`.

It takes requests from standard input and answers them on standard output, in turn. Either is a `LENGTH` and as many
bytes of JSON; behind the answer with a page come the RGB bytes of its picture. Whoever asked executes none of it,
whatever a broken or hostile file has made of this process.

Requests: {"open": a path, "max_pixels": ..., "left_out": reasons by name of inner files}, then {"page": a number,
"is_drawn": ...} of that file, and {"close": true}, which is not answered. While a file is opened, {"member": a name}
says what it is at.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import struct
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import PIL.Image

from polylens.documents.bounds import MAX_PAGE_CHARS, MAX_PAGES, Bounds
from polylens.documents.document import Document
from polylens.documents.formats.bundle import Watch, watching
from polylens.documents.opening import open_document
from polylens.errors import DocumentError
from polylens.types import Page

LENGTH = struct.Struct("!I")
MAX_UNREAD = 1_000  # parts whose reasons are told
MAX_REASON = 400  # characters of a reason
MAX_WORDS = 20_000  # words per page whose places are told
STRIP = 4 * 1024 * 1024  # bytes of a picture at a time

NICENESS = 10  # the model comes first
IDLE_SECONDS = 60.0  # without a request, after which the process ends
OUT_OF_MEMORY = 77  # exit status

_GROWN = 0.25  # share of its memory that a process may have kept between two files


def main(bounds_json: str, folder: str) -> None:
    """Answers requests until standard input ends, or none comes for a while.

    Args:
        bounds_json: The `Bounds`.
        folder: Where its temporary files lie; it goes with this process, in case that whoever started it was killed.
    """
    bounds = Bounds(**json.loads(bounds_json))
    limit(bounds)
    os.nice(NICENESS)
    try:
        with os.fdopen(os.dup(1), "wb") as out:
            os.dup2(2, 1)  # whatever a library prints must not get between the answers
            reader = _Reader(bounds, out)
            while select.select([0], [], [], IDLE_SECONDS)[0] and (request := _received()):
                reader.answer(request)
    except MemoryError:  # parts of libraries may never have got what they asked for: begin anew
        os._exit(OUT_OF_MEMORY)
    except BrokenPipeError:  # whoever asked was killed: nobody wants to read of that
        pass
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _received() -> dict[str, Any] | None:
    head = os.read(0, LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    left = LENGTH.unpack(head)[0]
    parts = []
    while left and (part := os.read(0, left)):
        parts.append(part)
        left -= len(part)
    return json.loads(b"".join(parts)) if not left else None


class _Reader:
    """The file that was opened last, and the answers about it."""

    def __init__(self, bounds: Bounds, out: BinaryIO) -> None:
        self._bounds = bounds
        self._out = out
        self._document: Document | None = None
        self._name = ""
        self._num_told = 0

    def answer(self, request: dict[str, Any]) -> None:
        if "close" in request:
            self._close()
            return
        started = time.process_time()
        try:
            image = None
            if "open" in request:
                answer = self._opened(request)
            else:
                answer, image = self._page(request["page"], is_drawn=request["is_drawn"])
            answer["unread"] = self._told()
        except MemoryError:
            raise
        except DocumentError as error:
            answer, image = {"error": str(error)[:MAX_REASON]}, None
        except Exception as error:  # noqa: BLE001  a fault of a reader costs that file, and not the run
            reason = f"{self._name} cannot be read ({type(error).__name__}: {str(error)[:200]})"
            answer, image = {"error": reason}, None
        self._send(answer | {"seconds": time.process_time() - started}, image)

    def _opened(self, request: dict[str, Any]) -> dict[str, Any]:
        self._close()
        if _data_bytes() > _GROWN * self._bounds.memory:  # heap that a large file leaves to the next
            os._exit(0)
        path = Path(request["open"])
        self._name, self._num_told = path.name, 0
        allow_seconds(self._bounds.opening_seconds)
        watch = Watch(self._begin_member, request["left_out"])
        with watching(watch):
            self._document = open_document(path, max_pixels=request["max_pixels"])
        num_pages = self._document.num_pages
        if num_pages > MAX_PAGES:
            self._document.unread[f"what follows page {MAX_PAGES:,}"] = (
                f"is left out: a file has at most {MAX_PAGES:,} pages, and this has {num_pages:,}"
            )
        return {"kind": self._document.kind, "num_pages": min(num_pages, MAX_PAGES)}

    def _close(self) -> None:
        if self._document is not None:
            self._document.close()
            self._document = None

    def _begin_member(self, name: str) -> None:
        """Says which file in the file is opened now, so that it is known which one ended this process."""
        allow_seconds(self._bounds.opening_seconds)
        self._send({"member": name}, None)

    def _page(self, number: int, *, is_drawn: bool) -> tuple[dict[str, Any], PIL.Image.Image | None]:
        assert self._document is not None
        allow_seconds(self._bounds.page_seconds)
        page = self._document.page(number) if is_drawn else self._document.undrawn(number)
        if len(page.text) > MAX_PAGE_CHARS:
            self._document.unread[f"page {number} after {MAX_PAGE_CHARS:,} characters"] = (
                f"is left out: a page has at most {MAX_PAGE_CHARS:,} characters, and this has {len(page.text):,}"
            )
        answer: dict[str, Any] = {"text": page.text[:MAX_PAGE_CHARS], "kind": page.kind, "words": _words(page)}
        return answer | {"size": page.image.size if page.image is not None else None}, page.image

    def _told(self) -> dict[str, str]:
        """Returns the parts that were found unreadable since the last answer."""
        parts = list(self._document.unread.items()) if self._document is not None else []
        told = {part[:MAX_REASON]: reason[:MAX_REASON] for part, reason in parts[self._num_told : MAX_UNREAD]}
        if len(parts) > max(MAX_UNREAD, self._num_told):
            told["other parts"] = f"{len(parts) - MAX_UNREAD:,} more are not read"
        self._num_told = len(parts)
        return told

    def _send(self, answer: Mapping[str, Any], image: PIL.Image.Image | None) -> None:
        data = json.dumps(answer).encode("ascii")
        self._out.write(LENGTH.pack(len(data)) + data)
        if image is not None:
            image = image if image.mode == "RGB" else image.convert("RGB")
            rows = max(1, STRIP // (3 * image.width))
            for top in range(0, image.height, rows):
                self._out.write(image.crop((0, top, image.width, min(top + rows, image.height))).tobytes())
        self._out.flush()


def _words(page: Page) -> list[tuple[str, float, float, float, float]]:
    return [(w.text, w.box.left, w.box.top, w.box.width, w.box.height) for w in page.words[:MAX_WORDS]]


def limit(bounds: Bounds) -> None:
    """Bounds the memory of this process and what it writes, as far as the system can."""
    import resource

    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, bounds.written)
    if sys.platform == "linux":
        _lower(resource.RLIMIT_DATA, bounds.memory)  # and not the address space: files that are mapped are no memory
    else:
        threading.Thread(target=watch_memory, args=(bounds.memory,), daemon=True).start()


def _lower(kind: int, value: int) -> None:
    """Sets a limit that programs which this process starts, such as LibreOffice, may set anew for themselves."""
    import resource

    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def watch_memory(most: int, *, every: float = 0.1) -> None:
    """Ends this process once it has taken more memory, where the system sets no such limit (macOS).

    Args:
        most: Bytes.
        every: Seconds between two looks.
    """
    while peak_memory() <= most:
        time.sleep(every)
    os._exit(OUT_OF_MEMORY)


def peak_memory(process: int | None = None) -> int:
    """Returns the most bytes that a process has had in memory; 0 where that is not known, as when it has ended.

    Where /proc says it, that counts, and `getrusage` only elsewhere: on Linux the account of a process that `getrusage`
    keeps begins with what the process that started it had, and so ended readers of large programs at once.

    Args:
        process: Its number, where there is /proc; None is this process.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = Path(f"/proc/{process or 'self'}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    if process is not None:
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def allow_seconds(seconds: int) -> None:
    """Lets the system end this process (SIGXCPU) once it has computed for so many more seconds."""
    import resource

    with contextlib.suppress(ValueError):  # the hard limit comes first
        used = resource.getrusage(resource.RUSAGE_SELF)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, hard))


def _data_bytes() -> int:
    """Returns the memory of this process's own; 0 where that is not known."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    return 0


if __name__ == "__main__":
    main(*sys.argv[1:])
