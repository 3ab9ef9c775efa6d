"""Few-shot classifiers over dense vectors: how they learn, and the folder that keeps them.

Shapes: N samples, L labels, D width of the vectors. Weights are `[L, D]`, one row a label; vectors are `[N, D]`.
"""

from __future__ import annotations

import io
import json
import logging
import os
import threading
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from polylens.errors import BusyError, InputError, LabelError, ModelMismatchError, NotFoundError, StorageError
from polylens.types import FloatArray

Access = Literal["public", "private"]
Targets = Sequence[int] | npt.NDArray[np.int64]

MAX_LABELS = 512  # of one classifier
MAX_CLASSIFIERS = 1_000  # of one owner
AGGRESSIVENESS = 0.1
"""C of the paper, the longest step. On made-up clusters of 2 and 8 labels it halved the errors of C = 1 where one
sample in ten had a wrong label; 0.02 learned too slowly for ten passes."""
TEMPERATURE = 0.1
"""Of the softmax over margins. Learning stops at a margin of 1, which few unseen inputs reach: at temperature 1 the
winner of two labels would hardly ever be given more than 0.73. At 0.1 a margin of a half is odds of e^5, 148 to 1; on
the same clusters that was a better likelihood than 1, 0.5 or 0.2, and, where labels were wrong, 0.05 was no better.
Scores rank labels and say how clear the choice was; they are not calibrated for anyone's data."""

_SEED = 0  # of the order of samples: the same request makes the same classifier
_OWNERS = uuid.UUID("a3c1a7de-5d0b-5f0e-9a55-7c1d3f6b2e90")  # namespace in which owners become UUIDs
# What reading a file that is cut short or damaged has been seen to raise (RuntimeError: "this file is encrypted").
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
)
_log = logging.getLogger(__name__)


def fit(weights: FloatArray, vectors: FloatArray, targets: Targets, num_iters: int) -> FloatArray:
    """Online multi-class learning, passive where a sample is right by a margin of 1, aggressive where it is not.

    PA-I with one prototype a label: Crammer et al. 2006, "Online Passive-Aggressive Algorithms", JMLR 7, sections 3
    and 8. A sample moves the rows of its own label and of the best other one by min(C, loss / 2) along itself.

    All steps lie along samples, so what is kept up to date is the samples' scores instead of the weights: a step
    costs N + L instead of L times D, and 10 passes over 512 samples of 512 labels 0.1 s instead of seconds.

    Args:
        weights: What was learned before; rows of zeros for new labels. It is left as it is.
        vectors: Unit length.
        targets: The row of `weights` that each sample belongs to.
        num_iters: Passes over the samples, each in its own order, the same at every call.

    Returns:
        The new weights.

    Example:
        >>> vectors = np.eye(2, dtype=np.float32)
        >>> fit(np.zeros((2, 2), np.float32), vectors, [0, 1], num_iters=10).round(3)
        array([[ 0.5, -0.5],
               [-0.5,  0.5]], dtype=float32)
    """
    gram = (vectors @ vectors.T).astype(np.float64)
    scores = (weights @ vectors.T).astype(np.float64)  # L N
    steps = np.zeros_like(scores)  # L N
    rng = np.random.default_rng(_SEED)
    for _ in range(num_iters):
        if not _one_pass(gram, scores, steps, targets, rng.permutation(len(vectors))):
            break
    return (weights + steps @ vectors).astype(np.float32)


def _one_pass(
    gram: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
    steps: npt.NDArray[np.float64],
    targets: Targets,
    order: Iterable[int],
) -> bool:
    """Learn every sample once, in place; whether there was anything to learn."""
    moved = False
    for sample in order:
        target = targets[sample]
        others = scores[:, sample].copy()
        others[target] = -np.inf
        rival = others.argmax()
        loss = 1.0 - scores[target, sample] + others[rival]
        if loss > 0:
            step = min(AGGRESSIVENESS, loss / 2)  # 2: a unit vector is added in one row and taken away in another
            for row, change in ((target, step), (rival, -step)):
                steps[row, sample] += change
                scores[row] += change * gram[sample]
            moved = True
    return moved


