"""Runs a program that reads an untrusted file, within limits of time, memory and disk."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from polylens.errors import DocumentError

MAX_WRITTEN = 512 * 1024 * 1024  # bytes of each file that the program writes

# Sets its own limits and then becomes the program, so that whatever that starts has them, too.
_LAUNCH = """
import os, resource, sys
for kind, value in zip((resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE),
                       map(int, sys.argv[1:5])):
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(kind, (value, value))
    except (OSError, ValueError):  # macOS refuses to limit the address space
        pass
os.execvp(sys.argv[5], sys.argv[5:])
"""


def run(
    command: Sequence[str],
    data: bytes = b"",
    *,
    seconds: float,
    memory: int,
    environment: Mapping[str, str] | None = None,
) -> bytes:
    """Runs a program in a session of its own, and ends all of that when the time is up.

    Args:
        command: The program and its arguments.
        data: Its standard input.
        seconds: Time by the clock, and of each process by the CPU.
        memory: Bytes of address space of each process.
        environment: Variables added to those of this process.

    Returns:
        The standard output.

    Raises:
        DocumentError: The program does not start, fails or takes too long; the message names no file.
    """
    launch: list[str] = []
    if sys.platform != "win32":
        limits = (int(seconds) + 1, memory, MAX_WRITTEN, 0)
        launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, *map(str, limits)]
    try:
        process = subprocess.Popen(
            [*launch, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    except OSError as error:
        raise DocumentError(f"cannot be read: {command[0]} does not start ({error.strerror})") from error
    try:
        out, _ = process.communicate(data, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise DocumentError(f"is given up after {seconds:.0f} s") from error
    finally:
        _end(process)
    if process.returncode == -signal.SIGKILL or process.returncode == -getattr(signal, "SIGXCPU", 0):
        raise DocumentError(f"is given up: it takes more than {seconds:.0f} s or {memory / 2**30:.0f} GB")
    if process.returncode:
        raise DocumentError(f"cannot be read (exit code {process.returncode})")
    return out


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a program with all that it has started, and waits for it."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all of it has ended
            os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
