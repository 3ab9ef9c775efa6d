"""Hard negatives: documents that a model takes for right and that are wrong.

Moreira et al. 2024, https://arxiv.org/abs/2407.15831, section 3 ("TopK-PercPos"): the best-ranked documents whose score
stays below a share of the right one's, since what comes nearer than that is often right too and only not labelled.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from polylens.errors import InputError
from polylens.index.ranking.late import maxsim
from polylens.index.search import Hit, search
from polylens.index.table.schema import FilePages, PageRow, page_table
from polylens.index.table.snapshot import Snapshot
from polylens.index.table.store import Store
from polylens.library.page_embedding import PageEmbedder
from polylens.train.pairs import Pair, Side, Source
from polylens.types import Embedding, Image, Kind

AT_A_TIME = 64  # inputs embedded together, and documents committed together
DEPTH = 100  # documents of each query's ranking that are looked at


def mine(
    source: Source,
    embedder: PageEmbedder,
    *,
    task: str,
    negatives: int,
    below: float,
    report: Callable[[int, int], None],
) -> list[Pair]:
    """Gives each pair its hard negatives, chosen by late interaction among the documents of the whole file.

    Negatives that a pair has already stay, and come first. Documents that any pair of the same query names are right
    ones and are left out.

    Args:
        source: Pairs without scores.
        embedder: Ranks the documents.
        task: Whose adapter it ranks with.
        negatives: Most a pair gets, those that it has included.
        below: Largest share of the right document's score that a negative may reach.
        report: Called with the inputs embedded so far and how many there are.

    Returns:
        The pairs in their order. One that no document qualifies for has no more negatives than before.

    Raises:
        InputError: The pairs have scores.
    """
    if source.graded:
        raise InputError(f"{source.path} has pairs with scores; negatives are for pairs that simply belong together")
    documents = list(dict.fromkeys(pair.document for pair in source.pairs))
    queries = list(dict.fromkeys(pair.query for pair in source.pairs))
    right: dict[Side, set[Side]] = {}
    for pair in source.pairs:
        right.setdefault(pair.query, set()).add(pair.document)
    total = len(documents) + len(queries)
    rankings: dict[Side, list[Hit]] = {}
    own_scores: dict[tuple[Side, Side], float] = {}
    place = {document: number for number, document in enumerate(documents)}
    with (
        tempfile.TemporaryDirectory(prefix="polylens-mining-") as folder,
        _indexed(documents, embedder, task, Path(folder), lambda done: report(done, total)) as store,
    ):
        snapshot = store.snapshot()
        for done, (query, embedding) in enumerate(_embedded(queries, embedder, task, "query"), start=1):
            rankings[query] = search(snapshot, embedding, DEPTH, by="late")
            ranked = {_number(hit): hit.late_score for hit in rankings[query]}
            for document in right[query]:
                number = place[document]
                own_scores[query, document] = (
                    ranked[number] if number in ranked else _score(snapshot, embedding, number)
                )
            report(len(documents) + done, total)
    mined = []
    for pair in source.pairs:
        limit = below * own_scores[pair.query, pair.document]
        low = (documents[_number(hit)] for hit in rankings[pair.query] if hit.late_score < limit)
        found = dict.fromkeys((*pair.negatives, *(each for each in low if each not in right[pair.query])))
        mined.append(replace(pair, negatives=tuple(found)[: max(negatives, len(pair.negatives))]))
    return mined


def _indexed(
    documents: Sequence[Side], embedder: PageEmbedder, task: str, folder: Path, report: Callable[[int], None]
) -> Store:
    """An index of the documents: each lot of them a file, each of them a page of it."""
    store: Store | None = None
    lot: list[PageRow] = []
    for done, (document, embedding) in enumerate(_embedded(documents, embedder, task, "passage"), start=1):
        if store is None:
            shape = len(embedding.dense), embedding.multivector.shape[1]
            store = Store.create(folder / "index", embedder.model_id, *shape)
        kind: Kind = "image" if isinstance(document, Path) else "text"
        lot.append(PageRow(len(lot) + 1, kind, "", embedding.dense, embedding.multivector.astype(np.float16)))
        if len(lot) == AT_A_TIME or done == len(documents):
            name = str((done - 1) // AT_A_TIME)
            store.replace_file(FilePages(name, "", 0, 0, page_table(lot, store.dim, store.token_dim)))
            lot = []
        report(done)
    assert store is not None, "a source has at least two pairs"
    return store


def _number(hit: Hit) -> int:
    """Which document a page of the index is."""
    return int(hit.file) * AT_A_TIME + hit.page - 1


def _score(snapshot: Snapshot, query: Embedding, document: int) -> float:
    """The late score of a document that is not among the ranked ones."""
    row = snapshot.row_of(str(document // AT_A_TIME), document % AT_A_TIME + 1)
    assert row is not None
    return float(maxsim(query.multivector, snapshot.multivectors([row]))[0]) / query.num_tokens


def _embedded(
    sides: Sequence[Side], embedder: PageEmbedder, task: str, prompt_name: str
) -> Iterator[tuple[Side, Embedding]]:
    for start in range(0, len(sides), AT_A_TIME):
        some = sides[start : start + AT_A_TIME]
        inputs = [Image(side) if isinstance(side, Path) else side for side in some]
        yield from zip(some, embedder.embed(inputs, task=task, prompt_name=prompt_name), strict=True)
