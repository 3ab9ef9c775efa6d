"""LlamaIndex: a library as a retriever, a model as an embedding. `pip install 'polylens[llama-index]'`.

>>> PolylensRetriever(Library("~/Documents"), filters=Filters.of(kinds=["pdf"]))  # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
from pathlib import Path

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
except ImportError as error:
    raise ImportError("this needs llama-index-core: pip install 'polylens[llama-index]'") from error

from polylens.index.ranking.filters import Filters
from polylens.integrations.found import identity, metadata
from polylens.library.library import Library
from polylens.library.reranking import Reranking
from polylens.runtime.embedder import Embedder
from polylens.types import Image

_FOR_PROGRAMS = [  # metadata that a language model is not shown beside the text
    "source",
    "match",
    "score",
    "rerank_score",
    "fused_score",
    "late_score",
    "dense_score",
    "text_score",
    "snippet",
    "places",
    "places_from",
]


class PolylensRetriever(BaseRetriever):  # type: ignore[misc]  # mypy does not follow the package
    """A retriever of a library's pages, best first. A page that is only a picture has an empty text.

    The text and the image of a `QueryBundle` with an `image_path` are looked for together.

    Args:
        library: The library to search.
        top: Most pages returned.
        filters: Which pages to look among; None is every page.
        rerank: What orders the first pages anew, as for `Library.search`.
        min_score: Leaves out pages whose match is lower, as for `Library.search`.
    """

    def __init__(
        self,
        library: Library,
        top: int = 10,
        *,
        filters: Filters | None = None,
        rerank: Reranking | None = None,
        min_score: float | None = None,
    ) -> None:
        super().__init__()
        self.library = library
        self.top = top
        self.filters = filters
        self.rerank = rerank
        self.min_score = min_score

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        parts: list[str | Image] = [query_bundle.query_str] if query_bundle.query_str else []
        if query_bundle.image_path:
            parts.append(Image(Path(query_bundle.image_path)))
        hits = self.library.search(parts, self.top, filters=self.filters, rerank=self.rerank, min_score=self.min_score)
        found = [(hit, metadata(self.library, hit)) for hit in hits]
        return [
            NodeWithScore(
                node=TextNode(
                    id_=identity(hit), text=hit.text, metadata=shown, excluded_llm_metadata_keys=_FOR_PROGRAMS
                ),
                score=shown["score"],
            )
            for hit, shown in found
        ]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


class PolylensEmbedding(BaseEmbedding):  # type: ignore[misc]
    """Dense vectors of texts: nodes are embedded as passages, questions as queries.

    Args:
        embedder: The model, from `polylens.load`.
        task: As in `Embedder.encode_text`.
        truncate_dim: As in `Embedder.encode_text`.
    """

    _embedder: Embedder = PrivateAttr()
    _task: str | None = PrivateAttr()
    _truncate_dim: int | None = PrivateAttr()

    def __init__(self, embedder: Embedder, task: str | None = None, truncate_dim: int | None = None) -> None:
        super().__init__(model_name=embedder.model_id)
        self._embedder, self._task, self._truncate_dim = embedder, task, truncate_dim

    @classmethod
    def class_name(cls) -> str:
        return "PolylensEmbedding"

    def _embed(self, texts: list[str], prompt_name: str) -> list[list[float]]:
        return self._embedder.encode_text(texts, self._task, prompt_name, truncate_dim=self._truncate_dim).tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embed([query], "query")[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._embed([text], "passage")[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._embed(texts, "passage") if texts else []

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)
