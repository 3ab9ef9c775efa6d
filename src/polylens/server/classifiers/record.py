"""A trained classifier, what is known of it without its weights, and the file that it is kept in."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
import numpy.typing as npt

from polylens.errors import ModelMismatchError
from polylens.server.classifiers.learner import probabilities, unit_rows
from polylens.types import FloatArray

Access = Literal["public", "private"]

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    RuntimeError,  # "this file is encrypted"
    MemoryError,
    zipfile.BadZipFile,
)
"""The errors that reading a truncated or damaged file has been seen to raise."""

_OWNERS = uuid.UUID("a3c1a7de-5d0b-5f0e-9a55-7c1d3f6b2e90")  # namespace in which owners become UUIDs


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierRecord:
    """A classifier without its weights."""

    classifier_id: str
    owner: str
    model: str
    model_id: str  # fingerprint of the embedding model
    labels: tuple[str, ...]  # in the order of the rows
    access: Access
    created_at: str  # ISO 8601, UTC, as are the other times
    updated_at: str
    updated_number: int
    used_at: str | None = None
    used_number: int = 0

    def require_model(self, model_id: str) -> None:
        """Refuses vectors of another embedding model.

        Raises:
            ModelMismatchError: The classifier was not trained on vectors of `model_id`.
        """
        if model_id != self.model_id:
            raise ModelMismatchError(
                f"classifier {self.classifier_id} was trained on vectors of {self.model} ({self.model_id}), which "
                f"cannot be compared with vectors of {model_id}; train a new classifier"
            )

    def summary(self) -> dict[str, Any]:
        """The classifier in the published shape `ClassifierSummary`."""
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
    """A classifier with its weights, ready to classify."""

    weights: FloatArray

    def scores(self, vectors: FloatArray, *, model_id: str) -> FloatArray:
        """Computes how strongly each vector belongs to each label, as `probabilities` does.

        Args:
            vectors: Vectors of the model that the classifier was trained with. Only their direction counts.
            model_id: Fingerprint of the model that made them.

        Returns:
            N rows with one value per label, in the order of `labels`.

        Raises:
            ModelMismatchError: The vectors are of another model.
            InputError: The vectors are of another width, or not numbers.
        """
        self.require_model(model_id)
        return probabilities(self.weights, unit_rows(vectors, dim=self.weights.shape[1]))


def record_of(classifier: Classifier) -> ClassifierRecord:
    """A classifier without its weights."""
    return ClassifierRecord(**_fields(classifier))


def with_weights(record: ClassifierRecord, weights: FloatArray) -> Classifier:
    """A classifier made of a record and weights."""
    return Classifier(**_fields(record), weights=weights)


def _fields(record: ClassifierRecord) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(ClassifierRecord)}


def canonical_id(classifier_id: str) -> str:
    """The one spelling of a UUID, or "" for any other text, so that nothing else ever becomes part of a path."""
    try:
        return str(uuid.UUID(classifier_id))
    except ValueError:
        return ""


def pack(classifier: Classifier) -> bytes:
    """The bytes of the `.npz` file of a classifier."""
    # JSON as bytes: an array of text would need no pickle either, but cannot end in NUL.
    record = np.frombuffer(json.dumps(asdict(record_of(classifier))).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, record=record, weights=classifier.weights)
    return buffer.getvalue()


def read_record(file: BinaryIO, classifier_id: str) -> ClassifierRecord:
    """Reads the record in a file, and leaves the weights alone.

    Args:
        file: The file.
        classifier_id: The classifier that it is named for.

    Raises:
        Exception: One of `UNREADABLE`.
    """
    return _parse_record(_arrays_of(file), classifier_id)


def read_classifier(file: BinaryIO, classifier_id: str) -> Classifier:
    """Reads a classifier from a file; arguments and errors as for `read_record`."""
    arrays = _arrays_of(file)
    record, weights = _parse_record(arrays, classifier_id), arrays["weights"]
    if weights.dtype != np.float32 or weights.ndim != 2 or len(weights) != len(record.labels):
        raise ValueError(f"weights are {weights.dtype} {list(weights.shape)} for {len(record.labels)} labels")
    return with_weights(record, weights)


def _arrays_of(file: BinaryIO) -> Mapping[str, npt.NDArray[Any]]:
    arrays = np.load(file, allow_pickle=False)
    if isinstance(arrays, np.ndarray):
        raise ValueError("it holds a single array")
    return arrays


def _parse_record(arrays: Mapping[str, npt.NDArray[Any]], classifier_id: str) -> ClassifierRecord:
    values = json.loads(arrays["record"].tobytes())
    record = ClassifierRecord(**{**values, "labels": tuple(values["labels"])})
    if record.classifier_id != classifier_id or canonical_id(classifier_id) != classifier_id:
        raise ValueError(f"it is named for another classifier than {record.classifier_id}")
    texts = (record.owner, record.model, record.model_id, record.created_at, record.updated_at, *record.labels)
    if not all(isinstance(text, str) for text in texts) or record.access not in get_args(Access):
        raise ValueError("its record is damaged")
    return record
