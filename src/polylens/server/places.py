"""Where a server keeps what, and whether it can. The log says so, since a container has few places to write to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from polylens.caches import cache_folder
from polylens.server.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A folder that a server writes to, or a prefix in a bucket.

    Args:
        what: What is kept there, as a plural.
        folder: The folder, which need not exist; `s3://BUCKET/PREFIX`; None where there is none.
        variable: The environment variable that names another one.
        without: What does not work where it cannot be written.
    """

    what: str
    folder: Path | str | None
    variable: str
    without: str

    @property
    def is_writable(self) -> bool:
        """Whether the folder can be written to, or made. A bucket is taken to be, until it is used."""
        if not isinstance(self.folder, Path):
            return self.folder is not None
        nearest = next((place for place in (self.folder, *self.folder.parents) if place.exists()), None)
        return nearest is not None and nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)

    def __str__(self) -> str:
        if self.folder is None:
            return f"{self.what}: no folder ({self.variable} names one): {self.without}"
        if not self.is_writable:
            return (
                f"{self.what}: {self.folder}, which cannot be written ({self.variable} names another): {self.without}"
            )
        return f"{self.what}: {self.folder}"


def places(settings: Settings) -> Iterator[Place]:
    """The folders that a server with these settings writes to, its library's index apart."""
    from huggingface_hub.constants import HF_HUB_CACHE

    yield Place(
        what="trained classifiers",
        folder=settings.classifiers,
        variable="POLYLENS_CLASSIFIERS",
        without="classifiers cannot be trained",
    )
    yield Place(
        what="downloaded models",
        folder=Path(HF_HUB_CACHE),
        variable="HF_HOME",
        without="only models that are there already, and nano, can be loaded",
    )
    yield Place(
        what="what can be made again",
        folder=cache_folder(),
        variable="POLYLENS_CACHE",
        without="it is made again at each start",
    )
    yield Place(
        what="temporary files",
        folder=_temporary(),
        variable="TMPDIR",
        without="PDFs that clients send cannot be rendered",
    )


def _temporary() -> Path | None:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:  # neither TMPDIR nor /tmp nor the current folder can be written to
        return None
