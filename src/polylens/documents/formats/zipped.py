"""Zip archives and comics (.cbz): the pages of each file in them. Archives inside archives are named, not opened."""

from __future__ import annotations

import os
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from polylens.documents.document import Document
from polylens.documents.formats.archive import MAX_UNPACKED
from polylens.documents.formats.blocks import Block, heading, item, joined
from polylens.documents.formats.bundle import (
    NO_PAGES,
    Bundle,
    Member,
    OpenFile,
    open_bytes,
    plain_name,
    shown_name,
    state_of,
)
from polylens.documents.splitting import split
from polylens.errors import DocumentError

MAX_ENTRIES = 10_000  # files per archive; the others are counted
MAX_ENTRY = 128 * 1024 * 1024  # bytes unpacked per file in it
MAX_RATIO = 200  # bytes unpacked per byte packed, for a file of more than a megabyte; what people make stays below 50
MAX_LISTED = 1_000  # names among the contents
MAX_DIRECTORY = 16 * 1024 * 1024  # bytes of the list of files at the end of an archive: some 200,000 names

_SMALL = 1024 * 1024
_ARCHIVES = frozenset({".zip", ".cbz"})
_HIDDEN = frozenset({"__MACOSX", "__pycache__", "node_modules", "Thumbs.db", "desktop.ini"})


def open_zip(path: Path, open_file: OpenFile | None) -> Document:
    """Opens an archive. Its first pages list its contents; in a comic there is no such list.

    Args:
        path: The archive.
        open_file: Opens the files in it; None if the archive lies inside another file, so that they are listed only.

    Raises:
        DocumentError: The file is damaged, no zip archive, or protected by a password.
    """
    archive = _opened(path)
    entries = [entry for entry in archive.infolist() if not entry.is_dir() and not _is_hidden(entry.filename)]
    if entries and all(entry.flag_bits & 1 for entry in entries):
        archive.close()
        raise DocumentError(f"{path.name} is protected by a password")
    is_comic = path.suffix.lower() == ".cbz"
    if is_comic:
        entries.sort(key=lambda entry: _natural(entry.filename))
    members = list(_members(path.name, archive, entries, open_file))

    def head(reasons: Mapping[str, str]) -> Sequence[str]:
        listed = [(member.name, reasons.get(member.name, "")) for member in members]
        if is_comic:
            listed = [(name, reason) for name, reason in listed if reason]
        return list(split(joined(_contents(path.name, listed, len(entries))))) if listed else []

    return Bundle("document", members, head, key=state_of(path, open_file is None), close=archive.close)


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        if _directory_size(path) > MAX_DIRECTORY:
            raise DocumentError(
                f"{path.name} lists more files than {MAX_DIRECTORY // 2**20} MB of names hold; split it"
            )
        return zipfile.ZipFile(path)
    except DocumentError:
        raise
    except OSError as error:
        raise DocumentError(f"{path.name} cannot be opened ({error.strerror or error})") from error
    except Exception as error:  # a fuzzed directory raises more than BadZipFile
        is_empty = not path.stat().st_size
        reason = "is empty (0 bytes)" if is_empty else "is damaged, or no zip archive in spite of its name"
        raise DocumentError(f"{path.name} {reason}") from error


def _directory_size(path: Path) -> int:
    """Returns the size that an archive declares for its list of files, in bytes; 0 if there is none."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(-min(size, 66_000), os.SEEK_END)  # the last record, and a comment of at most 64 KB
        tail = file.read()
    sizes = [0]
    for mark, offset, form in ((b"PK\5\6", 12, "<L"), (b"PK\6\6", 40, "<Q")):  # the second is that of zip64
        place = tail.rfind(mark)
        if place >= 0 and place + offset + struct.calcsize(form) <= len(tail):
            [found] = struct.unpack_from(form, tail, place + offset)
            sizes.append(0 if form == "<L" and found == 0xFFFFFFFF else min(found, size))
    return max(sizes)


def _members(
    archive_name: str, archive: zipfile.ZipFile, entries: Sequence[zipfile.ZipInfo], open_file: OpenFile | None
) -> Iterator[Member]:
    left = MAX_UNPACKED
    seen: set[str] = set()
    for entry in entries[:MAX_ENTRIES]:
        name = f"{shown_name(archive_name)}/{shown_name(_decoded(entry))}"
        while name in seen:  # an archive may hold a name twice
            name += "’"
        seen.add(name)
        left -= entry.file_size
        yield Member(name, partial(_open_entry, archive, entry, left < 0, open_file), name)


def _open_entry(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, is_beyond: bool, open_file: OpenFile | None
) -> Document:
    """Opens a file in an archive, unless it is of a kind without pages, locked, or unpacks to too much."""
    from polylens.documents.opening import kind_of

    name = _decoded(entry)
    if PurePosixPath(name).suffix.lower() in _ARCHIVES:
        raise DocumentError("is an archive inside another; unpack it to have it searched")
    if kind_of(plain_name(name)) is None:
        raise DocumentError(NO_PAGES)
    if entry.flag_bits & 1:
        raise DocumentError("is protected by a password")
    size, packed = entry.file_size, max(entry.compress_size, 1)
    if size > MAX_ENTRY or (size > _SMALL and size > MAX_RATIO * packed):
        raise DocumentError(f"is too large when unpacked: {size / 2**20:,.0f} MB, from {packed / 2**20:,.2f} MB")
    if is_beyond:
        raise DocumentError(f"is left out, because the archive unpacks to more than {MAX_UNPACKED // 2**30} GB")
    try:
        data = archive.read(entry) if open_file else b""  # which nobody would look at
    except Exception as error:  # damage raises almost anything, and a method that Python lacks NotImplementedError
        raise DocumentError(f"is damaged ({type(error).__name__})") from error
    return open_bytes(name, data, open_file)


def _contents(archive_name: str, listed: Sequence[tuple[str, str]], num_entries: int) -> Iterable[Block]:
    yield heading(shown_name(archive_name), 1)
    for name, reason in listed[:MAX_LISTED]:
        bare = name.partition("/")[2]
        yield item(f"{bare} ({reason})" if reason else bare)
    if num_entries > MAX_LISTED:
        yield Block(
            f"(Only {MAX_LISTED:,} of {num_entries:,} names are listed; {MAX_ENTRIES:,} files at most are read.)"
        )


def _decoded(entry: zipfile.ZipInfo) -> str:
    """Returns the name of a file: UTF-8 where it can be, as most programs write it even if they do not say so."""
    if entry.flag_bits & 0x800:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename


def _is_hidden(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return any(part in _HIDDEN or (part.startswith(".") and part not in (".", "..")) for part in parts)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts page10 after page9.

    Example:
        >>> sorted(["p10.png", "p9.png", "cover.png"], key=_natural)
        ['cover.png', 'p9.png', 'p10.png']
    """
    return [(int(part), "") if part.isdecimal() and len(part) < 20 else (-1, part) for part in re.split(r"(\d+)", name)]
