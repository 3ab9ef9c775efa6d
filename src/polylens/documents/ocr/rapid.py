"""RapidOCR: it finds lines in any script, and reads Latin, Chinese and Japanese.

Program and models, which are PaddleOCR's, are under Apache 2.0, and both lie in its wheel. It runs in a process of its
own, which is kept for the next picture.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import PIL.Image

from polylens.documents.ocr.lines import Line
from polylens.errors import DocumentError
from polylens.types import Box, Word

ADVICE = "pip install 'polylens[ocr]'"

SECONDS = 120.0  # for one picture; a full page takes five to ten on one core
MEMORY = 4 * 1024**3  # bytes of address space, the libraries included
MOST_PROCESSES = 4  # each takes half a gigabyte
_CORES_PER_PROCESS = 4  # the model computes meanwhile

WIDE = 1.6
"""Heights of a line per letter, of widely spaced ones; Latin ones take 0.5, Chinese ones 1."""


class RapidReaders:
    """Reads pictures for several threads, each in a process of its own; a process is started while the others are busy.

    Args:
        count: The most processes; None is one for every four cores, four at most.
    """

    def __init__(self, count: int | None = None) -> None:
        count = count or min(MOST_PROCESSES, max(1, (os.cpu_count() or 1) // _CORES_PER_PROCESS))
        self._readers = [RapidReader() for _ in range(count)]
        self._free: queue.LifoQueue[RapidReader] = queue.LifoQueue()  # the last that read is the next to read
        for reader in self._readers:
            self._free.put(reader)

    def read(self, image: PIL.Image.Image) -> list[Line]:
        """Reads a picture, as soon as one of the processes is free; as `RapidReader.read`."""
        reader = self._free.get()
        try:
            return reader.read(image)
        finally:
            self._free.put(reader)

    def close(self) -> None:
        """Ends the processes; the next picture starts another."""
        for reader in self._readers:
            reader.close()


class RapidReader:
    """A process that reads pictures with RapidOCR, started with the first; close it, or use a `with` statement.

    Args:
        seconds: The longest that one picture may take.
    """

    def __init__(self, *, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, image: PIL.Image.Image) -> list[Line]:
        """Reads a picture.

        Args:
            image: RGB.

        Returns:
            The lines in no order; letters of scripts that the model does not know make lines of low confidence, one of
            them alone a line of a word without letters.

        Raises:
            DocumentError: It takes too long or crashes; the message names no file.
        """
        process = self._started()
        is_late = threading.Event()

        def give_up() -> None:
            is_late.set()
            process.kill()

        timer = threading.Timer(self._seconds, give_up)
        timer.start()
        try:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(json.dumps({"size": image.size}).encode("ascii") + b"\n" + image.tobytes())
            process.stdin.flush()
            line = process.stdout.readline()
            if not line.endswith(b"\n"):
                raise EOFError
            answer = json.loads(line)
        except (OSError, EOFError) as error:
            self.close()
            reason = (
                f"takes more than {self._seconds:.0f} s" if is_late.is_set() else "crashes the process that reads it"
            )
            raise DocumentError(reason) from error
        except BaseException:  # Ctrl-C, too: half of an answer would be taken for the next one's
            self.close()
            raise
        finally:
            timer.cancel()
        if "error" in answer:
            raise DocumentError(answer["error"])
        return [_line(each, image.size) for each in answer["lines"]]

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            command = (sys.executable, "-P", "-m", "polylens.documents.ocr.rapid_process")
            self._process = subprocess.Popen(
                (*command, str(MEMORY)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # what the libraries remark is for programmers
                start_new_session=True,
            )
        return self._process

    def close(self) -> None:
        """Ends the process; the next picture starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        process.kill()
        process.wait()
        process.stdout.close()
        with contextlib.suppress(OSError):  # what it was sent last never arrived
            process.stdin.close()

    def __enter__(self) -> RapidReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_installed() -> bool:
    """Returns whether RapidOCR and what runs its models are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("rapidocr", "onnxruntime"))


def _line(found: Mapping[str, Any], size: tuple[int, int]) -> Line:
    """Returns a line; the longer it is for its letters, the less sure.

    The model passes over letters that it does not know, and is sure of the rest: of a line in Cyrillic, a full stop.
    """
    words = found["words"]
    height = max(bottom - top for _, _, top, _, bottom in words)
    length = max(right for _, _, _, right, _ in words) - min(left for _, left, _, _, _ in words)
    if height > length:  # written from top to bottom
        height, length = length, height
    pitch = length / max(1.0, height * sum(len(word[0]) for word in words))
    return Line(tuple(_word(word, size) for word in words), found["confidence"] * min(1.0, WIDE / max(pitch, 0.01)))


def _word(found: Sequence[Any], size: tuple[int, int]) -> Word:
    text, left, top, right, bottom = found
    width, height = size
    left, right = (min(max(x / width, 0.0), 1.0) for x in (left, right))
    top, bottom = (min(max(y / height, 0.0), 1.0) for y in (top, bottom))
    return Word(text, Box(left, top, right - left, bottom - top))
