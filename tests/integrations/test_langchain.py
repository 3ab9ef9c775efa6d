"""The adapters in LangChain's own hands: its runnables, its vector store; no language model."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableParallel, RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore

import polylens
from polylens.errors import InputError
from polylens.index.ranking.filters import Filters
from polylens.integrations.langchain import PolylensEmbeddings, PolylensRetriever
from polylens.library.library import Library
from polylens.library.reranking import Reranking

QUERY = "the plumber wrote an invoice"


def test_a_document_is_a_page(library: Library) -> None:
    documents = PolylensRetriever(library=library).invoke(QUERY)
    hits = library.search(QUERY)
    assert [document.metadata["file"] for document in documents] == [hit.file for hit in hits]
    first, hit = documents[0], hits[0]
    assert (first.page_content, first.id) == ("The plumber wrote an invoice in May.", "notes/may.md#page=1")
    assert first.metadata == {
        "source": str(library.folder / "notes/may.md"),
        "file": "notes/may.md",
        "page": 1,
        "kind": "text",
        "language": "en",
        "modified": hit.modified.isoformat(timespec="seconds"),
        "match": pytest.approx(hit.match, abs=1e-4),
        "score": pytest.approx(hit.fused_score, abs=1e-4),
        "rerank_score": None,
        "fused_score": pytest.approx(hit.fused_score, abs=1e-4),
        "late_score": pytest.approx(hit.late_score, abs=1e-4),
        "dense_score": pytest.approx(hit.dense_score, abs=1e-4),
        "text_score": pytest.approx(hit.text_score, abs=1e-4),
        "snippet": hit.snippet,
        "places": [],
        "places_from": None,  # a text has no picture
    }
    assert 0 < first.metadata["score"] <= 1


def test_the_first_pages_are_reranked(library: Library) -> None:
    rerank = Reranking(polylens.load_reranker("nano"), pages=2)
    documents = PolylensRetriever(library=library, rerank=rerank).invoke(QUERY)
    scores = [document.metadata["rerank_score"] for document in documents]
    assert scores[0] >= scores[1] and scores[2] is None
    assert [document.metadata["score"] for document in documents[:2]] == scores[:2]


def test_a_picture_without_text_is_found_too(library: Library) -> None:
    [picture] = PolylensRetriever(library=library, filters=Filters.of(kinds=["image"])).invoke("anything red")
    assert (picture.page_content, picture.metadata["file"], picture.metadata["kind"]) == ("", "red.png", "image")


def test_filters(library: Library) -> None:
    def files(top: int = 10, **given: object) -> set[str]:
        return {
            each.metadata["file"]
            for each in PolylensRetriever(library=library, top=top, filters=Filters.of(**given)).invoke(QUERY)
        }

    assert files() == {"notes/may.md", "harbour.txt", "red.png"}
    assert files(top=1) == {"notes/may.md"}
    assert files(folder="notes") == {"notes/may.md"}
    assert files(kinds=["text"]) == {"notes/may.md", "harbour.txt"}
    assert files(kinds=["pdf"]) == set()
    assert files(languages=["en"]) == {"notes/may.md", "harbour.txt"}
    assert files(since="2000-01-01", until="2000-12-31") == set()
    assert files(since="2000-01-01") == {"notes/may.md", "harbour.txt", "red.png"}
    with pytest.raises(InputError, match="ISO 639"):
        files(languages=["english"])
    with pytest.raises(InputError, match="a kind is one of"):
        files(kinds=["song"])


def test_async_and_batch(library: Library) -> None:
    retriever = PolylensRetriever(library=library, top=1)
    [found] = asyncio.run(retriever.ainvoke(QUERY))
    assert found.metadata["file"] == "notes/may.md"
    batch = retriever.batch([QUERY, "ships leave the harbour"] * 4)
    assert [found.metadata["file"] for [found] in batch] == ["notes/may.md", "harbour.txt"] * 4


def test_in_a_chain(library: Library) -> None:
    retriever = PolylensRetriever(library=library, top=1)
    asked = {"context": retriever | (lambda found: found[0].page_content), "question": RunnablePassthrough()}
    chain = RunnableParallel(asked) | PromptTemplate.from_template("Given that {context} {question}?")
    assert chain.invoke(QUERY).to_string() == f"Given that The plumber wrote an invoice in May. {QUERY}?"


def test_embeddings_are_the_models() -> None:
    nano = polylens.load("nano")
    embeddings = PolylensEmbeddings(nano, truncate_dim=128)
    passages = np.array(embeddings.embed_documents(["a gauge", "a lighthouse"]))
    assert np.allclose(
        passages, nano.encode_text(["a gauge", "a lighthouse"], "retrieval", "passage", truncate_dim=128)
    )
    query = np.array(embeddings.embed_query("a gauge"))
    assert np.allclose(query, nano.encode_text("a gauge", "retrieval", "query", truncate_dim=128))
    assert not np.allclose(query, passages[0])
    assert embeddings.embed_documents([]) == []
    store = InMemoryVectorStore.from_texts(["an invoice for the mast", "birds of the harbour"], embeddings)
    assert store.similarity_search("an invoice", k=1)[0].page_content == "an invoice for the mast"
