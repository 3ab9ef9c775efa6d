"""The store of few-shot classifiers: their folder, the rights of their owners, and concurrent changes."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from polylens.atomic import write_beside
from polylens.errors import BusyError, InputError, LabelError, NotFoundError, StorageError
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
from polylens.types import FloatArray

MAX_LABELS = 512  # of one classifier
MAX_CLASSIFIERS = 1_000  # of one owner

_log = logging.getLogger(__name__)


class ClassifierStore:
    """The classifiers in a folder, for one process and any number of its threads.

    `<id>.npz` holds record and weights and is replaced as a whole; `<id>.json` beside it counts uses and may be lost.
    Records are kept in memory, weights are not. A file that cannot be read is named in the log and skipped.

    Args:
        folder: The folder of the classifiers; it is created when the first one is trained.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # over the two dictionaries and the counts; never held while learning
        self._records = dict(_read_all(folder))
        self._claims: dict[str, str] = {}  # id -> owner, of each classifier that is being changed at the moment

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
            InputError: The vectors do not fit the labels, or the owner has `MAX_CLASSIFIERS`.
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
            return self._write(_learn(record, empty, vectors, labels, num_iters))

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
        key = self._owned(classifier_id, owner).classifier_id
        with self._claimed(key, owner):
            known = self._load(self._owned(key, owner))  # read again: it may have been deleted before the claim
            known.require_model(model_id)
            record = replace(record_of(known), updated_at=_now(), updated_number=known.updated_number + 1)
            return self._write(_learn(record, known.weights, vectors, labels, num_iters))

    def get(self, classifier_id: str, *, owner: str) -> Classifier:
        """Loads a classifier for its owner, or for anyone where it is public.

        Raises:
            NotFoundError: It does not exist, or belongs to somebody else; the message does not say which.
        """
        with self._lock:
            record = self._records.get(canonical_id(classifier_id))
        if record is None or (record.access != "public" and record.owner != owner):
            raise _not_found(classifier_id)
        return self._load(record)

    def list(self, owner: str) -> list[ClassifierRecord]:
        """The records of an owner's classifiers, oldest first."""
        with self._lock:
            own = [record for record in self._records.values() if record.owner == owner]
        return sorted(own, key=lambda record: (record.created_at, record.classifier_id))

    def delete(self, classifier_id: str, *, owner: str) -> None:
        """Deletes a classifier.

        Raises:
            NotFoundError: The owner has no such classifier.
            BusyError: Another request is changing it.
        """
        key = self._owned(classifier_id, owner).classifier_id
        with self._claimed(key, owner):
            self._owned(key, owner)
            with self._lock:
                _path(self._folder, key).unlink(missing_ok=True)
                _uses_path(self._folder, key).unlink(missing_ok=True)
                del self._records[key]

    def used(self, classifier_id: str) -> None:
        """Counts one use of a classifier, unless it has been deleted meanwhile."""
        with self._lock:
            record = self._records.get(canonical_id(classifier_id))
            if record is None:
                return
            record = replace(record, used_at=_now(), used_number=record.used_number + 1)
            self._records[record.classifier_id] = record
            uses = {"used_at": record.used_at, "used_number": record.used_number}
            path = _uses_path(self._folder, record.classifier_id)
            try:
                with write_beside(path) as beside:
                    beside.write_bytes(json.dumps(uses).encode())
            except OSError as error:  # a full disk must not fail the request that is being counted
                _log.warning(
                    "%s cannot be written (%s); its uses are counted in memory only", path.name, error.strerror
                )

    def _owned(self, classifier_id: str, owner: str) -> ClassifierRecord:
        with self._lock:
            record = self._records.get(canonical_id(classifier_id))
        if record is None or record.owner != owner:
            raise _not_found(classifier_id)
        return record

    @contextmanager
    def _claimed(self, classifier_id: str, owner: str) -> Iterator[None]:
        """Reserves a classifier for one change, until the end of the block."""
        with self._lock:
            if classifier_id in self._claims:
                raise BusyError(f"classifier {classifier_id} is being changed by another request; try again later")
            self._claims[classifier_id] = owner
        try:
            yield
        finally:
            with self._lock:
                del self._claims[classifier_id]

    def _require_room(self, owner: str) -> None:
        """Refuses one classifier too many. Claims count as well, so only one of two requests gets the last place."""
        with self._lock:
            own = {key for key, record in self._records.items() if record.owner == owner}
            own |= {key for key, claimer in self._claims.items() if claimer == owner}
        if len(own) > MAX_CLASSIFIERS:
            raise InputError(f"an owner may have at most {MAX_CLASSIFIERS} classifiers; delete one that is not needed")

    def _load(self, record: ClassifierRecord) -> Classifier:
        try:
            classifier = read_classifier(_path(self._folder, record.classifier_id))
        except FileNotFoundError as error:  # deleted since
            raise _not_found(record.classifier_id) from error
        except UNREADABLE as error:
            _log_unreadable(_path(self._folder, record.classifier_id), error)
            raise _not_found(record.classifier_id) from error
        return replace(classifier, used_at=record.used_at, used_number=record.used_number)

    def _write(self, classifier: Classifier) -> Classifier:
        """Writes to disk, then to memory, with the current counts of uses: they go on while a classifier learns."""
        record = record_of(classifier)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with write_beside(_path(self._folder, record.classifier_id), fsync=True) as beside:
                beside.write_bytes(pack(classifier))
        except OSError as error:
            raise StorageError(
                f"the classifier cannot be kept in {self._folder} ({error.strerror or error}); start the server with "
                "--classifiers and a folder that it can write to"
            ) from error
        with self._lock:
            current = self._records.get(record.classifier_id, record)
            record = replace(record, used_at=current.used_at, used_number=current.used_number)
            self._records[record.classifier_id] = record
        return with_weights(record, classifier.weights)


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


def _read_all(folder: Path) -> Iterator[tuple[str, ClassifierRecord]]:
    """Reads the records of all classifiers in a folder, which need not exist yet. Weights are read when asked for."""
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:  # nothing can be kept there either, which training will say
        _log.warning("classifiers cannot be read from %s: %s", folder, error.strerror or error)
        return
    for path in paths:
        if path.suffix == ".json":
            continue
        try:
            if path.suffix != ".npz":
                raise ValueError("it is not a classifier, or only half written")
            record = read_record(path)
        except UNREADABLE as error:
            _log_unreadable(path, error)
        else:
            yield record.classifier_id, replace(record, **_read_uses(_uses_path(folder, record.classifier_id)))


def _read_uses(path: Path) -> dict[str, Any]:
    """The counts of uses, which start again from zero where they cannot be read."""
    try:
        values = json.loads(path.read_bytes())
        return {"used_at": str(values["used_at"]), "used_number": int(values["used_number"])}
    except FileNotFoundError:
        pass
    except UNREADABLE as error:
        _log_unreadable(path, error)
    return {"used_at": None, "used_number": 0}


def _log_unreadable(path: Path, error: Exception) -> None:
    reason = str(error)[:100]  # some errors quote everything that was read
    _log.warning("%s cannot be read (%s: %s) and is skipped", path.name, type(error).__name__, reason)


def _path(folder: Path, classifier_id: str) -> Path:
    return folder / f"{classifier_id}.npz"


def _uses_path(folder: Path, classifier_id: str) -> Path:
    return folder / f"{classifier_id}.json"


def _not_found(classifier_id: str) -> NotFoundError:
    return NotFoundError(
        f"there is no classifier {classifier_id[:36]!r} among yours or the public ones; /v1/classifiers lists yours"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat()
