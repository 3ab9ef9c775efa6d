"""What of a folder's files is not searchable, and why: kept beside the index, for the doctor and for later updates."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from polylens.documents.scan import UNSUPPORTED, Contents, scan
from polylens.index.storage.base import Storage, joined

FILE = "unsearchable.json"

EMPTY = "has no pages"

NO_SUFFIX = "without a suffix"

_PAGES = re.compile(r"pages? (\d{1,5})(?: to (\d{1,5}))?")

_ADVICE = {
    "export it as PDF": "dwg dxf vsd vsdx pub one mpp indd ai sketch djvu ps eps",
    "export it as PNG or JPEG": "psd xcf cr2 cr3 nef arw dng raf orf rw2 exr hdr",
    "convert it to EPUB": "mobi azw azw3 fb2 lit",
    "unpack it, or pack it again as .zip": "7z rar tar gz tgz bz2 xz zst",
    "export its tables as CSV": "accdb mdb sqlite sqlite3 db dbf sav dta parquet",
    "keep a transcript beside it as .txt": "mp3 m4a wav flac ogg opus aac wma mp4 m4v mov mkv avi webm wmv mpg mpeg",
}


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
    with contextlib.suppress(FileNotFoundError):
        return _parsed(storage.read(FILE))
    return {}


def write_unsearchable(
    storage: Storage, files: Mapping[str, Unsearchable], *, before: Mapping[str, Unsearchable]
) -> None:
    """Keep them beside the index, in one step; what other writers said of other files meanwhile stays.

    Args:
        storage: Where the index lies.
        files: What this writer found.
        before: What it last read or wrote.
    """

    def edited(content: bytes | None) -> bytes:
        entries = joined(before, files, _parsed(content or b"{}"))
        return json.dumps(
            {file: asdict(entry) for file, entry in entries.items()}, ensure_ascii=True, indent=1
        ).encode()

    storage.change(FILE, edited)


def _parsed(content: bytes) -> dict[str, Unsearchable]:
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        return {file: Unsearchable(**entry) for file, entry in json.loads(content).items()}
    return {}


@dataclass(frozen=True, slots=True)
class UnreadKind:
    """Files of one kind that is not read."""

    kind: str
    """The suffix, in lower case and with its dot; `NO_SUFFIX` for files that have none."""
    count: int
    advice: str | None
    """What makes such a file searchable; None where nothing is known."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that is not searchable, or a part of one."""

    file: str
    reason: str
    part: str | None = None
    """Such as "page 2"; None for the whole file."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything of a folder that is not searchable."""

    files: tuple[Missing, ...] = ()
    """First whole files, then parts of others, each in the order of the names. Unsupported kinds are counted below."""
    kinds: tuple[UnreadKind, ...] = ()
    """The commonest first."""

    def counts(self) -> dict[str, int]:
        """Files that are not searchable, those searchable in part, and those of kinds that are not read."""
        whole = sum(each.part is None for each in self.files)
        partly = len({each.file for each in self.files if each.part is not None})
        return {"files": whole, "partly": partly, "other_kinds": sum(each.count for each in self.kinds)}

    def lines(self) -> Iterator[str]:
        """Names each file and part with its reason; kinds are counted in the first line."""
        if self.kinds:
            counted = ", ".join(f"{each.count} {each.kind}" for each in self.kinds)
            yield f"not searchable, as files of these kinds are not read: {counted}"
        for advice in dict.fromkeys(each.advice for each in self.kinds if each.advice):
            yield f"to search {', '.join(each.kind for each in self.kinds if each.advice == advice)}: {advice}"
        for each in self.files:
            yield str_of(each)


def str_of(missing: Missing) -> str:
    """A file or a part that is not searchable, as a line."""
    if missing.part is None:
        return f"not searchable: {missing.file}: {missing.reason}"
    return f"searchable in part: {missing.file}, without {missing.part}: {missing.reason}"


def listed(
    passed_over: Iterable[tuple[str, str]],
    failed: Iterable[tuple[str, str]],
    partly: Iterable[tuple[str, str, str]],
) -> Listing:
    """Everything that is not searchable, from what an update or a scan says of files; see `progress.Report`.

    Args:
        passed_over: File and reason, of files without pages. Those of an unsupported kind are counted, not named.
        failed: File and reason, of files that cannot be read.
        partly: File, part and reason.
    """
    passed_over = list(passed_over)
    whole = [*((file, reason) for file, reason in passed_over if reason != UNSUPPORTED), *failed]
    return Listing(
        (
            *(Missing(file, bare(reason, file)) for file, reason in sorted(whole)),
            *(Missing(file, reason, part) for file, part, reason in partly),
        ),
        _kinds(passed_over),
    )


def still_true(contents: Contents, kept: Mapping[str, Unsearchable]) -> dict[str, Unsearchable]:
    """What was found of the files of a folder that are still in the same state.

    Args:
        contents: The folder as it is now.
        kept: What updates found, from `read_unsearchable`.
    """
    return {file: each for file, each in kept.items() if (now := contents.files.get(file)) and each.is_of(now)}


def listing_of(contents: Contents, found: Mapping[str, Unsearchable]) -> Listing:
    """Everything of a folder that is not searchable.

    Args:
        contents: The folder as it is now.
        found: What was found of its files, in the state in which they are now.
    """
    failed = [*contents.failed, *((file, each.reason) for file, each in found.items() if each.reason)]
    return listed(contents.passed_over, failed, _parts(found))


def read_listing(storage: Storage, folder: Path | None) -> Listing:
    """Everything of a library that is not searchable, as far as its last update knows.

    Args:
        storage: Where the index lies.
        folder: Its files; None where they are not on this machine, so that unsupported kinds are not known.

    Raises:
        DocumentError: The folder cannot be entered.
    """
    kept = read_unsearchable(storage)
    if folder is None:
        return listed([], [(file, each.reason) for file, each in kept.items() if each.reason], _parts(kept))
    contents = scan(folder)
    return listing_of(contents, still_true(contents, kept))


def _parts(found: Mapping[str, Unsearchable]) -> Iterator[tuple[str, str, str]]:
    for file, each in sorted(found.items()):
        for part, reason in each.parts.items():
            yield file, part, reason


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
    return ", ".join(f"{each.count} {each.kind}" for each in _kinds(files))


def _kinds(files: Iterable[tuple[str, str]]) -> tuple[UnreadKind, ...]:
    suffixes = (PurePosixPath(file).suffix.lower() for file, reason in files if reason == UNSUPPORTED)
    counts = Counter(suffix or NO_SUFFIX for suffix in suffixes)
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return tuple(UnreadKind(kind, count, _advice(kind)) for kind, count in ordered)


def _advice(kind: str) -> str | None:
    return next((advice for advice, kinds in _ADVICE.items() if kind.removeprefix(".") in kinds.split()), None)
