"""LangChain: a library as a retriever, a model as embeddings. `pip install polylens[langchain]`.

>>> PolylensRetriever(library=Library("~/Documents"), kinds=["pdf"])  # doctest: +SKIP
"""

from __future__ import annotations

from datetime import date

try:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.retrievers import BaseRetriever
except ImportError as error:
    raise ImportError("this needs langchain-core: pip install polylens[langchain]") from error

from polylens.index.ranking.filters import Filters
from polylens.integrations.found import identity, metadata
from polylens.library.library import Library
from polylens.runtime.embedder import Embedder
from polylens.types import Kind


class PolylensRetriever(BaseRetriever):  # type: ignore[misc]  # mypy does not follow the package
    """Pages of a library, best first. A page that is only a picture has an empty text, and its place as the others do.

    `ainvoke`, `batch` and the rest are LangChain's own, over this one search.
    """

    library: Library
    top: int = 10
    """How many pages are wanted."""
    folder: str | None = None
    """Look below this folder only."""
    kinds: list[Kind] | None = None
    """Look among these kinds only."""
    languages: list[str] | None = None
    """Look among texts in these languages only: ISO 639 codes."""
    since: date | None = None
    """Look among files modified on this day or later only."""
    until: date | None = None
    """The same, on this day or before."""

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        del run_manager
        filters = Filters.of(self.folder, self.kinds, self.languages, self.since, self.until)
        hits = self.library.search(query, self.top, **filters.given())
        return [Document(hit.text, id=identity(hit), metadata=metadata(self.library, hit)) for hit in hits]


class PolylensEmbeddings(Embeddings):  # type: ignore[misc]
    """Dense vectors of texts: those of `embed_documents` are passages, that of `embed_query` is a query.

    Args:
        embedder: As `polylens.load` gives it.
        task: As in `Embedder.encode_text`.
        truncate_dim: As in `Embedder.encode_text`.
    """

    def __init__(self, embedder: Embedder, task: str | None = None, truncate_dim: int | None = None) -> None:
        self.embedder = embedder
        self.task = task
        self.truncate_dim = truncate_dim

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._embed(texts, "passage") if texts else []

    def embed_query(self, text: str) -> list[float]:
        return self._embed([text], "query")[0]

    def _embed(self, texts: list[str], prompt_name: str) -> list[list[float]]:
        return self.embedder.encode_text(texts, self.task, prompt_name, truncate_dim=self.truncate_dim).tolist()
