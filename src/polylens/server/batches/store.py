"""The folder of files and batches: one server at a time, bounded, and whole after `kill -9`.

lock                      held by the server that keeps the folder
file-ID.jsonl  .json      a file and its record, which is written last
batch_ID.json             the record of a batch
batch_ID.output .errors   the answers so far, one line each, in the order of the requests
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from polylens.atomic import write_beside
from polylens.errors import BusyError, InputError, LibraryBusyError, NotFoundError, StorageError, TooLargeError
from polylens.index.storage.lock import WriterLock
from polylens.server.batches.record import UNFINISHED, WINDOW_SECONDS, BatchRecord, FileRecord, is_id, new_id

MAX_FILES = 10_000  # of one owner, and as many batches
DAY = 24 * 3600
LISTS = {"file": "/v1/files", "batch": "/v1/batches"}

_log = logging.getLogger(__name__)

Record = TypeVar("Record", FileRecord, BatchRecord)


class BatchStore:
    """The files and batches in a folder. Methods block, and may be called from several threads.

    Every method raises BusyError where another server keeps the folder, and StorageError where it cannot be used.

    Args:
        folder: The folder; it is made at the first upload.
        most_bytes: The most bytes of all files and answers together.
        days: After which a file, and a batch that ended, is deleted.
    """

    def __init__(self, folder: Path, most_bytes: int, days: int) -> None:
        self._folder, self._most, self._days = folder, most_bytes, days
        self._guard = threading.RLock()
        self._lock: WriterLock | None = None
        self._files: dict[str, FileRecord] = {}
        self._batches: dict[str, BatchRecord] = {}

    def open(self) -> None:
        """Takes the folder and reads what it holds; harmless when repeated.

        Raises:
            BusyError: Another server keeps it.
            StorageError: It cannot be made or written to.
        """
        with self._guard:
            if self._lock is not None:
                return
            try:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._lock = WriterLock(self._folder / "lock")
            except LibraryBusyError as busy:
                raise BusyError(
                    f"another server keeps its batches in {self._folder}; start this one with --batches FOLDER"
                ) from busy
            except (OSError, InputError) as error:
                raise self._unusable(error) from error
            self._files.update(_read(self._folder, "file-", FileRecord))
            self._batches.update(_read(self._folder, "batch_", BatchRecord))
            self._remove_old()

    def open_if_there(self) -> None:
        """Takes the folder where an earlier server left one."""
        if self._lock is None and self._folder.is_dir():
            self.open()

    def close(self) -> None:
        """Lets the next server in."""
        with self._guard:
            if self._lock is not None:
                self._lock.close()
            self._lock = None
            self._files.clear()
            self._batches.clear()

    # Files

    def add_file(self, owner: str, filename: str, content: bytes) -> FileRecord:
        """Keeps an uploaded file.

        Raises:
            TooLargeError: All files together would exceed the limit.
            InputError: The owner has too many.
            StorageError: It cannot be written.
        """
        self.open()
        with self._guard:
            self._remove_old()
            if len(self.files(owner)) >= MAX_FILES:
                raise InputError(f"a key may have at most {MAX_FILES:,} files; delete some that are not needed")
            self.require_room(len(content))
            record = self._new_file(owner, filename, "batch", len(content))
            try:
                with write_beside(self.path(record.id)) as beside:
                    beside.write_bytes(content)
            except OSError as error:
                raise self._unusable(error) from error
            return self._keep(self._files, record)

    def files(self, owner: str) -> list[FileRecord]:
        """An owner's files, newest first."""
        self.open_if_there()
        with self._guard:
            return _newest(each for each in self._files.values() if each.owner == owner)

    def file(self, file_id: str, owner: str) -> FileRecord:
        """One file.

        Raises:
            NotFoundError: The owner has no such file.
        """
        return self._owned(self._files, file_id, owner, "file")

    def path(self, file_id: str) -> Path:
        """Where a file's content lies."""
        return self._folder / f"{file_id}.jsonl"

    def delete_file(self, file_id: str, owner: str) -> None:
        """Deletes a file.

        Raises:
            NotFoundError: The owner has no such file.
            BusyError: A batch that is under way reads it.
        """
        with self._guard:
            record = self.file(file_id, owner)
            if any(each.input_file_id == record.id for each in self.unfinished()):
                raise BusyError(f"file {record.id} is being read by a batch; cancel that first")
            self._remove(self._files, record.id)

    # Batches

    def add_batch(self, owner: str, endpoint: str, input_file_id: str, metadata: dict[str, str] | None) -> BatchRecord:
        """Puts a batch into the queue.

        Raises:
            NotFoundError: The owner has no such file.
            InputError: The owner has too many batches.
        """
        with self._guard:
            if self.file(input_file_id, owner).purpose != "batch":
                raise InputError(f"{input_file_id} is the output of a batch; upload a file with purpose 'batch'")
            if len(self.batches(owner)) >= MAX_FILES:
                raise InputError(
                    f"a key may have at most {MAX_FILES:,} batches; the oldest are deleted after some days"
                )
            now = int(time.time())
            record = BatchRecord(
                id=new_id("batch_"),
                owner=owner,
                endpoint=endpoint,
                input_file_id=input_file_id,
                created_at=now,
                expires_at=now + WINDOW_SECONDS,
                metadata=metadata,
            )
            return self._keep(self._batches, record)

    def batches(self, owner: str) -> list[BatchRecord]:
        """An owner's batches, newest first."""
        self.open_if_there()
        with self._guard:
            return _newest(each for each in self._batches.values() if each.owner == owner)

    def batch(self, batch_id: str, owner: str) -> BatchRecord:
        """One batch.

        Raises:
            NotFoundError: The owner has no such batch.
        """
        return self._owned(self._batches, batch_id, owner, "batch")

    def unfinished(self) -> list[BatchRecord]:
        """All batches that are waiting or under way, oldest first."""
        with self._guard:
            return _newest(each for each in self._batches.values() if each.status in UNFINISHED)[::-1]

    def cancel(self, batch_id: str, owner: str) -> BatchRecord:
        """Asks a batch to end; one that has ended stays as it is.

        Raises:
            NotFoundError: The owner has no such batch.
        """
        with self._guard:
            record = self.batch(batch_id, owner)
            return self.change(batch_id, status="cancelling") if record.status in UNFINISHED else record

    def change(self, batch_id: str, **fields: Any) -> BatchRecord:
        """Changes a batch; a new status gets its time. One that is being cancelled stays so until it ends."""
        with self._guard:
            record = self._batches[batch_id]
            if record.status == "cancelling" and fields.get("status") in UNFINISHED:
                del fields["status"]
            if "status" in fields:
                fields["times"] = {**record.times, f"{fields['status']}_at": int(time.time())}
            return self._keep(self._batches, replace(record, **fields))

    # Answers

    def answers(self, batch_id: str, kind: str) -> Path:
        """Where the answers of a batch are gathered: "output" or "errors"."""
        return self._folder / f"{batch_id}.{kind}"

    def gather(self, batch_id: str, kind: str, lines: list[bytes]) -> None:
        """Adds lines to the answers of a batch.

        Raises:
            TooLargeError: All files together would exceed the limit.
        """
        self.require_room(sum(map(len, lines)))
        try:
            with self.answers(batch_id, kind).open("ab") as file:
                file.write(b"".join(lines))
        except OSError as error:
            raise self._unusable(error) from error

    def finish(self, batch_id: str, **fields: Any) -> BatchRecord:
        """Ends a batch: its answers become files."""
        with self._guard:
            record = self._batches[batch_id]
            for kind, name in (("output", "output_file_id"), ("errors", "error_file_id")):
                gathered = self.answers(batch_id, kind)
                size = gathered.stat().st_size if gathered.exists() else 0
                if size:
                    file = self._new_file(record.owner, f"{batch_id}_{kind}.jsonl", "batch_output", size)
                    gathered.replace(self.path(file.id))
                    self._keep(self._files, file)
                    fields[name] = file.id
                else:
                    gathered.unlink(missing_ok=True)
            return self.change(batch_id, **fields)

    def require_room(self, nbytes: int) -> None:
        """Refuses what would exceed the limit.

        Raises:
            TooLargeError: It would.
        """
        held = sum(path.stat().st_size for path in self._folder.iterdir() if path.is_file())
        if held + nbytes > self._most:
            raise TooLargeError(
                f"files and answers of batches would take more than {self._most:,} bytes together, the limit of this "
                "server; delete files that are not needed"
            )

    def _new_file(self, owner: str, filename: str, purpose: str, size: int) -> FileRecord:
        now = int(time.time())
        return FileRecord(
            id=new_id("file-"),
            owner=owner,
            filename=filename,
            purpose=purpose,
            bytes=size,
            created_at=now,
            expires_at=now + self._days * DAY,
        )

    def _keep(self, records: dict[str, Record], record: Record) -> Record:
        """Writes a record to disk, then to memory."""
        try:
            with write_beside(self._folder / f"{record.id}.json") as beside:
                beside.write_text(json.dumps(asdict(record)), encoding="utf-8")
        except OSError as error:
            raise self._unusable(error) from error
        records[record.id] = record
        return record

    def _owned(self, records: dict[str, Record], name: str, owner: str, what: str) -> Record:
        self.open_if_there()
        with self._guard:
            record = records.get(name)
        if record is None or record.owner != owner:
            raise NotFoundError(
                f"there is no {what} {name[:40]!r} of this key; GET {LISTS[what]} names those there are"
            )
        return record

    def _remove(self, records: dict[str, Any], name: str) -> None:
        for suffix in (".json", ".jsonl", ".output", ".errors"):
            (self._folder / f"{name}{suffix}").unlink(missing_ok=True)
        del records[name]

    def _remove_old(self) -> None:
        """Deletes what has outlived its days, and what a killed server left half-written."""
        now = time.time()
        busy = {each.input_file_id for each in self.unfinished()}
        for record in list(self._files.values()):
            if record.expires_at < now and record.id not in busy:
                self._remove(self._files, record.id)
        for batch in list(self._batches.values()):
            if batch.status not in UNFINISHED and batch.created_at + self._days * DAY < now:
                self._remove(self._batches, batch.id)
        known = self._files.keys() | self._batches.keys()
        for path in self._folder.iterdir():
            name = path.name.partition(".")[0]
            orphan = name not in known and not (self._folder / f"{name}.json").exists()
            if is_id(name) and (orphan or path.suffix == ".partial"):
                path.unlink(missing_ok=True)

    def _unusable(self, error: Exception) -> StorageError:
        reason = getattr(error, "strerror", None) or error
        return StorageError(
            f"batches cannot be kept in {self._folder} ({reason}); start the server with --batches and a folder that "
            "it can write to"
        )


def _newest(records: Iterator[Record]) -> list[Record]:
    return sorted(records, key=lambda record: record.id, reverse=True)


def _read(folder: Path, prefix: str, kind: type[Record]) -> Iterator[tuple[str, Record]]:
    """The records in a folder; one that cannot be read is named in the log and skipped."""
    for path in sorted(folder.glob(f"{prefix}*.json")):
        try:
            record = kind(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            _log.warning("%s cannot be read (%s) and is skipped", path.name, type(error).__name__)
        else:
            yield record.id, record