def probabilities(weights: FloatArray, vectors: FloatArray) -> FloatArray:
    """How strongly each vector belongs to each label.

    Args:
        weights: As learned by `fit`.
        vectors: Unit length.

    Returns:
        N rows of L values above or at 0 that sum to 1: the softmax of margins at `TEMPERATURE`.

    Example:
        >>> probabilities(np.array([[0.5, 0.0], [0.0, 0.5]], np.float32), np.eye(2, dtype=np.float32)).round(3)
        array([[0.993, 0.007],
               [0.007, 0.993]], dtype=float32)
    """
    logits = (vectors @ weights.T) / TEMPERATURE
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierRecord:
    """What is known of a classifier without its weights."""

    classifier_id: str
    owner: str
    model: str
    model_id: str  # fingerprint of the weights of the embedding model
    labels: tuple[str, ...]  # in the order of the rows
    access: Access
    created_at: str  # ISO 8601, UTC, like the other moments
    updated_at: str
    updated_number: int
    used_at: str | None = None
    used_number: int = 0

    def require_model(self, model_id: str) -> None:
        """Refuse what another embedding model made.

        Raises:
            ModelMismatchError: `model_id` is not that of the vectors it was trained on.
        """
        if model_id != self.model_id:
            raise ModelMismatchError(
                f"classifier {self.classifier_id} was trained on vectors of {self.model} ({self.model_id}), and these "
                f"are of {model_id}; they cannot be compared. Train a new classifier"
            )

    def summary(self) -> dict[str, Any]:
        """The published shape `ClassifierSummary`."""
        return {
            "classifier_id": self.classifier_id,
            "user_id": str(uuid.uuid5(_OWNERS, self.owner)),
            "model": self.model,
            "labels": list(self.labels),
            "access": self.access,
            "updated_number": self.updated_number,
            "used_number": self.used_number,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "used_at": self.used_at,
            "is_active": True,
            "is_latest": True,
            "metadata_": {},
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classifier(ClassifierRecord):
    """A classifier that can be asked."""

    weights: FloatArray

    def scores(self, vectors: FloatArray, *, model_id: str) -> FloatArray:
        """How strongly each vector belongs to each label, as `probabilities` says.

        Args:
            vectors: Of the model that it was trained with; any length, only the direction counts.
            model_id: Fingerprint of the model that made them.

        Returns:
            N rows, each of one value a label, in the order of `labels`.

        Raises:
            ModelMismatchError: They are of another model.
            InputError: They are of another width, or not numbers.
        """
        self.require_model(model_id)
        return probabilities(self.weights, _unit(vectors, dim=self.weights.shape[1]))


class ClassifierStore:
    """Classifiers in a folder, for one process, which may use it from many threads.

    `<id>.npz` holds record and weights and is replaced as a whole; `<id>.json` beside it counts uses, and is no loss.
    What is known without weights is in memory. A file that cannot be read is named in the log and passed over.

    Args:
        folder: Where they lie; made when the first one is trained.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # over the two dictionaries and the counts; never held while learning
        self._records = dict(_read_all(folder))
        self._claims: dict[str, str] = {}  # id -> owner of what is being made, changed or deleted at the moment

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
        """Make a classifier.

        Args:
            owner: Who may change it. It is kept on disk: a name or a fingerprint, not a key.
            model: Name of the embedding model.
            model_id: Fingerprint of the embedding model.
            vectors: One a sample; any length, only the direction counts.
            labels: One a sample.
            num_iters: Passes over the samples.
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
        """Let a classifier learn more; labels that it did not know are added. Arguments as for `train`.

        Raises:
            NotFoundError: The owner has no such classifier.
            BusyError: It is being changed at this moment; nothing was learned.
            ModelMismatchError: The vectors are of another model.
            LabelError: There would be more than `MAX_LABELS`.
            InputError: The vectors do not fit the labels or the classifier.
        """
        key = self._owned(classifier_id, owner).classifier_id
        with self._claimed(key, owner):
            known = self._load(self._owned(key, owner))  # read again: it may have been deleted before the claim
            known.require_model(model_id)
            record = replace(_record_of(known), updated_at=_now(), updated_number=known.updated_number + 1)
            return self._write(_learn(record, known.weights, vectors, labels, num_iters))

    def get(self, classifier_id: str, *, owner: str) -> Classifier:
        """A classifier that its owner, or anyone where it is public, may use.

        Raises:
            NotFoundError: There is none, or it is another's: which of the two is not said.
        """
        with self._lock:
            record = self._records.get(_canonical(classifier_id))
        if record is None or (record.access != "public" and record.owner != owner):
            raise _not_found(classifier_id)
        return self._load(record)

    def list(self, owner: str) -> list[ClassifierRecord]:
        """An owner's classifiers, oldest first, without their weights."""
        with self._lock:
            own = [record for record in self._records.values() if record.owner == owner]
        return sorted(own, key=lambda record: (record.created_at, record.classifier_id))

    def delete(self, classifier_id: str, *, owner: str) -> None:
        """Forget a classifier.

        Raises:
            NotFoundError: The owner has no such classifier.
            BusyError: It is being changed at this moment.
        """
        key = self._owned(classifier_id, owner).classifier_id
        with self._claimed(key, owner):
            self._owned(key, owner)
            with self._lock:
                _path(self._folder, key).unlink(missing_ok=True)
                _uses_path(self._folder, key).unlink(missing_ok=True)
                del self._records[key]

    def used(self, classifier_id: str) -> None:
        """Count one use; one that has been deleted meanwhile is not counted."""
        with self._lock:
            record = self._records.get(_canonical(classifier_id))
            if record is None:
                return
            record = replace(record, used_at=_now(), used_number=record.used_number + 1)
            self._records[record.classifier_id] = record
            uses = {"used_at": record.used_at, "used_number": record.used_number}
            path = _uses_path(self._folder, record.classifier_id)
            try:
                _write_beside(path, json.dumps(uses).encode(), durable=False)
            except OSError as error:  # a full disk is no reason to withhold the answer that is being counted
                _log.warning("%s cannot be written (%s); uses are counted in memory", path.name, error.strerror)

    def _owned(self, classifier_id: str, owner: str) -> ClassifierRecord:
        with self._lock:
            record = self._records.get(_canonical(classifier_id))
        if record is None or record.owner != owner:
            raise _not_found(classifier_id)
        return record

    @contextmanager
    def _claimed(self, classifier_id: str, owner: str) -> Iterator[None]:
        """The only one to change this classifier, until the end of the block."""
        with self._lock:
            if classifier_id in self._claims:
                raise BusyError(f"classifier {classifier_id} is being changed by another request; try again after it")
            self._claims[classifier_id] = owner
        try:
            yield
        finally:
            with self._lock:
                del self._claims[classifier_id]

    def _require_room(self, owner: str) -> None:
        """Claims count as well, this one's own among them: of two that come at once, the last place goes to one."""
        with self._lock:
            own = {key for key, record in self._records.items() if record.owner == owner}
            own |= {key for key, claimer in self._claims.items() if claimer == owner}
        if len(own) > MAX_CLASSIFIERS:
            raise InputError(f"an owner may keep at most {MAX_CLASSIFIERS} classifiers; delete one that is not needed")

    def _load(self, record: ClassifierRecord) -> Classifier:
        try:
            classifier = _read(_path(self._folder, record.classifier_id))
        except FileNotFoundError as error:  # deleted since
            raise _not_found(record.classifier_id) from error
        except _BROKEN as error:
            _pass_over(_path(self._folder, record.classifier_id), error)
            raise _not_found(record.classifier_id) from error
        return replace(classifier, used_at=record.used_at, used_number=record.used_number)

    def _write(self, classifier: Classifier) -> Classifier:
        """Onto disk, then into memory. The counts of uses are those of now: they go on while a classifier learns."""
        record = _record_of(classifier)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _write_beside(_path(self._folder, record.classifier_id), _pack(classifier), durable=True)
        except OSError as error:
            raise StorageError(
                f"the classifier cannot be kept in {self._folder} ({error.strerror or error}); start the server with "
                "--classifiers and a folder that it can write to"
            ) from error
        with self._lock:
            current = self._records.get(record.classifier_id, record)
            record = replace(record, used_at=current.used_at, used_number=current.used_number)
            self._records[record.classifier_id] = record
        return Classifier(**_fields(record), weights=classifier.weights)


def _learn(
    record: ClassifierRecord, weights: FloatArray, vectors: FloatArray, labels: Sequence[str], num_iters: int
) -> Classifier:
    """A classifier that knows what it knew and the samples as well."""
    if num_iters < 1:
        raise InputError(f"num_iters must be at least 1, got {num_iters}")
    if len(labels) != len(vectors) or not labels:
        raise InputError(f"one label a sample is needed and at least one sample, got {len(labels)} and {len(vectors)}")
    samples = _unit(vectors, dim=weights.shape[1])
    names = tuple(dict.fromkeys((*record.labels, *labels)))
    if not 2 <= len(names) <= MAX_LABELS:
        raise LabelError(
            f"a classifier has between 2 and {MAX_LABELS} different labels, this one would have {len(names)}"
        )
    rows = {name: row for row, name in enumerate(names)}
    grown = np.zeros((len(names), weights.shape[1]), np.float32)
    grown[: len(weights)] = weights
    learned = fit(grown, samples, [rows[label] for label in labels], num_iters)
    return Classifier(**_fields(replace(record, labels=names)), weights=learned)


def _unit(vectors: FloatArray, *, dim: int) -> FloatArray:
    """Vectors of length 1, in the directions given."""
    array = np.asarray(vectors, np.float32)
    if array.ndim != 2 or array.shape[1] != dim or dim == 0:
        raise InputError(f"vectors must be [samples, {dim}] for this classifier, got {list(array.shape)}")
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise InputError("every vector must be finite and longer than 0, one of these is not")
    return array / lengths


def _record_of(classifier: Classifier) -> ClassifierRecord:
    return ClassifierRecord(**_fields(classifier))


def _fields(record: ClassifierRecord) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(ClassifierRecord)}


