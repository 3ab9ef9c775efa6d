"""The process that reads one untrusted file: `python -m polylens.documents.markdown.process FILE WISH`.

WISH is a `Wish` as JSON. It writes one JSON object to standard output: `{"reading": ...}`, or `{"error": message}`.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from polylens.documents.formats.process import run
from polylens.documents.markdown.reading import Reading, Wish
from polylens.errors import DocumentError, InputError

COMMAND = (sys.executable, "-B", "-P", "-m", "polylens.documents.markdown.process")
"""The command of the child, which writes no bytecode and does not import from the working directory."""

MEMORY = 2 * 1024**3  # bytes of address space, the libraries included


def read_apart(data: bytes, wish: Wish, *, seconds: float) -> Reading:
    """Reads an untrusted file in a process of its own, which may crash, hang or ask for all memory.

    Args:
        data: The bytes of the file.
        wish: What is wanted of it; `wish.name` says its kind.
        seconds: The time for it, the start of the process included.

    Raises:
        DocumentError: The file cannot be read, has no text, took too long or crashed the process.
        InputError: A selector is not CSS, or selects nothing.
    """
    with TemporaryDirectory(prefix="polylens-") as folder:
        path = Path(folder) / f"file{Path(wish.name).suffix}"  # its own name is the sender's
        path.write_bytes(data)
        try:
            written = run([*COMMAND, str(path), json.dumps(asdict(wish))], seconds=seconds, memory=MEMORY)
        except DocumentError as error:
            raise DocumentError(f"{wish.name} {error}") from error
    answer: dict[str, Any] = json.loads(written)
    if "error" in answer:
        raise InputError(answer["error"])
    reading = Reading(**answer["reading"])
    for pairs in (reading.links, reading.images, reading.pages):
        pairs[:] = map(tuple, pairs)  # type: ignore[arg-type]  # lists, in JSON
    return reading


def main(path: str, wish: str) -> None:
    """Reads a file, and writes what it found or what is wrong."""
    from polylens.documents.markdown.files import read_file

    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # whatever a library prints must not get into the answer
        try:
            answer: dict[str, Any] = {"reading": asdict(read_file(Path(path), Wish(**json.loads(wish))))}
        except InputError as error:
            called = json.loads(wish)["name"]
            answer = {"error": str(error).replace(path, called).replace(Path(path).name, called)}
        except MemoryError:
            answer = {"error": f"the file needs more than {MEMORY:,} bytes of memory"}
        json.dump(answer, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
