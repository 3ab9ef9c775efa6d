"""Files of pairs: JSON lines on disk, drawn in seeded batches of a single file.

    {"query": "when does the harbour freeze", "document": "The harbour freezes in January."}
    {"query": "invoice for the mast", "document": {"image": "scans/0017.png"}, "negatives": ["...", {"image": "..."}]}
    {"query": "a ship leaves", "document": "a vessel departs", "score": 4.5}

A file is a source. A batch never mixes sources, or telling sources apart would be enough to win the contrast
(jina-embeddings-v3, section 4). Paths of images are relative to the file's folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polylens.atomic import write_beside
from polylens.errors import InputError

Side = str | Path
"""A text, or the file of an image."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and the document that is right for it, or two sides with a degree of similarity."""

    query: Side
    document: Side
    negatives: tuple[Side, ...] = ()
    """Hard negatives: documents that look right and are wrong."""
    score: float | None = None
    """The degree of similarity, on any scale; None for a plain pair."""


@dataclass(frozen=True, slots=True)
class PairFile:
    """One file of pairs."""

    path: Path
    pairs: tuple[Pair, ...]
    sha256: str

    @property
    def graded(self) -> bool:
        """Whether its pairs have scores."""
        return self.pairs[0].score is not None

    @property
    def has_images(self) -> bool:
        """Whether any side of any pair is an image."""
        return any(
            isinstance(side, Path) for pair in self.pairs for side in (pair.query, pair.document, *pair.negatives)
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs of one source that compete with each other in a step."""

    source: PairFile
    pairs: Sequence[Pair]


def read_pairs(path: Path) -> PairFile:
    """Reads a file of pairs.

    Raises:
        InputError: The file cannot be read, a line is not a pair, or only some pairs have scores; the message names the
            line.
    """
    try:
        data = path.read_bytes()
        lines = data.decode("utf-8").splitlines()
    except OSError as unreadable:
        raise InputError(f"{path} cannot be read: {unreadable.strerror}; give a file of pairs") from unreadable
    except UnicodeDecodeError as garbled:
        raise InputError(f"{path} is not UTF-8 text: {garbled}") from garbled
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    pairs = [_pair(line, path, number) for number, line in numbered]
    if len(pairs) < 2:
        raise InputError(f"{path} has {len(pairs)} pairs; training needs at least two, which compete with each other")
    for (number, _), pair in zip(numbered, pairs, strict=True):
        if (pair.score is None) != (pairs[0].score is None):
            raise InputError(f"{path}:{number}: either all pairs of a file have a score or none has; split the file")
    return PairFile(path, tuple(pairs), hashlib.sha256(data).hexdigest())


def write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """Writes a file that `read_pairs` reads; it appears whole or not at all.

    Raises:
        InputError: The file cannot be written.
    """

    def plain(side: Side) -> object:
        return side if isinstance(side, str) else {"image": os.path.relpath(side, path.parent)}

    try:
        with write_beside(path) as beside, beside.open("w", encoding="utf-8") as file:
            for pair in pairs:
                row: dict[str, object] = {"query": plain(pair.query), "document": plain(pair.document)}
                if pair.negatives:
                    row["negatives"] = [plain(each) for each in pair.negatives]
                if pair.score is not None:
                    row["score"] = pair.score
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror})") from error


def _pair(line: str, path: Path, number: int) -> Pair:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{number}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}:{number}: must be an object with query and document, got {str(value)[:60]}")
    where = f"{path}:{number}"
    negatives = value.get("negatives", [])
    score = value.get("score")
    if not isinstance(negatives, list):
        raise InputError(f"{where}: negatives must be a list")
    if score is not None and (
        isinstance(score, bool) or not isinstance(score, (int, float)) or not math.isfinite(score)
    ):
        raise InputError(f"{where}: score must be a number, got {score!r}")
    if score is not None and negatives:
        raise InputError(f"{where}: a pair may have negatives or a score, not both")
    return Pair(
        _side(value, "query", path.parent, where),
        _side(value, "document", path.parent, where),
        tuple(_side({"negatives": each}, "negatives", path.parent, where) for each in negatives),
        None if score is None else float(score),
    )


def _side(value: Mapping[str, Any], name: str, folder: Path, where: str) -> Side:
    side = value.get(name)
    if isinstance(side, str) and side:
        return side
    if isinstance(side, dict) and set(side) == {"image"} and isinstance(side["image"], str):
        image = folder / side["image"]
        if not image.is_file():
            raise InputError(f"{where}: {name}: there is no image {image}; paths are relative to the file's folder")
        return image
    raise InputError(f'{where}: {name} must be a text or {{"image": "a path"}}, got {str(side)[:60]!r}')


def draw_batches(sources: Sequence[PairFile], *, size: int, steps: int, seed: int) -> Iterator[Batch]:
    """Draws a batch for each step. Batches depend on the seed alone, so a resumed run sees the same ones.

    A source is drawn in proportion to its number of pairs; within it, every pair is drawn once before any is drawn
    again.

    Args:
        sources: At least one.
        size: Pairs per batch; a smaller source gives all of its pairs.
        steps: Number of batches.
        seed: Of everything that is drawn.
    """
    rng = random.Random(seed)
    weights = [len(source.pairs) for source in sources]
    waiting: list[list[int]] = [[] for _ in sources]
    for _ in range(steps):
        (which,) = rng.choices(range(len(sources)), weights)
        source, queue = sources[which], waiting[which]
        wanted = min(size, len(source.pairs))
        if len(queue) < wanted:
            left = set(queue)
            fresh = rng.sample(range(len(source.pairs)), len(source.pairs))
            queue.extend(sorted(fresh, key=left.__contains__))  # those still waiting come last, not twice in a batch
        yield Batch(source, [source.pairs[index] for index in queue[:wanted]])
        del queue[:wanted]


def draw_paired_batches(
    sources: Sequence[PairFile], *, size: int, steps: int, seed: int
) -> Iterator[tuple[Batch, ...]]:
    """Draws two batches for each step, one of texts and one with images; one batch where all sources are of one kind.

    jina-embeddings-v4 (arXiv 2506.18902), section 4: a step samples a batch of text pairs and a multimodal one.

    Args:
        sources: At least one.
        size: Pairs per batch.
        steps: Number of steps.
        seed: Of everything that is drawn; each kind has draws of its own.
    """
    kinds = [[source for source in sources if source.has_images is wanted] for wanted in (False, True)]
    drawn = (draw_batches(kind, size=size, steps=steps, seed=seed + i) for i, kind in enumerate(kinds) if kind)
    return zip(*drawn, strict=True)
