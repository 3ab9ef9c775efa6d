"""The store of few-shot classifiers: where they are kept, the rights of their owners, and concurrent changes."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from polylens.errors import BusyError, InputError, LabelError, NotFoundError, StorageUnavailableError
from polylens.server.classifiers.learner import fit, unit_rows
from polylens.server.classifiers.record import (
    UNREADABLE,
    Access,
    Classifier,
    ClassifierRecord,
    canonical_id,
    pack,
    read_classifier,
    read_record,
    record_of,
    with_weights,
)
from polylens.server.classifiers.shelf import open_shelf
from polylens.types import FloatArray

MAX_LABELS = 512  # of one classifier
MAX_CLASSIFIERS = 1_000  # of one owner
TRIES = 4  # to train a classifier further while other servers do
USES_SECONDS = 10.0  # between two counts of uses on a shared shelf

_log = logging.getLogger(__name__)


class ClassifierStore:
    """The classifiers on a shelf, for any number of threads, and of servers where the shelf is in a bucket.

    `<id>.npz` holds record and weights and is replaced as a whole; `<id>.json` beside it counts uses and may be lost.
    Records are kept in memory, weights are not. A file that cannot be read is named in the log and skipped.

    In a bucket the memory only saves reading what has not changed since, by its tag. A classifier is replaced if it is
    still the one that was trained further; otherwise it is read again and learns the samples on top of what another
    server taught it. Uses are counted there every few seconds.

    Args:
        place: The folder of the classifiers, which is made when the first one is trained, or `s3://BUCKET/PREFIX`.

    Raises:
        InputError: It is no such address, or what object storage needs is not installed.
    """

    def __init__(self, place: str | Path) -> None:
        self._shelf = open_shelf(place)
        self._lock = threading.Lock()  # over the dictionaries and the counts; never held while learning
        self._records: dict[str, ClassifierRecord] = {}
        self._tags: dict[str, str] = {}  # of the files of a shared shelf, as they were last read
        self._uses: dict[str, tuple[float, int]] = {}  # id -> time, and uses since that are not yet on a shared shelf
        self._claims: dict[str, str] = {}  # id -> owner, of each classifier that is being changed at the moment
        if not self._shelf.is_shared:
            self._read_changed()

    def train(
        self,
        *,
        owner: str,
        model: str,
        model_id: str,
        vectors: FloatArray,
        labels: Sequence[str],
        num_iters: int,
        access: Access,
    ) -> Classifier:
        """Trains a new classifier.

        Args:
            owner: The only one who may change it. It is stored on disk: a name or a fingerprint, not a key.
            model: Name of the embedding model.
            model_id: Fingerprint of the embedding model.
            vectors: One vector per sample. Only their direction counts.
            labels: One label per sample.
            num_iters: The number of passes over the samples.
            access: Whether others may use it.

        Raises:
            LabelError: There are fewer than two labels, or more than `MAX_LABELS`.
            InputError: The vectors do not fit the labels, or the owner has `MAX_CLASSIFIERS`. (Servers that train at
                the same moment may exceed it by one each.)
            StorageError: It cannot be kept.
        """
        classifier_id, now = str(uuid.uuid4()), _now()
        record = ClassifierRecord(
            classifier_id=classifier_id,
            owner=owner,
            model=model,
            model_id=model_id,
            labels=(),
            access=access,
            created_at=now,
            updated_at=now,
            updated_number=0,
        )
        with self._claimed(classifier_id, owner):
            self._require_room(owner)
            empty = np.zeros((0, np.shape(vectors)[-1] if np.ndim(vectors) == 2 else 0), np.float32)
            made = self._written(_learn(record, empty, vectors, labels, num_iters), None)
            assert made is not None, "nobody else has this id"
            return made

    def update(
        self,
        classifier_id: str,
        *,
        owner: str,
        model_id: str,
        vectors: FloatArray,
        labels: Sequence[str],
        num_iters: int,
    ) -> Classifier:
        """Trains a classifier further. New labels are added to those it knows. The arguments are those of `train`.

        Raises:
            NotFoundError: The owner has no such classifier.
            BusyError: Another request is changing it; nothing was learned.
            ModelMismatchError: The vectors are of another model.
            LabelError: There would be more than `MAX_LABELS`.
            InputError: The vectors do not fit the labels or the classifier.
        """
        key = self._key_of(classifier_id, owner)
        with self._claimed(key, owner):
            for _ in range(TRIES):
                known, tag = self._owned(key, owner)  # again: it may have been changed or deleted before the claim
                known.require_model(model_id)
                record = replace(record_of(known), updated_at=_now(), updated_number=known.updated_number + 1)
                if made := self._written(_learn(record, known.weights, vectors, labels, num_iters), tag):
                    return made
        raise _busy(key)

    def get(self, classifier_id: str, *, owner: str) -> Classifier:
        """Loads a classifier for its owner, or for anyone where it is public.

        Raises:
            NotFoundError: It does not exist, or belongs to somebody else; the message does not say which.
            StorageUnavailableError: Object storage does not answer, or refuses.
        """
        classifier, _ = self._read(classifier_id)
        if classifier.access != "public" and classifier.owner != owner:
            raise _not_found(classifier_id)
        return classifier

    def list(self, owner: str) -> list[ClassifierRecord]:
        """The records of an owner's classifiers, oldest first.

        Raises:
            StorageUnavailableError: Object storage does not answer, or refuses.
        """
        if self._shelf.is_shared:
            self._read_changed()
        with self._lock:
            own = [record for record in self._records.values() if record.owner == owner]
        return sorted(own, key=lambda record: (record.created_at, record.classifier_id))

    def delete(self, classifier_id: str, *, owner: str) -> None:
        """Deletes a classifier.

        Raises:
            NotFoundError: The owner has no such classifier.
            BusyError: Another request is changing it.
        """
        key = self._key_of(classifier_id, owner)
        with self._claimed(key, owner):
            self._key_of(key, owner)  # again: it may have been deleted before the claim
            self._shelf.remove(_file(key))
            self._shelf.remove(_uses_file(key))
            with self._lock:
                self._forget(key)

    def used(self, classifier_id: str) -> None:
        """Counts one use of a classifier, unless it has been deleted meanwhile."""
        with self._lock:
            record = self._records.get(canonical_id(classifier_id))
            if record is None:
                return
            key = record.classifier_id
            record = replace(record, used_at=_now(), used_number=record.used_number + 1)
            self._records[key] = record
            if not self._shelf.is_shared:  # under the lock, so that the last count is the last to be written
                self._count(key, lambda _: _packed_uses(record.used_at, record.used_number))
                return
            since, uses = self._uses.get(key, (0.0, 0))
            if time.monotonic() - since < USES_SECONDS:
                self._uses[key] = since, uses + 1
                return
            self._uses[key] = time.monotonic(), 0

        def added(content: bytes | None) -> bytes:
            before = 0 if content is None else int(json.loads(content)["used_number"])
            return _packed_uses(record.used_at, before + uses + 1)

        self._count(key, added)

    def _count(self, key: str, edit: Callable[[bytes | None], bytes]) -> None:
        try:
            self._shelf.count(_uses_file(key), edit)
        except UNREADABLE as error:  # a full disk must not fail the request that is being counted
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            _log.warning("%s cannot be written (%s); its uses are counted in memory only", _uses_file(key), reason)

    def _key_of(self, classifier_id: str, owner: str) -> str:
        """The id of an owner's classifier in its one spelling. In a folder its file may have been taken away."""
        if self._shelf.is_shared:
            return self._owned(classifier_id, owner)[0].classifier_id
        with self._lock:
            record = self._records.get(canonical_id(classifier_id))
        if record is None or record.owner != owner:
            raise _not_found(classifier_id)
        return record.classifier_id

    def _owned(self, classifier_id: str, owner: str) -> tuple[Classifier, str]:
        """A classifier of an owner, and the tag of its state."""
        classifier, tag = self._read(classifier_id)
        if classifier.owner != owner:
            raise _not_found(classifier_id)
        return classifier, tag

    @contextmanager
    def _claimed(self, classifier_id: str, owner: str) -> Iterator[None]:
        """Reserves a classifier for one change, until the end of the block."""
        with self._lock:
            if classifier_id in self._claims:
                raise _busy(classifier_id)
            self._claims[classifier_id] = owner
        try:
            yield
        finally:
            with self._lock:
                del self._claims[classifier_id]

    def _require_room(self, owner: str) -> None:
        """Refuses one classifier too many. Claims count as well, so only one of two requests gets the last place."""
        if self._shelf.is_shared:
            self._read_changed()
        with self._lock:
            own = {key for key, record in self._records.items() if record.owner == owner}
            own |= {key for key, claimer in self._claims.items() if claimer == owner}
        if len(own) > MAX_CLASSIFIERS:
            raise InputError(f"an owner may have at most {MAX_CLASSIFIERS} classifiers; delete one that is not needed")

    def _read(self, classifier_id: str) -> tuple[Classifier, str]:
        """A classifier as it lies there now, with its uses as they are known here, and the tag of its state."""
        key = canonical_id(classifier_id)
        with self._lock:
            if not key or not (self._shelf.is_shared or key in self._records):
                raise _not_found(classifier_id)
        try:
            with self._shelf.opened(_file(key)) as (file, tag):
                classifier = read_classifier(file, key)
        except StorageUnavailableError:
            raise
        except FileNotFoundError as error:  # deleted since
            if self._shelf.is_shared:
                with self._lock:
                    self._forget(key)
            raise _not_found(key) from error
        except UNREADABLE as error:
            _log_unreadable(_file(key), error)
            raise _not_found(key) from error
        return self._noted(classifier), tag

    def _noted(self, classifier: Classifier) -> Classifier:
        """A classifier with the current counts of uses, which go on while it learns; its record is kept in memory."""
        with self._lock:
            known = self._records.get(classifier.classifier_id)
            if known is not None:
                classifier = replace(classifier, used_at=known.used_at, used_number=known.used_number)
            self._records[classifier.classifier_id] = record_of(classifier)
        return classifier

    def _forget(self, key: str) -> None:
        self._records.pop(key, None)
        self._uses.pop(key, None)

    def _written(self, classifier: Classifier, tag: str | None) -> Classifier | None:
        """The classifier once it lies there and is in memory; None where another server was quicker.

        Args:
            classifier: What is to be kept.
            tag: The tag of the state that it takes the place of; None for a new one.
        """
        if not self._shelf.put(_file(classifier.classifier_id), pack(classifier), tag):
            return None
        return self._noted(classifier)

    def _read_changed(self) -> None:
        """Reads the records of all classifiers that have changed since. Weights are read when asked for."""
        states = self._shelf.states()
        with self._lock:
            before, self._tags = self._tags, dict(states)
            there = {Path(name).stem for name in states}
            for key in self._records.keys() - there:
                self._forget(key)
        changed = {name for name, tag in states.items() if before.get(name) != tag}
        for name in sorted(changed):
            if not name.endswith(".json") and (record := self._record_in(name)):
                with self._lock:
                    self._records[record.classifier_id] = replace(record, **self._uses_of(record.classifier_id))
        for name in sorted(changed):
            key = Path(name).stem
            if name.endswith(".json") and f"{_file(key)}" not in changed and key in self._records:
                uses = self._uses_of(key)
                with self._lock:
                    if key in self._records:
                        self._records[key] = replace(self._records[key], **uses)

    def _record_in(self, name: str) -> ClassifierRecord | None:
        try:
            if not name.endswith(".npz"):
                raise ValueError("it is not a classifier, or only half written")
            with self._shelf.opened(name) as (file, _):
                return read_record(file, name.removesuffix(".npz"))
        except StorageUnavailableError:
            raise
        except UNREADABLE as error:
            _log_unreadable(name, error)
            return None

    def _uses_of(self, key: str) -> dict[str, Any]:
        """The counts of uses, which start again from zero where they cannot be read."""
        try:
            with self._shelf.opened(_uses_file(key)) as (file, _):
                values = json.loads(file.read())
            _, uncounted = self._uses.get(key, (0.0, 0))
            return {"used_at": str(values["used_at"]), "used_number": int(values["used_number"]) + uncounted}
        except FileNotFoundError:
            pass
        except UNREADABLE as error:
            _log_unreadable(_uses_file(key), error)
        return {"used_at": None, "used_number": 0}


