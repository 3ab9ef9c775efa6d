"""Examines an index: what is damaged, what is left over, what has changed, and whether its model tells things apart.

>>> for finding in examine(Library("~/Documents")).findings:  # doctest: +SKIP
...     print(finding.level, finding.message)

A *problem* is something wrong; a *note* is something to know, such as files that have changed since.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL.Image
import PIL.ImageDraw

from polylens import types
from polylens.documents.reader_processes import readers
from polylens.documents.scan import scan
from polylens.errors import DocumentError, InputError, PolylensError, StorageUnavailableError
from polylens.index.ranking.pooling import evenly
from polylens.index.storage.base import Storage
from polylens.index.storage.folder import FolderStorage
from polylens.index.table.manifest import STAGED, Manifest, read_manifest, read_staged
from polylens.index.table.repair import mend_manifest, orphan_files, orphan_tables
from polylens.index.table.schema import multivectors
from polylens.index.table.store import Store
from polylens.library.library import Library
from polylens.library.page_embedding import PageEmbedder
from polylens.library.unsearchable import Unsearchable, listing_of, read_unsearchable, still_true
from polylens.types import Embedding, FloatArray

UNIT_DENSE = 1e-3  # by which the length of a dense vector may differ from 1; float32 after a bfloat16 model
UNIT_TOKENS = 1e-2  # and that of a multi-vector's, kept in half precision
SAME = 0.99  # cosine from which on two vectors say the same
SAMPLE = 64  # pages compared with each other by their dense vectors
SAMPLE_LATE = 16  # and by this many of their multi-vectors, of
SAMPLE_TOKENS = 64  # vectors each
LITTLE_SPACE = 256 * 1024 * 1024  # bytes free below which the next update may well fail
NAMED = 3  # files named in a line

TEXTS = (
    "the ferry leaves the harbour at noon",
    "invoice for a new mast, payable within thirty days",
    "ein Rezept für Apfelkuchen mit Zimt",
    "def sort(items): return sorted(items)",
    "蜂蜜の値段は去年より上がった",
    "solar panels were stolen from the roof",
)
"""Texts so different that no model takes them for one another."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report."""

    check: str
    """What was checked: index, lock, storage, pages, vectors, model, orphans, disk or files."""
    level: Literal["problem", "note"]
    message: str
    damaged: tuple[str, ...] = ()
    """Files whose pages a repair removes, so that the next update embeds them again."""


