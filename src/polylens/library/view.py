"""A library's index at one moment: one read of its manifest and one open table answer any number of questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import PIL.Image

from polylens import types
from polylens.errors import InputError, ModelMismatchError, PolylensError
from polylens.index.ranking.cut import Cut, Ranked
from polylens.library.looking import looks_of
from polylens.library.page_embedding import PageEmbedder, calibration_of, join_alike
from polylens.library.reranking import Found, PageReranker, Part, Reranking, rerank_pages
from polylens.types import Embedding

if TYPE_CHECKING:
    from polylens.index.facets import Facets
    from polylens.index.ranking.filters import Filters
    from polylens.index.ranking.match import Asked
    from polylens.index.search import By, Hit
    from polylens.index.table.manifest import Manifest
    from polylens.index.table.snapshot import FileRecord, Snapshot, StoredPage

Group = Literal["file"]
"""What has one place in a list of results, where it is not the page."""

Query = Part | Sequence[Part]

LIKE_TOKENS = 64  # vectors by which a page is compared with all others

T = TypeVar("T")


class View:
    """A library's index at one moment. `Library` has the same methods, each with a view of its own.

    The version that it sees may be compacted away, or replaced by a rebuild, under a slow search. Then the latest one
    takes its place and the question is asked once more; no other error is tried again.

    Args:
        name: The library's name, for messages.
        read_manifest: Reads the manifest of the index, and refuses that of another model.
        open_snapshot: Opens the table that a manifest names.
        embedder: Gives the model that a manifest names.
        folder: Where the files are; None where they are not on this machine.
    """

    def __init__(
        self,
        name: str,
        read_manifest: Callable[[], Manifest],
        open_snapshot: Callable[[Manifest], Snapshot],
        embedder: Callable[[Manifest], PageEmbedder],
        folder: Path | None,
    ) -> None:
        self._name = name
        self._read_manifest = read_manifest
        self._open_snapshot = open_snapshot
        self._load_embedder = embedder
        self._folder = folder
        self._manifest: Manifest | None = None
        self._snapshot: Snapshot | None = None

    @property
    def manifest(self) -> Manifest:
        """The manifest of the index, as it was when this was first asked.

        Raises:
            LibraryNotFoundError: There is no index.
            ModelMismatchError: It was made with another model than the library's.
        """
        if self._manifest is None:
            self._manifest = self._read_manifest()
        return self._manifest

    @property
    def embedder(self) -> PageEmbedder:
        """The model that the index was made with, loaded now if it was not yet."""
        return self._load_embedder(self.manifest)

    def search(
        self,
        query: Query,
        top: int = 10,
        *,
        by: By = "fused",
        filters: Filters | None = None,
        rerank: Reranking | PageReranker | None = None,
        min_score: float | None = None,
        offset: int = 0,
        group: Group | None = None,
        places: bool = True,
    ) -> Found:
        """See `Library.search`."""
        _require_top(top)
        cut = _cut(offset, min_score, group)
        parts = [query] if isinstance(query, (str, types.Image, PIL.Image.Image)) else list(query)
        parts = [part for part in parts if not isinstance(part, str) or part.strip()] or parts
        if not parts:
            raise InputError("the query is empty; say what to look for")
        words = " ".join(part for part in parts if isinstance(part, str))
        _require_ranking(by, has_words=bool(words.strip()))
        from polylens.index.ranking.match import measure_of
        from polylens.index.search import Showing, search

        embedder = self.embedder
        embeddings = embedder.embed(parts, task="retrieval", prompt_name="query")
        embedding = join_alike(embeddings)
        looks = looks_of(embedder, self.manifest, parts, embeddings) if places else None
        showing = Showing(places=places, looks=looks)
        measure = measure_of(calibration_of(embedder), _asked_by(parts))

        def ask(top: int, cut: Cut) -> Ranked[Hit]:
            return self._ask(
                lambda snapshot: search(
                    snapshot,
                    embedding,
                    top,
                    by=by,
                    query_words=words,
                    filters=filters,
                    cut=cut,
                    measure=measure,
                    showing=showing,
                )
            )

        if rerank is None:
            return Found(ask(top, cut))
        reranking = rerank if isinstance(rerank, Reranking) else Reranking(rerank)
        ranked = ask(max(offset + top, reranking.pages), replace(cut, offset=0))
        ordered, reranked = rerank_pages(ranked, parts, reranking, self._folder)
        return Found(ranked, ordered[offset : offset + top], reranked)

    def like(
        self,
        file: str,
        page: int,
        top: int = 10,
        *,
        by: By = "fused",
        filters: Filters | None = None,
        min_score: float | None = None,
        offset: int = 0,
        group: Group | None = None,
        places: bool = True,
    ) -> Found:
        """See `Library.like`."""
        _require_top(top)
        _require_ranking(by, has_words=False)
        cut = replace(_cut(offset, min_score, group), without=(file, page))
        return self._ask(lambda snapshot: _like(snapshot, file, page, top, by, filters, cut, places))

    def why_nothing(self, *, by: By = "fused", filters: Filters | None = None, found: Found | None = None) -> str:
        """See `Library.why_nothing`."""
        if found is not None and (told := found.why_empty()):
            return told
        return self._ask(lambda snapshot: self._why_nothing(snapshot, by, filters))

    def stored(self, file: str, page: int) -> StoredPage:
        """See `Library.stored`."""
        return self._ask(lambda snapshot: snapshot.fetch([_row_of(snapshot, file, page)])[0])

    def require_page(self, file: str, page: int) -> None:
        """Refuse a page that the index does not have.

        Raises:
            InputError: It does not have it.
        """
        self._ask(lambda snapshot: _row_of(snapshot, file, page))

    def count(self) -> int:
        """See `Library.count`."""
        return self._ask(lambda snapshot: snapshot.count())

    def files(self) -> dict[str, FileRecord]:
        """See `Library.files`."""
        return self._ask(lambda snapshot: snapshot.files())

    def num_pages(self, files: Sequence[str]) -> dict[str, int]:
        """See `Library.num_pages`."""
        return self._ask(lambda snapshot: snapshot.num_pages(files)) if files else {}

    def pages(self, after: tuple[str, int] | None, most: int) -> list[tuple[str, int]]:
        """The file and number of pages in the order of their files.

        Args:
            after: The file and number of the page before the first one; the index need not have it any more. None
                begins at the beginning.
            most: Most pages returned.
        """
        return self._ask(lambda snapshot: _pages(snapshot, after or ("", 0), most))

    def facets(self) -> Facets:
        """See `Library.facets`."""
        from polylens.index.facets import count_facets

        return self._ask(count_facets)

    def version(self) -> tuple[str, int]:
        """The state of the index that this sees; another one after each commit."""
        return self._ask(lambda snapshot: snapshot.version)

    def _ask(self, question: Callable[[Snapshot], T]) -> T:
        from polylens.index.table.snapshot import is_superseded

        manifest, version = self.manifest, None
        try:
            if self._snapshot is None:
                self._snapshot = self._open_snapshot(manifest)
            version = self._snapshot.version
            return question(self._snapshot)
        except (PolylensError, RuntimeError, OSError) as error:
            if not is_superseded(error):
                raise
            self._manifest = self._read_manifest()
            if self._manifest.model_id != manifest.model_id:  # the question's vectors are of the old one
                raise ModelMismatchError(
                    f"the index of {self._name} was made anew with another model, {self._manifest.model_id!r}, during "
                    "this search; search again"
                ) from error
            self._snapshot = self._open_snapshot(self._manifest)
            if (self._manifest, self._snapshot.version) == (manifest, version):  # not superseded but damaged
                raise
        return question(self._snapshot)

    def _why_nothing(self, snapshot: Snapshot, by: By, filters: Filters | None) -> str:
        where = snapshot.where(filters) if filters else None
        if not snapshot.count():
            return f"the index is empty: {self._name} has no PDF, picture, text or office document that can be read"
        if filters and not snapshot.count(where):
            if filters.languages and not snapshot.has_languages:
                return (
                    "no page of this index has a language yet; `polylens index` determines them, or remove the filter"
                )
            strict = [each for each in filters.alone() if not snapshot.count(snapshot.where(each))]
            named = " nor ".join(each.in_words() for each in strict) or filters.in_words()
            return f"no page is {named}; remove a filter"
        if by == "text":
            page = "no page that matches the filters" if where else "no page"
            return f"{page} has any of these words in its text; rank by late, dense or fused to go by meaning and looks"
        return "no other page matches the filters" if where else "there is no other page"


def _asked_by(parts: Sequence[Part]) -> Asked:
    """What a query is made of."""
    kinds = {isinstance(part, str) for part in parts}
    return "both" if len(kinds) > 1 else "words" if True in kinds else "picture"


def _cut(offset: int, min_score: float | None, group: str | None) -> Cut:
    if group not in (None, "file"):
        raise InputError(f"pages can be grouped by 'file', or by None for not at all, got {group!r}")
    return Cut(offset=offset, min_score=min_score, by_file=group == "file")


def _pages(snapshot: Snapshot, after: tuple[str, int], most: int) -> list[tuple[str, int]]:
    files: list[str] = []
    expected = 0  # pages of the files after the first, of which all may lie before
    for name, record in sorted(snapshot.files().items()):
        if name >= after[0] and expected < most:
            files.append(name)
            expected += 0 if name == after[0] else record.num_pages
    numbers = snapshot.page_numbers(files) if files else {}
    pages = [(name, number) for name in files for number in numbers.get(name, ())]
    return [page for page in pages if page > after][:most]


def _like(
    snapshot: Snapshot,
    file: str,
    page: int,
    top: int,
    by: By,
    filters: Filters | None,
    cut: Cut,
    places: bool,
) -> Found:
    from polylens.index.ranking.match import measure_of
    from polylens.index.ranking.pooling import evenly
    from polylens.index.search import Showing, search

    row = _row_of(snapshot, file, page)
    [stored], tokens = snapshot.fetch([row]), snapshot.multivectors([row])[row]
    spread = evenly(tokens, LIKE_TOKENS).astype(np.float32)
    query = Embedding(snapshot.dense_of(row), spread)
    showing = Showing(words=stored.text, places=places)
    measure = measure_of(None, "like")
    return Found(search(snapshot, query, top, by=by, filters=filters, cut=cut, measure=measure, showing=showing))


def _row_of(snapshot: Snapshot, file: str, page: int) -> int:
    """The row of a page in the index.

    Raises:
        InputError: The index has no such page.
    """
    row = snapshot.row_of(file, page)
    if row is None:
        raise InputError(f"the index has no page {page} of {file!r}")
    return row


def _require_top(top: int) -> None:
    if top < 1:
        raise InputError(f"top must be at least 1, got {top}")


def _require_ranking(by: Any, *, has_words: bool) -> None:
    from polylens.index.search import RANKINGS

    if by not in RANKINGS:
        raise InputError(f"by must be one of {', '.join(RANKINGS)}, got {by!r}")
    if by == "text" and not has_words:
        raise InputError("full text needs words, and this query has none; rank by late, dense or fused")