def _learn(
    record: ClassifierRecord, weights: FloatArray, vectors: FloatArray, labels: Sequence[str], num_iters: int
) -> Classifier:
    """The classifier of a record and its weights, after it has learned the samples as well."""
    if num_iters < 1:
        raise InputError(f"num_iters must be at least 1, got {num_iters}")
    if len(labels) != len(vectors) or not labels:
        raise InputError(
            f"training needs one label per sample and at least one sample, got {len(labels)} labels and "
            f"{len(vectors)} samples"
        )
    samples = unit_rows(vectors, dim=weights.shape[1])
    names = tuple(dict.fromkeys((*record.labels, *labels)))
    if not 2 <= len(names) <= MAX_LABELS:
        raise LabelError(
            f"a classifier must have between 2 and {MAX_LABELS} different labels, and this one would have {len(names)}"
        )
    rows = {name: row for row, name in enumerate(names)}
    grown = np.zeros((len(names), weights.shape[1]), np.float32)
    grown[: len(weights)] = weights
    learned = fit(grown, samples, [rows[label] for label in labels], num_iters)
    return with_weights(replace(record, labels=names), learned)


def _packed_uses(used_at: str | None, used_number: int) -> bytes:
    return json.dumps({"used_at": used_at, "used_number": used_number}).encode()


def _log_unreadable(name: str, error: Exception) -> None:
    reason = str(error)[:100]  # some errors quote everything that was read
    _log.warning("%s cannot be read (%s: %s) and is skipped", name, type(error).__name__, reason)


def _file(classifier_id: str) -> str:
    return f"{classifier_id}.npz"


def _uses_file(classifier_id: str) -> str:
    return f"{classifier_id}.json"


def _busy(classifier_id: str) -> BusyError:
    return BusyError(f"classifier {classifier_id} is being changed by another request; try again later")


def _not_found(classifier_id: str) -> NotFoundError:
    return NotFoundError(
        f"there is no classifier {classifier_id[:36]!r} among yours or the public ones; /v1/classifiers lists yours"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat()
