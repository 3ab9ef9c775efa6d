"""LangChain: a library as a retriever, a model as embeddings. `pip install 'polylens[langchain]'`.

>>> PolylensRetriever(library=Library("~/Documents"), filters=Filters.of(kinds=["pdf"]))  # doctest: +SKIP
"""

from __future__ import annotations

try:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.retrievers import BaseRetriever
except ImportError as error:
    raise ImportError("this needs langchain-core: pip install 'polylens[langchain]'") from error

from polylens.index.ranking.filters import Filters
from polylens.integrations.found import identity, metadata
from polylens.library.library import Library
from polylens.library.reranking import Reranking
from polylens.runtime.embedder import Embedder


class PolylensRetriever(BaseRetriever):  # type: ignore[misc]  # mypy does not follow the package
    """A retriever of a library's pages, best first. A page that is only a picture has an empty text.

    `ainvoke`, `batch` and the rest are LangChain's own, on top of this one search.
    """

    library: Library
    top: int = 10
    """Most pages returned."""
    filters: Filters | None = None
    """Which pages to look among; None is every page."""
    rerank: Reranking | None = None
    """What orders the first pages anew, as for `Library.search`."""
    min_score: float | None = None
    """Leaves out pages whose match is lower, as for `Library.search`; a model is then given nothing off the point."""

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        del run_manager
        hits = self.library.search(query, self.top, filters=self.filters, rerank=self.rerank, min_score=self.min_score)
        return [Document(hit.text, id=identity(hit), metadata=metadata(self.library, hit)) for hit in hits]


class PolylensEmbeddings(Embeddings):  # type: ignore[misc]
    """Dense vectors of texts: `embed_documents` embeds passages, `embed_query` a query.

    Args:
        embedder: The model, from `polylens.load`.
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
