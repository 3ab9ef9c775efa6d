"""The adapters in LlamaIndex's own hands: its query engines' retrieval step, its vector index; no language model."""

from __future__ import annotations

import asyncio
from datetime import date

import numpy as np
import PIL.Image
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.response.schema import Response
from llama_index.core.llms.mock import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import MetadataMode, QueryBundle, TextNode

import polylens
from polylens.errors import InputError
from polylens.index.ranking.filters import Filters
from polylens.integrations.llama_index import PolylensEmbedding, PolylensRetriever
from polylens.library.library import Library
from polylens.library.reranking import Reranking

QUERY = "the plumber wrote an invoice"


@pytest.fixture
def library(library: Library) -> Library:
    PIL.Image.new("RGB", (20, 20), "blue").save(library.folder / "blue.png")
    library.update()
    return library


def test_a_node_is_a_page(library: Library) -> None:
    nodes = PolylensRetriever(library).retrieve(QUERY)
    hits = library.search(QUERY)
    assert [node.metadata["file"] for node in nodes] == [hit.file for hit in hits]
    first, hit = nodes[0], hits[0]
    assert (first.text, first.node_id) == ("The plumber wrote an invoice in May.", "notes/may.md#page=1")
    assert first.score == pytest.approx(hit.fused_score, abs=1e-4) == first.metadata["score"]
    assert (first.metadata["page"], first.metadata["kind"]) == (1, "text")
    assert first.metadata["source"] == str(library.folder / "notes/may.md")
    shown = first.node.get_content(MetadataMode.LLM)
    assert "file: notes/may.md" in shown and "score" not in shown and "snippet" not in shown


def test_the_first_pages_are_reranked(library: Library) -> None:
    nodes = PolylensRetriever(library, rerank=Reranking(polylens.load_reranker("nano"), pages=2)).retrieve(QUERY)
    scores = [node.metadata["rerank_score"] for node in nodes]
    assert scores[0] >= scores[1] and scores[2:] == [None, None]
    assert [node.score for node in nodes[:2]] == scores[:2]


def test_filters_and_pictures(library: Library) -> None:
    def files(top: int = 10, **given: object) -> set[str]:
        return {
            node.metadata["file"]
            for node in PolylensRetriever(library, top=top, filters=Filters.of(**given)).retrieve(QUERY)
        }

    assert files(top=1) == files(folder="notes") == {"notes/may.md"}
    assert files(kinds=["image"]) == {"red.png", "blue.png"}
    assert files(kinds=["pdf"]) == set()
    assert files(languages=["en"], since=date(2000, 1, 1)) == {"notes/may.md", "harbour.txt"}
    assert files(until="2000-12-31") == set()
    with pytest.raises(InputError, match="since must be a date"):
        files(since="May")


def test_an_image_in_the_query(library: Library) -> None:
    nano = Library(library.folder, polylens.load("nano"))  # opens the file itself, which the stand-in does not
    nano.update(rebuild=True)
    retriever = PolylensRetriever(nano, top=1)
    for name in ("red.png", "blue.png"):
        [found] = retriever.retrieve(QueryBundle("", image_path=str(library.folder / name)))
        assert (found.metadata["file"], found.text) == (name, "")


def test_async(library: Library) -> None:
    async def ask() -> list[str]:
        retriever = PolylensRetriever(library, top=1)
        found = await asyncio.gather(*(retriever.aretrieve(query) for query in [QUERY, "ships leave the harbour"] * 3))
        return [node.metadata["file"] for [node] in found]

    assert asyncio.run(ask()) == ["notes/may.md", "harbour.txt"] * 3


def test_in_a_query_engine(library: Library) -> None:
    engine = RetrieverQueryEngine.from_args(PolylensRetriever(library, top=2), llm=MockLLM())
    [*found] = engine.retrieve(QueryBundle(QUERY))
    assert found[0].metadata["file"] == "notes/may.md"
    answer = engine.query(QUERY)
    assert isinstance(answer, Response) and [node.node_id for node in answer.source_nodes] == [
        node.node_id for node in found
    ]
    assert "The plumber wrote an invoice in May." in str(answer)  # the stand-in says what it was asked


def test_the_embedding_is_the_models() -> None:
    nano = polylens.load("nano")
    embedding = PolylensEmbedding(nano, truncate_dim=128)
    passage = nano.encode_text(["a gauge"], "retrieval", "passage", truncate_dim=128)[0]
    query = nano.encode_text("a gauge", "retrieval", "query", truncate_dim=128)
    assert np.allclose(embedding.get_text_embedding("a gauge"), passage)
    assert np.allclose(embedding.get_text_embedding_batch(["a gauge", "x"])[0], passage, atol=1e-2)
    assert np.allclose(embedding.get_query_embedding("a gauge"), query)
    assert np.allclose(asyncio.run(embedding.aget_query_embedding("a gauge")), query)
    assert not np.allclose(passage, query)
    texts = ["an invoice for the mast", "birds of the harbour"]
    index = VectorStoreIndex([TextNode(text=text) for text in texts], embed_model=embedding)
    [found] = index.as_retriever(similarity_top_k=1).retrieve("an invoice")
    assert found.text == "an invoice for the mast"