@dataclass(slots=True)
class Diagnosis:
    """All findings about an index."""

    folder: str
    model_id: str = ""
    num_files: int = 0
    num_pages: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether there is no problem; notes do not count."""
        return not any(finding.level == "problem" for finding in self.findings)

    def problem(self, check: str, message: str, damaged: Sequence[str] = ()) -> None:
        self.findings.append(Finding(check, "problem", message, tuple(damaged)))

    def note(self, check: str, message: str) -> None:
        self.findings.append(Finding(check, "note", message))


def examine(library: Library, *, model: bool = True, report: Callable[[int, int], None] | None = None) -> Diagnosis:
    """Examine everything, and change nothing.

    Args:
        library: A library with an index.
        model: Whether to load the model and try it as well.
        report: Called with the number of pages read so far and the number of all pages.

    Raises:
        LibraryNotFoundError: There is no index.
        StorageUnavailableError: The index lies on object storage that does not answer, or refuses.
    """
    found = Diagnosis(library.name)
    storage = library.storage
    holder = storage.holder()
    if holder:
        does = "is compacting it" if holder.purpose == "upkeep" else "is writing to it"
        found.note("lock", f"{holder} {does} ({holder.details})")
    is_written = holder is not None or storage.has_writers()
    if is_written and not holder:
        found.note("lock", "one process is writing to it, or several are")
    _check_storage(found, storage)
    try:
        manifest = read_manifest(storage)
        store = Store.open(storage)
        num_pages = store.count()
    except (LookupError, StorageUnavailableError):
        raise
    except (PolylensError, RuntimeError, OSError) as error:
        found.problem("index", str(error))
        return found
    found.model_id, found.num_pages = manifest.model_id, num_pages
    _check_orphans(found, storage, is_written)
    _check_disk(found, store)
    if num_pages and not _check_rows(found, store, report):
        return found
    _check_files(found, library)
    if unplaced := store.snapshot().unplaced():
        found.note(
            "places",
            f"where words stand is not known for {_listed(unplaced)}; `polylens index` reads that, and embeds nothing "
            "again for it",
        )
    if model:
        _check_model(found, library, manifest)
    return found


def repair(library: Library, diagnosis: Diagnosis) -> list[str]:
    """Remove what is damaged and what is left over, and compact. Returns what was done, in lines.

    The pages that are removed are embedded again by the next update.

    Raises:
        LibraryBusyError: A process makes it anew or compacts it.
        PolylensError: The index can neither be opened nor mended.
    """
    done = []
    storage = library.storage
    try:
        read_manifest(storage)
    except StorageUnavailableError:
        raise
    except PolylensError:
        done.append(f"index.json written anew: {mend_manifest(storage).model_id}")
    orphans = [*orphan_tables(storage), *orphan_files(storage)]
    with Store.open(storage, write=True) as store:
        done += [f"removed {orphan}" for orphan in orphans]
        damaged = sorted({file for finding in diagnosis.findings for file in finding.damaged})
        if damaged:
            store.remove(damaged)
            done.append(f"removed the pages of {_listed(damaged)}; the next `polylens index` embeds them again")
        before = storage.size()
        store.compact(force=True)
        done.append(f"compacted: {_megabytes(before)} before, {_megabytes(storage.size())} now")
    return done


# The rows


@dataclass(slots=True)
class _File:
    """The state of one file, from its rows."""

    pages: list[int] = field(default_factory=list)
    states: set[tuple[str, int, int]] = field(default_factory=set)  # hash, size, time
    models: set[str] = field(default_factory=set)


def _check_rows(found: Diagnosis, store: Store, report: Callable[[int, int], None] | None) -> bool:
    """Check the rows of the index; False where they cannot be read."""
    files: dict[str, _File] = defaultdict(_File)
    broken: set[str] = set()  # files with a vector that no model gives
    step = max(1, found.num_pages // SAMPLE)
    sample: dict[tuple[str, int], Embedding] = {}
    rows = 0
    try:
        for row, dense, tokens in _rows(store):
            file = files[row["file"]]
            file.pages.append(row["page"])
            file.states.add((row["hash"], row["size"], row["mtime_ns"]))
            file.models.add(row["model_id"])
            if not (_is_unit(dense, UNIT_DENSE) and _is_unit(tokens, UNIT_TOKENS)):
                broken.add(row["file"])
            elif rows % step == 0:
                sample[row["hash"], row["page"]] = Embedding(dense, evenly(tokens, SAMPLE_TOKENS))
            rows += 1
            if report:
                report(rows, found.num_pages)
    except StorageUnavailableError:  # nothing is damaged, and nothing may be taken out
        raise
    except (RuntimeError, OSError, ValueError) as error:
        unreadable = _unreadable(store)
        what = f"the pages of {_listed(unreadable)}" if unreadable else "its pages"
        cure = "" if unreadable else "; make it anew with `polylens index --rebuild`"
        found.problem("index", f"{what} cannot be read ({str(error)[:200]}){cure}", unreadable)
        return False
    found.num_files = len(files)
    if broken:
        found.problem(
            "vectors", f"vectors that are not finite or not of unit length: {_listed(broken)}", sorted(broken)
        )
    unread = read_unsearchable(store.storage)
    for name, file in sorted(files.items()):
        missing = unread[name].missing_pages if name in unread else frozenset()
        if reason := _wrong_pages(file, store.model_id, missing):
            found.problem("pages", f"{name} {reason}", [name])
    if reason := sameness(list(sample.values())):
        found.problem(
            "model", f"{reason}: the model has collapsed, searching cannot work. Index with another: --rebuild --model"
        )
    return True


def _rows(store: Store) -> Iterator[tuple[dict[str, Any], FloatArray, FloatArray]]:
    columns = ["file", "page", "hash", "size", "mtime_ns", "model_id", "dense", "multivector"]
    for batch in store.snapshot().columns(columns):
        plain = batch.drop_columns(["dense", "multivector"]).to_pylist()
        dense = batch.column("dense").flatten().to_numpy(zero_copy_only=False).reshape(-1, store.dim)
        tokens = multivectors(batch.column("multivector"), store.token_dim)
        yield from zip(plain, dense, (each.astype(np.float32) for each in tokens), strict=True)


def _is_unit(vectors: FloatArray, tolerance: float) -> bool:
    lengths = np.linalg.norm(np.atleast_2d(vectors), axis=1)
    return bool(np.isfinite(vectors).all() and (np.abs(lengths - 1) <= tolerance).all())


def _wrong_pages(file: _File, model_id: str, unread: frozenset[int]) -> str:
    """What is wrong with the pages of a file in the index, where some could not be read; "" where nothing is."""
    pages, last = sorted(file.pages), max(file.pages)
    if len(set(pages)) != len(pages):
        return "has pages twice"
    if missing := sorted(set(range(1, last + 1)) - set(pages) - unread):
        return f"lacks page{'s' * (len(missing) > 1)} {', '.join(map(str, missing[:5]))} of {last}"
    if len(file.states) > 1:
        return "has pages of several states of the file"
    if file.models != {model_id}:
        return f"has pages of another model: {', '.join(sorted(file.models - {model_id}))}"
    return ""


def _unreadable(store: Store) -> list[str]:
    """The files whose pages cannot be read, as far as it can be determined."""
    unreadable = []
    try:
        files = list(store.files())
    except StorageUnavailableError:
        raise
    except (RuntimeError, OSError, ValueError):
        return []
    snapshot = store.snapshot()
    for file in files:
        try:
            snapshot.pages_of(file)
        except StorageUnavailableError:
            raise
        except (RuntimeError, OSError, ValueError):
            unreadable.append(file)
    return unreadable


# The model


def sameness(embeddings: Sequence[Embedding]) -> str:
    """Whether different inputs have the same vector, in words; "" where they differ.

    The median over all pairs decides: a few that are alike, such as blank pages, are nothing unusual.

    Example:
        >>> one = Embedding(np.array([1.0, 0.0], np.float32), np.eye(2, dtype=np.float32))
        >>> sameness([one] * 4)
        'half of all pairs of 4 have a cosine over 0.99 (median 1.0000)'
    """
    if len(embeddings) < 4:  # too few to tell
        return ""
    dense = np.stack([embedding.dense for embedding in embeddings])
    cosine = float(np.median((dense @ dense.T)[np.triu_indices(len(dense), 1)]))
    if cosine > SAME:
        return f"half of all pairs of {len(embeddings)} have a cosine over {SAME} (median {cosine:.4f})"
    late = [e.multivector for e in embeddings[:: max(1, len(embeddings) // SAMPLE_LATE)] if len(e.multivector)]
    best = [(one @ other.T).max(axis=1).mean() for i, one in enumerate(late) for other in late[i + 1 :]]
    if best and (median := float(np.median(best))) > SAME:
        return f"half of all pairs of {len(late)} have a MaxSim over {SAME} per token (median {median:.4f})"
    return ""


def _check_model(found: Diagnosis, library: Library, manifest: Manifest) -> None:
    """Check that the model that the index names is found, and that it tells a few plain things apart."""
    try:
        embedder = library.embedder
        read_manifest(library.storage, model_id=embedder.model_id)
    except PolylensError as error:
        found.note("model", f"not tried: {error}")
        return
    for kind, probes in (("texts", list(TEXTS)), ("pictures", _pictures())):
        try:
            embeddings = _probe(embedder, probes)
        except InputError:  # a model that takes no pictures
            continue
        if not all(_is_unit(e.dense, 1e-2) and _is_unit(e.multivector, 1e-2) for e in embeddings):
            found.problem("model", f"{manifest.model_name} gives vectors for {kind} that are not of unit length")
        elif reason := sameness(embeddings):
            found.problem("model", f"{manifest.model_name} does not tell {kind} apart: {reason}")


def _probe(embedder: PageEmbedder, inputs: Sequence[Any]) -> list[Embedding]:
    return embedder.embed(inputs, task="retrieval", prompt_name="passage")


def _pictures() -> list[types.Image]:
    """Pictures as different as a plain colour, stripes, a disc and noise."""
    pictures = [PIL.Image.new("RGB", (112, 112), colour) for colour in ("white", "navy", "orange")]
    for y in range(0, 112, 16):
        PIL.ImageDraw.Draw(pictures[1]).rectangle((0, y, 112, y + 8), fill="yellow")
    PIL.ImageDraw.Draw(pictures[2]).ellipse((20, 20, 90, 90), fill="green")
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    return [types.Image(picture) for picture in (*pictures, PIL.Image.fromarray(noise))]


# What lies around it


def _check_storage(found: Diagnosis, storage: Storage) -> None:
    """Try whether several writers can share the storage, unless nobody may write to it from here."""
    with contextlib.suppress(StorageUnavailableError):
        if reason := storage.shortcoming():
            found.problem("storage", reason)


def _check_orphans(found: Diagnosis, storage: Storage, is_written: bool) -> None:
    if is_written:  # what looks left over may be its work
        return
    orphans = [*(f"{name}.lance" for name in orphan_tables(storage)), *orphan_files(storage)]
    if orphans:
        found.problem("orphans", f"left over from a process that was killed: {_listed(orphans)}")
    staged = read_staged(storage)
    if staged:
        found.note(
            "orphans",
            f"an index of the model {staged.model_id} was begun beside this one and not finished: `polylens index "
            f"--rebuild --model {staged.model_name}` goes on; remove {storage}/{STAGED} to give it up",
        )


def _check_disk(found: Diagnosis, store: Store) -> None:
    if isinstance(store.storage, FolderStorage):
        _check_room(found, store.storage.path)
    if store.is_wasteful():
        found.note("disk", f"of {_megabytes(store.storage.size())}, much is old versions; --repair frees them")


def _check_room(found: Diagnosis, path: Path) -> None:
    free = shutil.disk_usage(path).free
    if not os.access(path, os.W_OK) or os.statvfs(path).f_flag & os.ST_RDONLY:
        found.note("disk", f"{path} cannot be written to: it can be searched, but not brought up to date")
    elif free < LITTLE_SPACE:
        found.problem("disk", f"{_megabytes(free)} are free on its disk; the next update may find no room")


def _check_files(found: Diagnosis, library: Library) -> None:
    """Compare the folder with the index, by size and time. An unchanged file must have all of its pages there."""
    if not library.has_files:
        found.note("files", "not compared with the index: they are not on this machine")
        return
    try:
        contents = scan(library.folder)
        known = library.files()
    except PolylensError as error:
        found.problem("files", str(error))
        return
    told = still_true(contents, read_unsearchable(library.storage))
    same = [file for file, status in contents.files.items() if file in known and known[file].is_of(status)]
    half = [
        file for file in same if not _is_whole(library.folder / file, known[file].num_pages, _num_missing(told, file))
    ]
    if half:
        found.problem("pages", f"the index and the file differ in the number of pages: {_listed(half)}", half)
    gone = known.keys() - contents.files.keys()
    changed = (known.keys() & contents.files.keys()) - set(same)
    new = contents.files.keys() - known.keys() - {file for file, each in told.items() if each.reason}
    parts = {"changed": changed, "gone or ignored": gone, "not in the index": new}
    said = [f"{len(files)} {what} ({_listed(files)})" for what, files in parts.items() if files]
    if said:
        found.note("files", f"{'; '.join(said)}: `polylens index {library.folder}` brings it up to date")
    for line in listing_of(contents, told).lines():
        found.note("files", line)


def _num_missing(told: Mapping[str, Unsearchable], file: str) -> int:
    return len(told[file].missing_pages) if file in told else 0


def _is_whole(path: Path, num_pages: int, missing: int) -> bool:
    try:
        with readers().open(path) as document:
            return document.num_pages == num_pages + missing
    except DocumentError:  # it was indexed once and is unreadable now: nothing is known
        return True


def _listed(names: Sequence[str] | set[str]) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - NAMED} more" if len(shown) > NAMED else ""
    return ", ".join(shown[:NAMED]) + more


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def as_json(diagnosis: Diagnosis, repaired: Sequence[str] = ()) -> dict[str, Any]:
    """A diagnosis for JSON.

    Args:
        diagnosis: The state after the repair, where there was one.
        repaired: What the repair did.
    """
    return {
        "library": diagnosis.folder,
        "model": diagnosis.model_id,
        "files": diagnosis.num_files,
        "pages": diagnosis.num_pages,
        "well": diagnosis.is_well,
        "repaired": list(repaired),
        "findings": [
            {"check": f.check, "level": f.level, "message": f.message, "damaged": list(f.damaged)}
            for f in diagnosis.findings
        ],
    }
