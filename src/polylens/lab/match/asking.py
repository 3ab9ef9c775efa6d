"""Asks the queries of the material in libraries of many sizes, and keeps what every search knew of its best pages."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from polylens.index.ranking.match import Asked, Evidence
from polylens.index.search import By, search
from polylens.index.table.schema import FilePages, PageRow, page_table
from polylens.index.table.snapshot import Snapshot
from polylens.index.table.store import Store
from polylens.lab.match.material import AskedQuery, Material, SeenPage
from polylens.library.page_embedding import join, join_alike
from polylens.types import Embedding, FloatArray, Kind

SIZES = (4, 12, 30, 70, 140)
"""Pages of the libraries, as far as there are so many."""

PRESENT = 0.5
"""Share of the questions whose answer is in the library. What a person looks for in a folder is there or it is not, and
nobody knows how often."""

LOOKS: tuple[tuple[str, float], ...] = (("scan", 0.35), ("pdf", 0.45), ("text", 0.2))
"""How a page of a library is kept, and its share: a picture alone, a picture and its text, a text alone."""

QUESTIONS = 400
"""Most questions in libraries of one size: each library takes a while to make."""

MOST_OF = 0.7
"""Of all pages, that a library may have: the answers to half of its questions have to stay outside."""


@dataclass(frozen=True, slots=True)
class Case:
    """One search, with everything that the stages say about its pages."""

    asked: Asked
    evidence: Evidence
    """Of every page of the library, in the order of the fused ranking."""
    right: npt.NDArray[np.bool_]
    """`[N]`: whether a page answers the query."""
    is_answered: bool
    """Whether any page of the library does."""

    def ranked(self, by: By) -> Case:
        """The case as a ranking sees it: the pages that it finds, in its order."""
        told = self.evidence
        if by == "fused":
            return self
        scores = {"late": told.late, "dense": told.dense, "text": told.text}[by]
        order = np.argsort(-scores, kind="stable")
        if by == "text":
            order = order[scores[order] > 0]
        rows = {name: getattr(told, name)[order] for name in ("late", "dense", "text", "has_text")}
        return replace(self, evidence=replace(told, by=by, **rows), right=self.right[order])


def questions(material: Material) -> list[tuple[Asked, AskedQuery]]:
    """All that is asked: the words, the pictures, and each picture together with words about the same page."""
    about = {number: query for query in material.queries for number in query.answers}
    both = [
        AskedQuery(words.text, join_alike([words.embedding, picture.embedding]), picture.answers)
        for picture in material.pictures
        for number in picture.answers
        if (words := about.get(number))
    ]
    asked: list[tuple[Asked, AskedQuery]] = [("words", query) for query in material.queries]
    asked += [("picture", query) for query in material.pictures]
    return [*asked, *(("both", query) for query in both)]


def ask_all(material: Material, seed: int) -> Iterator[Case]:
    """Asks in libraries of each size, at most `QUESTIONS` questions in those of one size.

    The pages of a small library are chosen for the queries that are asked in it: half of them have an answer there.

    Args:
        material: Pages and queries.
        seed: Decides which pages are in which library, and how they are kept.
    """
    everything = questions(material)
    for size in sizes(material):
        rng = random.Random(f"match/{seed}/{size}")
        chosen = rng.sample(everything, min(QUESTIONS, len(everything)))
        step = max(1, size // 2)
        for start in range(0, len(chosen), step):
            turn = chosen[start : start + step]
            yield from _ask(material, _library(rng, material, turn, size), turn, rng)


def sizes(material: Material) -> list[int]:
    """The sizes of the libraries that the material has enough pages for."""
    return [size for size in SIZES if size <= MOST_OF * len(material.pages)]


def _library(rng: random.Random, material: Material, turn: Sequence[tuple[Asked, AskedQuery]], size: int) -> list[int]:
    """The numbers of the pages of a library."""
    is_wanted = [rng.random() < PRESENT for _ in turn]
    absent: set[int] = set()
    for (_, query), wanted in zip(turn, is_wanted, strict=True):
        absent |= set() if wanted else query.answers
    answers = [min(query.answers) for (_, query), wanted in zip(turn, is_wanted, strict=True) if wanted]
    others = [number for number in range(len(material.pages)) if number not in absent]
    rng.shuffle(others)
    return list(dict.fromkeys([*(number for number in answers if number not in absent), *others]))[:size]


def _ask(
    material: Material, numbers: Sequence[int], turn: Sequence[tuple[Asked, AskedQuery]], rng: random.Random
) -> Iterator[Case]:
    with tempfile.TemporaryDirectory(prefix="polylens-") as folder:
        rows = [_row(rng, place, material.pages[number]) for place, number in enumerate(numbers, start=1)]
        one = rows[0]
        with Store.create(Path(folder), "match", len(one.dense), one.multivector.shape[1]) as store:
            table = page_table(rows, store.dim, store.token_dim)
            store.commit([FilePages("pages", "", 0, 0, table)])
        snapshot = Store.open(Path(folder)).snapshot()
        for asked, query in turn:
            yield _case(snapshot, numbers, asked, query)


def _case(snapshot: Snapshot, numbers: Sequence[int], asked: Asked, query: AskedQuery) -> Case:
    kept: list[Evidence] = []

    def keep(evidence: Evidence) -> FloatArray:
        kept.append(evidence)
        return np.zeros(len(evidence.text), np.float32)

    found = search(snapshot, query.embedding, len(numbers), query_words=query.text, measure=keep)
    right = np.array([numbers[hit.page - 1] in query.answers for hit in found], bool)
    return Case(asked, kept[0], right, bool(right.any()))


def _row(rng: random.Random, place: int, page: SeenPage) -> PageRow:
    """A page as a library keeps it: a scan, a page with a text layer, or a plain text."""
    [look] = rng.choices([name for name, _ in LOOKS], [share for _, share in LOOKS])
    parts: list[Embedding] = {"scan": [page.picture], "pdf": [page.picture, page.words], "text": [page.words]}[look]
    joined = join(parts)
    kind: Kind = "image" if look == "scan" else "pdf" if look == "pdf" else "text"
    text = "" if look == "scan" else page.text
    return PageRow(place, kind, text, joined.dense, joined.multivector.astype(np.float16))
