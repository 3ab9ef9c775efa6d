"""Programs that read untrusted files: they end in time, with all that they have started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.support.waiting import until

from polylens.documents.formats.process import run
from polylens.errors import DocumentError

GB = 1024**3


def python(code: str, *, seconds: float = 60.0, memory: int = 2 * GB, data: bytes = b"") -> bytes:
    return run([sys.executable, "-I", "-S", "-c", code], data, seconds=seconds, memory=memory)


def test_input_and_output() -> None:
    code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])"
    assert python(code, data=b"abc" * 100_000) == b"cba" * 100_000
    assert python("pass", data=b"never read" * 100_000) == b""


def test_it_fails() -> None:
    with pytest.raises(DocumentError, match=r"^cannot be read \(exit code 3\)$"):
        python("raise SystemExit(3)")
    with pytest.raises(DocumentError, match=r"exit code|does not start"):
        run(["/no/such/program"], seconds=60, memory=GB)


def test_memory() -> None:
    with pytest.raises(DocumentError, match="exit code 1"):
        python("bytearray(3 * 1024**3)")


def test_time_of_all_that_it_started(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    child = "import time; time.sleep(600)"
    code = (
        "import subprocess, sys, pathlib, time\n"
        f"started = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        f"pathlib.Path({str(told)!r}).write_text(str(started.pid))\n"
        "time.sleep(600)\n"
    )
    with pytest.raises(DocumentError, match=r"^is given up after 2 s$"):
        python(code, seconds=2)

    def is_gone() -> bool:
        try:
            state = Path(f"/proc/{told.read_text()}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        return state == "Z"  # waits for whoever inherited it

    if sys.platform == "linux":
        until(is_gone)


def test_it_reads_nothing_of_the_terminal_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert python("import sys; print('remark', file=sys.stderr); print(sys.stdin.read())") == f"{os.linesep}".encode()
    assert capfd.readouterr() == ("", "")
