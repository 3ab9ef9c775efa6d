"""Which pages of an index show text that its files do not have as text, and what read it: kept beside the index.

So a later update with another setting, or with more installed, makes these pages anew and no others. The records go by
the hash of a file's content, and by the table of the index, so that an index in the making has its own.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from polylens.documents.ocr.languages import AUTO, OFF, parse
from polylens.documents.ocr.page_reader import Installed, PageReader, require_readable
from polylens.index.storage.base import Storage, joined

if TYPE_CHECKING:
    import pyarrow as pa

    from polylens.index.table.snapshot import Snapshot

VARIABLE = "POLYLENS_OCR"
"""The environment's setting, for an index that has none yet."""


@dataclass(frozen=True, slots=True)
class Record:
    """The pages of a file that a program could read."""

    setting: str
    """Of the update that made them; "" where that is not known."""
    installed: tuple[str, ...]
    """What there was to read with."""
    pages: dict[int, str]
    """What read each page; "" where nothing did."""

    def to_read(self, setting: str, installed: Iterable[str]) -> frozenset[int]:
        """Returns the pages to be made anew.

        Args:
            setting: Of the update under way.
            installed: What there is to read with now.
        """
        if setting == OFF:
            return frozenset(page for page, by in self.pages.items() if by)
        if not installed:
            return frozenset()
        if setting != self.setting:
            return frozenset(self.pages)
        if set(installed) <= set(self.installed):
            return frozenset()
        return frozenset(page for page, by in self.pages.items() if not by)  # another pack may read these


@dataclass(slots=True)
class Records:
    """The records of an index.

    Made by `Records.of`.
    """

    setting: str = ""
    """Of the last update; "" where there was none."""
    is_complete: bool = False
    """Whether a file without a record has no page that a program could read: no update died over it."""
    files: dict[str, Record] = field(default_factory=dict)
    """By the hash of a file's content."""

    @classmethod
    def of(cls, storage: Storage, snapshot: Snapshot) -> Records:
        """Reads the records of an index. What an earlier version or a killed update did not write is looked for."""
        records = cls()
        with contextlib.suppress(FileNotFoundError):
            records = cls.parsed(storage.read(_name(snapshot.manifest.table)))
        if not records.is_complete:
            records._look_for_pages(snapshot)
        return records

    @classmethod
    def parsed(cls, content: bytes) -> Records:
        """Reads what was written; nothing is known where that is damaged."""
        with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
            kept = json.loads(content)
            files = {
                key: Record(each["setting"], tuple(each["installed"]), {int(n): by for n, by in each["pages"].items()})
                for key, each in kept["files"].items()
            }
            return cls(kept["setting"], kept["is_complete"], files)
        return cls()

    def _look_for_pages(self, snapshot: Snapshot) -> None:
        """Adds the pages that have no text, hence a picture, of files without a record."""
        found: dict[str, dict[int, str]] = {}
        for batch in snapshot.columns(["hash", "page", "text"]):
            for row in batch.to_pylist():
                if not row["text"] and row["hash"] not in self.files:
                    found.setdefault(row["hash"], {})[row["page"]] = ""
        self.files |= {key: Record("", (), pages) for key, pages in found.items()}

    def write(self, storage: Storage, table: str, *, before: Mapping[str, Record]) -> None:
        """Keeps them beside the index, in one step; records that other writers made meanwhile stay.

        Args:
            storage: Where the index lies.
            table: Its table.
            before: The records of files as they were last read or written.
        """

        def edited(content: bytes | None) -> bytes:
            files = joined(before, self.files, self.parsed(content or b"{}").files)
            entries = {key: asdict(each) for key, each in files.items()}
            kept = {"setting": self.setting, "is_complete": self.is_complete, "files": entries}
            return json.dumps(kept, ensure_ascii=True).encode()

        with storage.writing():
            storage.change(_name(table), edited)


