"""Data sets in the layout of clip_benchmark: shards of images with captions, or with the number of a class.

    SET/test/nshards.txt                          how many shards
    SET/test/0.tar, 1.tar, ...                    KEY.jpg (or .jpeg .png .webp) with KEY.txt or KEY.cls
    SET/classnames.txt                            classes, one per line
    SET/zeroshot_classification_templates.txt     prompts with {c} in the class's place, one per line

`KEY.txt` has one caption per line, `KEY.cls` the class's number from 0. A folder without `test` whose subfolders are
data sets stands for all of them: one per language, for instance. https://github.com/LAION-AI/CLIP_benchmark.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from polylens.errors import InputError

IMAGES = (".webp", ".png", ".jpg", ".jpeg")
SPLIT = "test"


@dataclass(frozen=True, slots=True)
class Sample:
    """An image with what is said about it."""

    key: str
    image: bytes
    captions: tuple[str, ...]
    """Empty for a classification set."""
    label: int | None
    """Number of the class; None for a set of captions."""


@dataclass(frozen=True, slots=True)
class ClipSet:
    """One data set, not read yet."""

    folder: Path
    name: str

    @property
    def classes(self) -> list[str]:
        """Names of the classes; empty for a set of captions."""
        return _lines(self.folder / "classnames.txt", optional=True)

    @property
    def templates(self) -> list[str]:
        """Prompts of the classes, with `{c}` in the name's place.

        Raises:
            InputError: There are none, or one has no `{c}`.
        """
        file = self.folder / "zeroshot_classification_templates.txt"
        found = _lines(file)
        for number, template in enumerate(found, 1):
            if "{c}" not in template:
                raise InputError(
                    f"line {number} of {file} must have {{c}} where the class's name goes, got {template!r}"
                )
        return found

    def samples(self) -> Iterator[Sample]:
        """Reads the shards one sample at a time.

        Raises:
            InputError: A shard is missing or broken, or a sample is incomplete; the message names it.
        """
        for shard in self.shards():
            try:
                with tarfile.open(shard) as archive:
                    yield from _samples(archive, shard)
            except (tarfile.TarError, OSError) as broken:
                raise InputError(f"{shard} must be a tar archive that can be read: {broken}") from broken

    def shards(self) -> list[Path]:
        """The archives, in order.

        Raises:
            InputError: `nshards.txt` is not a number, or there are fewer.
        """
        file = self.folder / SPLIT / "nshards.txt"
        [count, *_] = _lines(file) or [""]
        if not count.isdecimal() or int(count) < 1:
            raise InputError(f"{file} must hold the number of shards, got {count!r}")
        found = [self.folder / SPLIT / f"{number}.tar" for number in range(int(count))]
        missing = [str(shard) for shard in found if not shard.is_file()]
        if missing:
            raise InputError(f"{file} names {count} shards; missing: {', '.join(missing)}")
        return found


def find_sets(folder: str | Path) -> list[ClipSet]:
    """The data set in a folder, or those in its subfolders, by name.

    Raises:
        InputError: There is none.
    """
    root = Path(folder).expanduser()
    if (root / SPLIT / "nshards.txt").is_file():
        return [ClipSet(root, root.name)]
    inside = sorted(root.iterdir()) if root.is_dir() else []
    found = [ClipSet(each, f"{root.name}/{each.name}") for each in inside if (each / SPLIT / "nshards.txt").is_file()]
    if not found:
        raise InputError(f"{root} must hold {SPLIT}/nshards.txt, or folders that do, as clip_benchmark writes them")
    return found


def _samples(archive: tarfile.TarFile, shard: Path) -> Iterator[Sample]:
    """Files of one sample stand in a row and share what stands before the first dot of their names."""
    key, parts = "", dict[str, bytes]()
    for member in archive:
        if not member.isfile():
            continue
        place, _, name = member.name.rpartition("/")
        stem, dot, ending = name.partition(".")
        found = f"{place}/{stem}" if place else stem
        if parts and found != key:
            yield _sample(key, parts, shard)
            parts = {}
        key = found
        opened = archive.extractfile(member)
        assert opened is not None
        parts[(dot + ending).lower()] = opened.read()
    if parts:
        yield _sample(key, parts, shard)


def _sample(key: str, parts: dict[str, bytes], shard: Path) -> Sample:
    image = next((parts[ending] for ending in IMAGES if ending in parts), None)
    if image is None or not {".txt", ".cls"} & set(parts):
        raise InputError(f"sample {key} of {shard} must have an image and .txt or .cls, got {', '.join(sorted(parts))}")
    try:
        captions = tuple(line for line in parts.get(".txt", b"").decode().split("\n") if line.strip())
        label = int(parts[".cls"].decode()) if ".cls" in parts else None
    except ValueError as unreadable:
        raise InputError(f"sample {key} of {shard} cannot be read: {unreadable}") from unreadable
    return Sample(key, image, captions, label)


def _lines(file: Path, *, optional: bool = False) -> list[str]:
    if optional and not file.is_file():
        return []
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as unreadable:
        raise InputError(f"{file} must be a UTF-8 text file that can be read: {unreadable}") from unreadable
