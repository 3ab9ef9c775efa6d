"""What of a folder's files is not searchable, and why: kept beside the index, for the doctor and for later updates."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath

from polylens.documents.scan import UNSUPPORTED, Contents
from polylens.index.storage.base import Storage

FILE = "unsearchable.json"

EMPTY = "has no pages"

_PAGES = re.compile(r"pages? (\d{1,5})(?: to (\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Unsearchable:
    """A file of which nothing can be searched, or not everything, in the state in which it was read."""

    size: int
    mtime_ns: int
    reason: str = ""
    """Why nothing of it can be searched; "" where only parts cannot."""
    parts: dict[str, str] = field(default_factory=dict)
    """Why a part cannot be searched, by the part's name: "page 2"."""

    @classmethod
    def of(cls, status: os.stat_result, *, reason: str = "", parts: Mapping[str, str] | None = None) -> Unsearchable:
        """What is said of a file in the state that `status` gives."""
        return cls(status.st_size, status.st_mtime_ns, reason, dict(parts or {}))

    def is_of(self, status: os.stat_result) -> bool:
        """Whether a file with this size and time is the one that was read."""
        return (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)

    @property
    def missing_pages(self) -> frozenset[int]:
        """The numbers of the pages that the index does not have."""
        found = (_PAGES.fullmatch(part) for part in self.parts)
        spans = ((int(match[1]), int(match[2] or match[1])) for match in found if match)
        return frozenset(number for first, last in spans for number in range(first, last + 1))


def read_unsearchable(storage: Storage) -> dict[str, Unsearchable]:
    """The files that the last update found unsearchable, or in part; none where none is known."""
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError, AttributeError):
        kept = json.loads(storage.read(FILE))
        return {file: Unsearchable(**entry) for file, entry in kept.items()}
    return {}


def write_unsearchable(storage: Storage, files: Mapping[str, Unsearchable]) -> None:
    """Keep them beside the index, in one step."""
    entries = {file: asdict(entry) for file, entry in sorted(files.items())}
    storage.write(FILE, json.dumps(entries, ensure_ascii=True, indent=1).encode())


def described(contents: Contents, found: Mapping[str, Unsearchable]) -> Iterator[str]:
    """Names every file that is not searchable, or only in part, with its reason; unsupported kinds are counted.

    Args:
        contents: The folder as it is now.
        found: What was found of its files, in the state in which they are now.
    """
    if kinds := count_kinds(contents.passed_over):
        yield f"not searchable, as files of these kinds are not read: {kinds}"
    named = [(file, reason) for file, reason in contents.passed_over if reason != UNSUPPORTED]
    named += [*contents.failed, *((file, each.reason) for file, each in found.items() if each.reason)]
    for file, reason in sorted(named):
        yield f"not searchable: {file}: {bare(reason, file)}"
    for file, each in sorted(found.items()):
        for part, reason in each.parts.items():
            yield f"searchable in part: {file}, without {part}: {reason}"


def bare(reason: str, file: str) -> str:
    """A reason without the name of the file, which is said beside it."""
    return reason.removeprefix(PurePosixPath(file).name).removeprefix(":").strip()


def count_kinds(files: Iterable[tuple[str, str]]) -> str:
    """How many files there are of each unsupported kind, in words, the commonest first; "" where there are none.

    Args:
        files: File and reason, of files that were passed over.

    Example:
        >>> count_kinds([("a.mp3", UNSUPPORTED), ("b.MP3", UNSUPPORTED), ("notes", UNSUPPORTED), ("c.txt", EMPTY)])
        '2 .mp3, 1 without a suffix'
    """
    suffixes = (PurePosixPath(file).suffix.lower() for file, reason in files if reason == UNSUPPORTED)
    counts = Counter(suffix or "without a suffix" for suffix in suffixes)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])))
