"""The manifest of an index: a small file beside its table that names the table and the model.

It is put into place last: an index without one is not there. A rebuild has a manifest of its own, `rebuild.json`,
until it is complete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polylens.errors import LibraryNotFoundError, ModelMismatchError, PolylensError, StorageUnavailableError
from polylens.index.storage.base import Storage
from polylens.index.storage.opening import open_storage

FORMAT = 1

MANIFEST = "index.json"
STAGED = "rebuild.json"  # of an index in the making, which will take the other's place


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of `index.json`."""

    format: int
    model_id: str
    dim: int  # numbers per dense vector
    token_dim: int  # numbers per vector of a multi-vector
    table: str
    created: str  # ISO 8601, UTC
    pool: int = 1  # how many times fewer vectors a page's multi-vector has than the model gave; see `pooling`

    @classmethod
    def new(cls, table: str, model_id: str, dim: int, token_dim: int, pool: int) -> Manifest:
        """The manifest of an index that is created now."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(
            format=FORMAT, model_id=model_id, dim=dim, token_dim=token_dim, table=table, created=created, pool=pool
        )

    @property
    def model_name(self) -> str:
        """The name that the model is loaded by: `model_id` without its fingerprint."""
        return self.model_id.rpartition("@")[0] or self.model_id

    def require_model(self, model_id: str, storage: Storage) -> None:
        """Refuse any model but the one that the index was made with.

        Raises:
            ModelMismatchError: It was made with another one.
        """
        if self.model_id == model_id:
            return
        same_name = model_id.rpartition("@")[0] == self.model_name
        way = "That model has other weights now: make" if same_name else f"Choose {self.model_id!r}, or make"
        raise ModelMismatchError(
            f"the index in {storage} was made with the model {self.model_id!r}, got {model_id!r}; their vectors "
            f"cannot be compared. {way} the index anew with `polylens index --rebuild`"
        )


def read_manifest(path: str | Path | Storage, *, model_id: str | None = None, name: str = MANIFEST) -> Manifest:
    """The manifest of an index, or with `name=STAGED` that of the index in the making.

    Args:
        path: The storage of the index itself, such as `FOLDER/.polylens` or `s3://BUCKET/PREFIX`.
        model_id: The model whose vectors are to be compared with it; None to take whichever it is.
        name: Which of the two manifests.

    Raises:
        LibraryNotFoundError: There is no index.
        ModelMismatchError: It was made with a model other than `model_id`.
        PolylensError: The manifest is damaged, or of another format.
    """
    storage = open_storage(path)
    try:
        content: Mapping[str, Any] = json.loads(storage.read(name))
        if content.get("format") != FORMAT:
            raise PolylensError(
                f"the index in {storage} has format {content.get('format')!r}, this version reads format {FORMAT}; "
                "make it anew with `polylens index --rebuild`"
            )
        manifest = Manifest(**content)
    except FileNotFoundError as error:
        raise LibraryNotFoundError(f"no index in {storage}; make one with `polylens index FOLDER`") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise PolylensError(
            f"{storage}/{name} is damaged ({error}); make the index anew with `polylens index --rebuild`"
        ) from error
    if model_id is not None:
        manifest.require_model(model_id, storage)
    return manifest


def write_manifest(storage: Storage, manifest: Manifest, name: str = MANIFEST) -> None:
    """Put a manifest into place, in one step."""
    storage.write(name, json.dumps(asdict(manifest), ensure_ascii=False, indent=2).encode())


def read_staged(storage: Storage) -> Manifest | None:
    """The manifest of the index in the making; None where there is none that could be taken up."""
    staged, current = manifest_or_none(storage, STAGED), manifest_or_none(storage, MANIFEST)
    is_published = staged and current and staged.table == current.table
    return None if is_published else staged


def manifest_or_none(storage: Storage, name: str) -> Manifest | None:
    """A manifest; None where there is none that can be read.

    Raises:
        StorageUnavailableError: The storage does not answer, so that nothing is known of it.
    """
    try:
        return read_manifest(storage, name=name)
    except StorageUnavailableError:
        raise
    except PolylensError:
        return None
