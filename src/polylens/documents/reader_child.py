"""One process that reads files, as the program that asks it sees it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import PIL.Image

from polylens.documents.bounds import GB, Bounds
from polylens.documents.reader_process import LENGTH, MAX_REASON, OUT_OF_MEMORY, STRIP, peak_memory
from polylens.media.image import MAX_IMAGE_PIXELS

COMMAND = (sys.executable, "-B", "-P", "-m", "polylens.documents.reader_process")
"""The command of a process, which writes no bytecode and does not import from the working directory."""

MAX_ANSWER = 12 * 1024 * 1024  # bytes of an answer, without its picture
_BETWEEN_LOOKS = 20  # milliseconds between two looks at the memory of a process that is waited for
PATIENT = 3  # times the patience for one answer that all answers while a file is opened may take

_INHERITED = frozenset(
    "PATH PYTHONPATH PYTHONHOME LD_LIBRARY_PATH HOME LANG LC_ALL LC_CTYPE XDG_CACHE_HOME POLYLENS_CACHE".split()  # noqa: SIM905
)
"""Variables that a reader needs, and none that may hold a secret of the program's."""
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Ended(Exception):
    """A process ended instead of answering.

    Args:
        reason: Why, as a phrase about what was read: "needs more than 2 GB of memory".
        member: The file inside the file that it was opening; "" for none.
        is_idle: Whether it ended by itself, since it had nothing to do.
    """

    def __init__(self, reason: str, member: str = "", *, is_idle: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.member, self.is_idle = reason, member, is_idle


class Child:
    """One process, which is started again when it has ended. One thread at a time may use it.

    Args:
        bounds: What it may take.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.key: int | None = None
        """The file that it has open."""
        self._bounds = bounds
        self._process: subprocess.Popen[bytes] | None = None
        self._is_killed = self._is_closing = False
        self._folder = ""
        self._memory = 0
        """The most bytes that the process was seen to have, while it was waited for."""

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def ask(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], PIL.Image.Image | None]:
        """Sends a request, and returns the answer with its picture.

        Raises:
            Ended: The process ended, took too long, or sent what no answer is.
        """
        if self._is_killed:  # after its last answer
            self.end()
        was_closing, self._is_closing = self._is_closing, False
        member, reason = "", ""
        began = time.monotonic()
        process = self._process or self._start()
        try:
            _write(process, json.dumps(request).encode("ascii"))
            while True:
                answer = self._message(process)
                if "member" not in answer:
                    return answer, self._picture(process, answer.get("size"))
                member = str(answer["member"])[:MAX_REASON]
                if time.monotonic() - began > PATIENT * self._bounds.patience:
                    raise TimeoutError
        except TimeoutError:
            reason = f"is given up: no answer came within {self._bounds.patience:g} s"
        except (ValueError, RecursionError):
            reason = "is given up: it made its reader send what is no answer"
        except OSError:  # it has ended, or is about to
            pass
        except BaseException:  # Ctrl-C, too: half of an answer would be taken for the next one's
            self.end()
            raise
        if reason:
            self.kill()
        status, memory = self._wait()
        seconds = self._bounds.opening_seconds if "open" in request else self._bounds.page_seconds
        is_idle = not member and (status == 0 or (was_closing and not reason))  # or ended by closing another file
        raise Ended(reason or self._why(status, memory, seconds), member, is_idle=is_idle)

    def close_file(self) -> None:
        """Lets the process close its file, if it is there; nobody waits for that."""
        self.key = None
        if self._process is not None:
            self._is_closing = True
            with contextlib.suppress(OSError):  # the next request will tell
                _write(self._process, json.dumps({"close": True}).encode("ascii"))

    def kill(self) -> None:
        """Ends the process from any thread; one that waits for its answer gets `Ended`."""
        if (process := self._process) is not None:
            self._is_killed = True
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    def end(self) -> None:
        """Ends the process and waits for it; may be called again."""
        self.kill()
        if self._process is not None:
            self._wait()

    def _start(self) -> subprocess.Popen[bytes]:
        self._folder = tempfile.mkdtemp(prefix="polylens-")  # removed here, however the process ends
        environment = {n: value for n, value in os.environ.items() if n in _INHERITED or n.startswith("COVERAGE_")}
        try:
            self._process = subprocess.Popen(
                [*COMMAND, json.dumps(asdict(self._bounds)), self._folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # the remarks of libraries
                env={**environment, **_ONE_THREAD, "TMPDIR": self._folder},
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for whoever asks
            )
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise Ended(f"cannot be read: its reader does not start ({error.strerror})") from error
        return self._process

    def _message(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        length = LENGTH.unpack(self._bytes(process, LENGTH.size))[0]
        if length > MAX_ANSWER:
            raise ValueError(f"an answer of {length:,} bytes")
        answer = json.loads(self._bytes(process, length))
        if not isinstance(answer, dict):
            raise ValueError(f"an answer that is a {type(answer).__name__}")
        return answer

    def _picture(self, process: subprocess.Popen[bytes], size: object) -> PIL.Image.Image | None:
        """Receives the RGB bytes of a picture, strip by strip: it may take most of the memory there is."""
        if size is None:
            return None
        if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int) for side in size):
            raise ValueError(f"a picture of the size {size}")
        width, height = size
        if min(width, height) < 1 or width * height > MAX_IMAGE_PIXELS:
            raise ValueError(f"a picture of {width} x {height} pixels")
        rows = max(1, STRIP // (3 * width))
        if rows >= height:
            return PIL.Image.frombytes("RGB", (width, height), self._bytes(process, 3 * width * height))
        image = PIL.Image.new("RGB", (width, height))
        for top in range(0, height, rows):
            strip = (width, min(rows, height - top))
            image.paste(PIL.Image.frombytes("RGB", strip, self._bytes(process, 3 * strip[0] * strip[1])), (0, top))
        return image

    def _bytes(self, process: subprocess.Popen[bytes], length: int) -> bytearray:
        """Reads so many bytes. Raises TimeoutError, and OSError where the process has ended."""
        assert process.stdout is not None
        output = process.stdout.fileno()
        poll = select.poll()
        poll.register(output, select.POLLIN)
        buffer = bytearray(length)
        view = memoryview(buffer)
        deadline = time.monotonic() + self._bounds.patience
        while view:
            if not poll.poll(_BETWEEN_LOOKS):
                self._memory = max(self._memory, peak_memory(process.pid))
                if time.monotonic() > deadline:
                    raise TimeoutError
                continue
            count = os.readv(output, [view])
            if not count:
                raise BrokenPipeError
            view = view[count:]
        return buffer

    def _wait(self) -> tuple[int, int]:
        """Waits for the end, which comes by itself or soon by force; returns the status and the most bytes it took."""
        process, self._process, self.key, self._is_killed = self._process, None, None, False
        self._is_closing = False
        if process is None:
            return -signal.SIGKILL, 0
        assert process.stdin is not None and process.stdout is not None
        process.stdout.close()
        process.stdin.close()
        memory, self._memory = self._memory, 0
        deadline = time.monotonic() + 5
        while process.returncode is None:
            try:
                pid, status, used = os.wait4(process.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has waited for it
                process.returncode = -signal.SIGKILL
                break
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                if sys.platform != "linux":  # where that begins with what this process has
                    memory = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            elif time.monotonic() > deadline:
                process.kill()
            else:
                time.sleep(0.002)
        shutil.rmtree(self._folder, ignore_errors=True)
        return process.returncode, memory

    def _why(self, status: int, memory: int, seconds: int) -> str:
        """Says why a process ended, as a phrase about what it was reading.

        Args:
            status: Its exit status, or minus the signal.
            memory: The most bytes that it took.
            seconds: The processor time that it was given.
        """
        if status == -getattr(signal, "SIGXCPU", 0):
            return f"is given up: it takes more than {seconds} s"
        # Where a library in C++ gets no memory, it ends the process in any way.
        if status == OUT_OF_MEMORY or (status < 0 and memory > self._bounds.memory / 2):
            return f"is given up: it needs more than {self._bounds.memory / GB:g} GB of memory"
        ended = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"crashed the process that reads it ({ended})"


def _write(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    view = memoryview(LENGTH.pack(len(data)) + data)
    while view:
        view = view[process.stdin.write(view) :]