class PicturePages:
    """The pages of an index that are pictures without a text, during one update.

    Args:
        storage: Where the index lies, open for writing.
        snapshot: Its state before the update.
        setting: The setting of OCR; None is that of the index, or of the environment, or "auto".

    Raises:
        InputError: That is no setting, or nothing here reads one of its languages.
    """

    def __init__(self, storage: Storage, snapshot: Snapshot, setting: str | None = None) -> None:
        self._storage = storage
        self._table = snapshot.manifest.table
        self._records = Records.of(storage, snapshot)
        self._kept: dict[str, Record] = {}  # of its files, as they were last written
        self._setting = parse(setting or self._records.setting or os.environ.get(VARIABLE) or AUTO)
        self._installed = Installed(False, frozenset()) if self._setting == OFF else Installed.here()
        require_readable(self._setting, self._installed)
        self._waiting: Counter[str] = Counter()  # files to be finished, by the hash of their content: there are copies
        self._is_changed = False

    def to_read(self, content: str) -> frozenset[int]:
        """Returns the pages of a known file that are to be made anew.

        Args:
            content: The hash of its content.
        """
        record = self._records.files.get(content)
        return record.to_read(self._setting, self._installed.names) if record else frozenset()

    @property
    def setting(self) -> str:
        """The setting of OCR."""
        return self._setting

    @contextmanager
    def reader(self) -> Iterator[PageReader | None]:
        """What reads the pages; None where they are to be left as they are."""
        if self._setting == OFF:
            yield None
            return
        with PageReader(self._setting, self._installed) as reader:
            yield reader if reader.can_read else None

    def begin(self, contents: Iterable[str]) -> None:
        """Notes that files are about to be made, by the hashes of their contents; whether or not they will be."""
        self._waiting.update(contents)
        self._records.setting, self._records.is_complete = self._setting, False
        self._write()

    def done(self, content: str, read_by: Mapping[int, str]) -> int:
        """Notes what read the pages of a file, which the next `save` keeps.

        Args:
            content: The hash of its content.
            read_by: The pages that were made now, among those that are pictures without a text.

        Returns:
            The number of pages that nothing here could have read, whatever they show.
        """
        self._waiting[content] -= 1
        known = self._records.files.get(content)
        pages = {**(known.pages if known else {}), **read_by}
        if pages and self._waiting[content] <= 0:
            self._records.files[content] = Record(self._setting, self._installed.names, pages)
            self._is_changed = True
        return len(read_by) if self._setting == AUTO and not self._installed.names else 0

    def save(self) -> None:
        """Keeps what was noted of files that are in the index."""
        if self._is_changed:
            self._write()
            self._is_changed = False

    def end(self, contents: Iterable[str], *, has_company: bool = False) -> None:
        """Notes that the update has ended well, with files of these contents in the index.

        Args:
            contents: The hashes of their contents.
            has_company: Whether others write to the index at the same time: whether they end well is not known.
        """
        there = set(contents)
        files = {key: record for key, record in self._records.files.items() if key in there}
        ended = Records(self._setting, not has_company, files)
        if ended != self._records or self._is_changed:
            self._kept = {**self._records.files, **self._kept}
            self._records = ended
            self._write()

    def _write(self) -> None:
        self._records.write(self._storage, self._table, before=self._kept)
        self._kept = dict(self._records.files)


def require_readable_here(setting: str | None) -> None:
    """Refuses a setting that cannot be used here, before anything else is done.

    Raises:
        InputError: It is none, or nothing here reads one of its languages.
    """
    if setting is not None and (setting := parse(setting)) not in (AUTO, OFF):
        require_readable(setting, Installed.here())


def merged(before: pa.Table, made: pa.Table) -> pa.Table:
    """Returns the pages of a file with some of them made anew.

    Args:
        before: Its pages as they were.
        made: Those that take the place of pages of the same numbers.
    """
    import pyarrow as pa
    import pyarrow.compute

    stays = pyarrow.compute.invert(pyarrow.compute.is_in(before.column("page"), made.column("page").combine_chunks()))
    kept = before.filter(stays).select(made.column_names).cast(made.schema)
    return pa.concat_tables([kept, made]).sort_by("page")


def forget(storage: Storage, table: str) -> None:
    """Removes the records of a table that is no more."""
    storage.remove(_name(table))


def _name(table: str) -> str:
    return f"ocr-{table}.json"
