"""Hard negatives: wrong documents that a model ranks high.

Moreira et al. 2024, https://arxiv.org/abs/2407.15831, section 3 ("TopK-PercPos"): the best-ranked documents whose score
stays below a share of the right one's, since a document that scores higher is often right too and only not labelled.
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
from polylens.train.pairs import Pair, PairFile, Side
from polylens.types import Embedding, Image, Kind

BATCH_INPUTS = 64  # inputs embedded together, and documents committed together
DEPTH = 100  # documents considered per query


def mine(
    source: PairFile,
    embedder: PageEmbedder,
    *,
    task: str,
    negatives: int,
    below: float,
    report: Callable[[int, int], None],
) -> list[Pair]:
    """Gives each pair its hard negatives, chosen by late interaction among the documents of the whole file.

    A pair keeps the negatives that it already has, in front. Documents of other pairs with the same query are right,
    too, and are never negatives.

    Args:
        source: Pairs without scores.
        embedder: Ranks the documents.
        task: The task whose adapter ranks.
        negatives: Most negatives per pair, including those that it already has.
        below: Largest score of a negative, as a share of the right document's score.
        report: Called with the number of inputs embedded so far, and their total.

    Returns:
        The pairs in their order. A pair for which no document qualifies has no new negatives.

    Raises:
        InputError: The pairs have scores.
    """
    if source.graded:
        raise InputError(f"{source.path} has pairs with scores; only pairs without scores can have negatives")
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
    """An index of the documents: each group of `BATCH_INPUTS` is a file, each document a page of it."""
    store: Store | None = None
    group: list[PageRow] = []
    for done, (document, embedding) in enumerate(_embedded(documents, embedder, task, "passage"), start=1):
        if store is None:
            shape = len(embedding.dense), embedding.multivector.shape[1]
            store = Store.create(folder / "index", embedder.model_id, *shape)
        kind: Kind = "image" if isinstance(document, Path) else "text"
        group.append(PageRow(len(group) + 1, kind, "", embedding.dense, embedding.multivector.astype(np.float16)))
        if len(group) == BATCH_INPUTS or done == len(documents):
            name = str((done - 1) // BATCH_INPUTS)
            store.replace_file(FilePages(name, "", 0, 0, page_table(group, store.dim, store.token_dim)))
            group = []
        report(done)
    assert store is not None, "a source has at least two pairs"
    return store


def _number(hit: Hit) -> int:
    """The number of the document that a page of the index is."""
    return int(hit.file) * BATCH_INPUTS + hit.page - 1


def _score(snapshot: Snapshot, query: Embedding, document: int) -> float:
    """The MaxSim score of one document."""
    row = snapshot.row_of(str(document // BATCH_INPUTS), document % BATCH_INPUTS + 1)
    assert row is not None
    return float(maxsim(query.multivector, list(snapshot.multivectors([row]).values()))[0]) / query.num_tokens


def _embedded(
    sides: Sequence[Side], embedder: PageEmbedder, task: str, prompt_name: str
) -> Iterator[tuple[Side, Embedding]]:
    for start in range(0, len(sides), BATCH_INPUTS):
        some = sides[start : start + BATCH_INPUTS]
        inputs = [Image(side) if isinstance(side, Path) else side for side in some]
        yield from zip(some, embedder.embed(inputs, task=task, prompt_name=prompt_name), strict=True)