def _pack(classifier: Classifier) -> bytes:
    """The bytes of a `.npz` file."""
    # JSON as bytes: an array of text would need no pickle either, but cannot end in NUL.
    record = np.frombuffer(json.dumps(asdict(_record_of(classifier))).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, record=record, weights=classifier.weights)
    return buffer.getvalue()


def _read_all(folder: Path) -> Iterator[tuple[str, ClassifierRecord]]:
    """The classifiers in a folder, which need not be there; weights are read when one is asked for."""
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
                raise ValueError("it is no classifier, or one half written")
            with _opened(path) as arrays:
                record = _record(arrays, path)
        except _BROKEN as error:
            _pass_over(path, error)
        else:
            yield record.classifier_id, replace(record, **_uses(_uses_path(folder, record.classifier_id)))


def _read(path: Path) -> Classifier:
    with _opened(path) as arrays:
        record, weights = _record(arrays, path), arrays["weights"]
    if weights.dtype != np.float32 or weights.ndim != 2 or len(weights) != len(record.labels):
        raise ValueError(f"weights are {weights.dtype} {list(weights.shape)} for {len(record.labels)} labels")
    return Classifier(**_fields(record), weights=weights)


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    with path.open("rb") as file:  # numpy itself leaves a damaged file open
        arrays = np.load(file, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            raise ValueError("it holds a single array")
        yield arrays


def _record(arrays: Mapping[str, npt.NDArray[Any]], path: Path) -> ClassifierRecord:
    values = json.loads(arrays["record"].tobytes())
    record = ClassifierRecord(**{**values, "labels": tuple(values["labels"])})
    if record.classifier_id != path.stem or _canonical(path.stem) != path.stem:
        raise ValueError(f"it says that it is {record.classifier_id}")
    texts = (record.owner, record.model, record.model_id, record.created_at, record.updated_at, *record.labels)
    if not all(isinstance(text, str) for text in texts) or record.access not in get_args(Access):
        raise ValueError("its record is damaged")
    return record


def _uses(path: Path) -> dict[str, Any]:
    """The counts of uses; from zero again where they cannot be read."""
    try:
        values = json.loads(path.read_bytes())
        return {"used_at": str(values["used_at"]), "used_number": int(values["used_number"])}
    except FileNotFoundError:
        pass
    except _BROKEN as error:
        _pass_over(path, error)
    return {"used_at": None, "used_number": 0}


def _pass_over(path: Path, error: Exception) -> None:
    reason = str(error)[:100]  # some quote what they have read, all of it
    _log.warning("%s cannot be read (%s: %s) and is passed over", path.name, type(error).__name__, reason)


def _write_beside(path: Path, data: bytes, *, durable: bool) -> None:
    """Write beside, then rename: a file is there whole or as it was. `durable` also holds when the power fails."""
    beside = path.with_name(path.name + ".tmp")
    try:
        with beside.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _path(folder: Path, classifier_id: str) -> Path:
    return folder / f"{classifier_id}.npz"


def _uses_path(folder: Path, classifier_id: str) -> Path:
    return folder / f"{classifier_id}.json"


def _canonical(classifier_id: str) -> str:
    """The one spelling of a UUID, "" for what is none: nothing else gets near a path."""
    try:
        return str(uuid.UUID(classifier_id))
    except ValueError:
        return ""


def _not_found(classifier_id: str) -> NotFoundError:
    return NotFoundError(
        f"there is no classifier {classifier_id[:36]!r}, or it is another's; /v1/classifiers lists yours"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat()
