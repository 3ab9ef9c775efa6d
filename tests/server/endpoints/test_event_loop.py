"""The event loop never computes: while the work of a large request is held still, other requests are answered.

The application runs in this process, its vectors are made up, and one function of each endpoint is held by an event
that is set only after `/health` has answered. On the event loop the function fails, as it would wait for itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from starlette.applications import Starlette
from tests.support.waiting import HANG

from polylens.index.ranking.filters import Filters
from polylens.server.app import create_app
from polylens.server.classifiers.record import Classifier
from polylens.server.classifiers.store import ClassifierStore
from polylens.server.endpoints import classify, embeddings, invocations, rerank, segment, train
from polylens.server.endpoints.embedding_service import Embedded, EmbeddingService
from polylens.server.engine.registry import Served
from polylens.server.intake import reading
from polylens.server.search_page import routes
from polylens.server.settings import Settings
from polylens.types import Embedding

NANO = {"model": "nano", "input": ["a", "b"]}
ROWS = {**NANO, "return_multivector": True, "return_tokenized_input": True}
RANKING = {"model": "nano", "query": "a", "documents": ["b", "c"]}
ZERO_SHOT = {**NANO, "labels": ["x", "y"]}
SAMPLES = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]

Case = tuple[Any, str, str, dict[str, Any]]
CASES: dict[str, Case] = {
    "sorting the inputs": (embeddings, "parse_input", "/v1/embeddings", NANO),
    "sorting the query of a ranking": (rerank, "parse_item", "/v1/rerank", RANKING),
    "sorting samples": (train, "parse_item", "/v1/train", {"model": "nano", "input": SAMPLES}),
    "reading SageMaker's form": (invocations, "checked", "/invocations", {"data": ["a", "b"]}),
    "reading a ranking in SageMaker's form": (invocations, "checked", "/invocations", {"data": RANKING}),
    "dense rows": (embeddings, "single", "/v1/embeddings", {**NANO, "embedding_type": "base64"}),
    "multi-vector rows": (embeddings, "multi", "/v1/embeddings", ROWS),
    "texts of the tokens": (embeddings, "token_texts", "/v1/embeddings", ROWS),
    "scores of a ranking": (rerank, "relevance", "/v1/rerank", RANKING),
    "a ranking in SageMaker's form": (rerank, "relevance", "/invocations", {"data": RANKING}),
    "a segmentation": (segment, "segment", "/v1/segment", {"content": "A text."}),
    "zero-shot scores": (classify, "softmax", "/v1/classify", ZERO_SHOT),
    "few-shot scores": (Classifier, "scores", "/v1/classify", {"input": ["a", "b"]}),
    "training": (ClassifierStore, "train", "/v1/train", {"model": "nano", "input": SAMPLES}),
}


class Hold:
    """A function that waits, once it is called, until it is let go.

    Args:
        function: What it does then.
    """

    def __init__(self, function: Any) -> None:
        self.reached, self.let_go = threading.Event(), threading.Event()
        self.function = function

    def method(self) -> Any:
        """The same as a plain function, which a class may have for a method."""

        def held(*args: Any, **options: Any) -> Any:
            self.reached.set()
            assert asyncio._get_running_loop() is None, "it runs on the event loop"
            assert self.let_go.wait(HANG), "it was never let go"
            return self.function(*args, **options)

        return held


async def made_up(
    _service: EmbeddingService, served: Served, sources: Sequence[Any], _options: Any, num_tokens: int = 3
) -> list[Embedded]:
    """Vectors without a model; stands in for `EmbeddingService.embed`."""
    rng = np.random.default_rng(len(sources))
    return [
        Embedded(
            Embedding(
                rng.standard_normal(served.header.dim).astype(np.float32),
                rng.standard_normal((num_tokens, 128)).astype(np.float32),
            ),
            num_tokens,
            is_image=False,
            token_ids=tuple(range(num_tokens)),
        )
        for _ in sources
    ]


@pytest.fixture
def app(tmp_path: Path) -> Starlette:
    return create_app(Settings(lazy=True, classifiers=tmp_path / "classifiers"))


async def answered_meanwhile(app: Starlette, hold: Hold, path: str, body: dict[str, Any]) -> httpx2.Response:
    """The answer to a request that is held still until `/health` and `/v1/models` have answered."""
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as client,
    ):
        large = asyncio.create_task(client.post(path, json=body))
        assert await asyncio.to_thread(hold.reached.wait, HANG), "it was never reached"
        for cheap in ("/health", "/v1/models"):
            assert (await client.get(cheap)).status_code == 200
        assert not large.done() and not hold.let_go.is_set()
        hold.let_go.set()
        return await large


@pytest.mark.parametrize("name", CASES)
def test_health_answers_during(name: str, app: Starlette, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, function, path, body = CASES[name]
    monkeypatch.setattr(EmbeddingService, "embed", made_up)
    if name == "few-shot scores":
        body = {**body, "classifier_id": trained(app)}
    hold = Hold(getattr(owner, function))
    monkeypatch.setattr(owner, function, hold.method())
    response = asyncio.run(answered_meanwhile(app, hold, path, body))
    assert response.status_code == 200, response.text


def test_health_answers_while_token_ids_are_decoded(app: Starlette, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the ids is unknown, so that no model is asked."""
    hold = Hold(reading.texts_of)
    monkeypatch.setattr(reading, "texts_of", hold.method())
    response = asyncio.run(answered_meanwhile(app, hold, "/v1/embeddings", {**NANO, "input": [1, 99_999_999]}))
    assert response.status_code == 422 and "tokenizer" in response.text


def test_health_answers_while_an_image_for_the_search_page_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image is not one, so that no model is asked."""
    (tmp_path / "papers").mkdir()
    app = create_app(Settings(lazy=True, classifiers=tmp_path / "classifiers", library=str(tmp_path / "papers")))
    hold = Hold(routes.inline_image)
    monkeypatch.setattr(routes, "inline_image", hold.method())
    response = asyncio.run(answered_meanwhile(app, hold, "/library/search", {"image": "not base64!"}))
    assert response.status_code == 422 and "base64" in response.text


def test_health_answers_while_the_filters_of_a_search_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them is wrong, so that no model is asked."""
    (tmp_path / "papers").mkdir()
    app = create_app(Settings(lazy=True, classifiers=tmp_path / "classifiers", library=str(tmp_path / "papers")))
    hold = Hold(Filters.of)
    monkeypatch.setattr(Filters, "of", hold.method())
    body = {"query": "a", "languages": ["german"]}
    response = asyncio.run(answered_meanwhile(app, hold, "/library/search", body))
    assert response.status_code == 422 and "ISO 639" in response.text


def trained(app: Starlette) -> str:
    """The id of a classifier of made-up vectors."""
    served = next(iter(app.state.server.models))
    vectors = np.random.default_rng(0).standard_normal((2, served.header.dim)).astype(np.float32)
    classifier = app.state.server.classifiers.train(
        owner="anyone",
        model=served.name,
        model_id=served.model_id,
        vectors=vectors,
        labels=["x", "y"],
        num_iters=1,
        access="public",
    )
    return str(classifier.classifier_id)
