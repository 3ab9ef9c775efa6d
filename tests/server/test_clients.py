"""Clients that others wrote, unchanged but for the address: they are understood, and can read what comes back.

The vectors of each are compared with those of a plain request, so that these tests are about what a client sends and
how it reads the answer; that the vectors are the right ones is tested in `test_embeddings.py`. A client that is not
installed is skipped.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.serving import Running
from tests.support.vectors import DIM, ROUNDING, TEXTS, assert_same, plain, png
from tests.support.waiting import HANG
from tokenizers import Tokenizer

pytestmark = pytest.mark.usefixtures("no_proxy")

KEY = "a-key"  # the server of these tests asks for none, the clients insist on one


def pdf() -> bytes:
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(120, 160))
    for line in ("first page", "second page"):
        canvas.drawString(20, 80, line)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


FILES = {"/nQNGqL0/beach1.jpg": png(1, 112, 84), "/r5w8hG8/beach2.jpg": png(2, 56, 28)}
"""What the local web server has; the paths are those in the published commands."""

BEACHES = [{"image": base64.b64encode(data).decode()} for data in FILES.values()]
BEACH_TOKENS = [4 * 3 * 10, 2 * 1 * 10]  # ten for each square of 28 x 28 pixels, as published


class WebServer(BaseHTTPRequestHandler):
    """Answers `FILES` and a PDF, as a site on the internet would."""

    def do_GET(self) -> None:
        data = pdf() if self.path == "/pages.pdf" else FILES.get(self.path)
        self.send_response(404 if data is None else 200)
        kind = "application/pdf" if self.path == "/pages.pdf" else "image/png"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *arguments: Any) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """Address of the local web server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), WebServer) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.fixture
def beach_files(tmp_path: Path) -> list[Path]:
    """The pictures as files, for clients that read them themselves."""
    paths = [tmp_path / path.rpartition("/")[2].replace(".jpg", ".png") for path in FILES]
    for path, data in zip(paths, FILES.values(), strict=True):
        path.write_bytes(data)
    return paths


class TestOpenAI:
    """The `openai` distribution."""

    @pytest.fixture
    def client(self, server: Running) -> Iterator[Any]:
        openai = pytest.importorskip("openai")
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
            yield client

    @pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
    def test_a_list(self, server: Running, client: Any, options: dict[str, str]) -> None:
        answer = client.embeddings.create(model="nano", input=TEXTS, **options)
        found = [row.embedding for row in answer.data]
        if options == {"encoding_format": "base64"}:  # only who asks for it by name gets to see it
            assert all(isinstance(each, str) for each in found)
            found = [np.frombuffer(base64.b64decode(each), "<f4") for each in found]
        assert_same(found, plain(server, TEXTS))
        assert (answer.object, answer.model) == ("list", "nano")
        assert [(row.object, row.index) for row in answer.data] == [("embedding", index) for index in range(len(TEXTS))]
        usage = server.embed(TEXTS)["usage"]
        assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (
            usage["prompt_tokens"],
            usage["total_tokens"],
        )

    def test_one(self, server: Running, client: Any) -> None:
        (row,) = client.embeddings.create(model="jina-embeddings-v4", input=TEXTS[0]).data
        assert_same([row.embedding], plain(server, TEXTS[0]))

    def test_dimensions(self, server: Running, client: Any) -> None:
        answer = client.embeddings.create(model="nano", input=TEXTS, dimensions=64)
        found = np.array([row.embedding for row in answer.data])
        assert_same(found, plain(server, TEXTS, dimensions=64))
        assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < ROUNDING

    @pytest.mark.parametrize("task", ["retrieval.query", "retrieval.passage"])
    def test_task(self, server: Running, client: Any, task: str) -> None:
        answer = client.embeddings.create(model="nano", input=TEXTS, extra_body={"task": task})
        found = np.array([row.embedding for row in answer.data])
        assert_same(found, plain(server, TEXTS, task=task))
        other = {"retrieval.query": "retrieval.passage", "retrieval.passage": "retrieval.query"}[task]
        assert np.abs(found - plain(server, TEXTS, task=other)).max() > 0.01

    def test_images(self, server: Running, client: Any) -> None:
        answer = client.embeddings.create(model="nano", input=[*BEACHES, TEXTS[0]])
        found = [row.embedding for row in answer.data]
        assert_same(found, np.concatenate([plain(server, each) for each in (*BEACHES, TEXTS[0])]))

    def test_token_ids(self, server: Running, models: dict[str, Path], client: Any) -> None:
        tokenizer = Tokenizer.from_file(str(models["tiny-v4"] / "tokenizer.json"))
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
        several = client.embeddings.create(model="tiny-v4", input=ids)
        one = client.embeddings.create(model="tiny-v4", input=ids[1])
        expected = plain(server, TEXTS, model="tiny-v4")
        assert_same([row.embedding for row in several.data], expected)
        assert_same([row.embedding for row in one.data], expected[1:2])

    def test_async(self, server: Running) -> None:
        openai = pytest.importorskip("openai")

        async def scenario() -> list[Any]:
            async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
                requests = [client.embeddings.create(model="nano", input=text) for text in TEXTS]
                answers = await asyncio.gather(*requests)
                floats = await client.embeddings.create(model="nano", input=TEXTS, encoding_format="float")
                listed = [model.id async for model in client.models.list()]
            assert "jina-ai/nano" in listed
            assert_same([row.embedding for row in floats.data], plain(server, TEXTS))
            return [answer.data[0].embedding for answer in answers]

        assert_same(asyncio.run(scenario()), plain(server, TEXTS))

    def test_models(self, client: Any) -> None:
        listed = {model.id: model for model in client.models.list()}
        assert set(listed) == {f"jina-ai/{name}" for name in ("nano", "tiny-v4", "tiny-clip", "tiny-v3")}
        assert all((model.object, model.owned_by) == ("model", "polylens") for model in listed.values())
        for name in ("nano", "jina-embeddings-v4", "jina-ai/nano"):
            assert client.models.retrieve(name) == listed["jina-ai/nano"]
        assert client.models.retrieve("jina-clip-v2") == listed["jina-ai/tiny-clip"]

    def test_a_model_that_is_not_served(self, client: Any) -> None:
        import openai

        with pytest.raises(openai.BadRequestError) as caught:
            client.embeddings.create(model="text-embedding-3-small", input="a")
        error = caught.value
        assert (error.status_code, error.code, error.type) == (400, "INPUT_MODEL_NOT_FOUND", "invalid_request_error")
        assert "text-embedding-3-small" in error.message and "nano" in error.message
        assert len(error.request_id) == 32
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("text-embedding-3-small")
        assert caught.value.code == "RESOURCE_NOT_FOUND"
        assert "text-embedding-3-small" in caught.value.message

    @pytest.mark.parametrize(
        ("fields", "param", "message"),
        [
            ({"input": "a", "dimensions": 100_000}, "dimensions", "must be between 1 and 256"),
            ({"input": "a", "dimensions": 0}, "dimensions", "greater than 0"),
            ({"input": []}, "input", "is an empty list"),
            ({"input": [99_999_999]}, "input", "model's own tokenizer"),
            ({"input": "a", "extra_body": {"task": "poetry"}}, None, "poetry"),
        ],
    )
    def test_what_cannot_be_done(self, client: Any, fields: dict[str, Any], param: str | None, message: str) -> None:
        import openai

        with pytest.raises(openai.UnprocessableEntityError) as caught:
            client.embeddings.create(model="nano", **fields)
        assert caught.value.status_code == 422
        assert message in caught.value.message
        assert param is None or caught.value.param.partition(".")[0] == param


class TestLlamaIndex:
    """`llama-index-embeddings-jinaai`: sends `encoding_type`, and images as `{"url"}` or `{"bytes"}`."""

    @pytest.fixture
    def embedding(self, server: Running) -> Iterator[Callable[..., Any]]:
        base = pytest.importorskip("llama_index.embeddings.jinaai.base")
        made: list[Any] = []

        def make(model: str = "nano", **options: Any) -> Any:
            one = base.JinaEmbedding(model=model, api_key=KEY, **options)
            # Its constructor passes no address on, though the caller beneath it has one.
            one._api = base._JinaAPICaller(model=model, api_key=KEY, base_url=f"{server.url}/v1")
            made.append(one)
            return one

        yield make
        for one in made:
            one._api._session.close()

    def test_texts(self, server: Running, embedding: Callable[..., Any]) -> None:
        client = embedding(embed_batch_size=3)  # so that there are two requests
        assert_same(client.get_text_embedding_batch(TEXTS), plain(server, TEXTS))
        assert_same([client.get_text_embedding(TEXTS[1])], plain(server, TEXTS[1]))
        assert_same([client.get_query_embedding(TEXTS[1])], plain(server, TEXTS[1]))

    def test_options(self, server: Running, embedding: Callable[..., Any]) -> None:
        options = {"task": "retrieval.passage", "dimensions": 64}
        assert_same(embedding(**options).get_text_embedding_batch(TEXTS), plain(server, TEXTS, **options))
        options = {"task": "retrieval.passage", "late_chunking": True}
        found = embedding("tiny-v3", **options).get_text_embedding_batch(TEXTS)
        expected = plain(server, TEXTS, model="tiny-v3", **options)
        assert_same(found, expected)
        assert np.abs(expected - plain(server, TEXTS, model="tiny-v3", task="retrieval.passage")).max() > 1e-3

    @pytest.mark.parametrize("kind", ["binary", "ubinary"])
    def test_bits(self, server: Running, embedding: Callable[..., Any], kind: str) -> None:
        client = embedding(encoding_queries=kind, encoding_documents=kind)
        expected = plain(server, TEXTS) > 0
        assert np.array_equal(client.get_text_embedding_batch(TEXTS), expected)
        assert np.array_equal(client.get_query_embedding(TEXTS[1]), expected[1])

    def test_images(self, server: Running, embedding: Callable[..., Any], web: str, beach_files: list[Path]) -> None:
        client, paths = embedding("jina-clip-v2"), [str(path) for path in beach_files]
        expected = plain(server, BEACHES, model="jina-clip-v2")
        urls = [web + path for path in FILES]
        assert_same([client.get_image_embedding(each) for each in paths], expected)
        assert_same(client.get_image_embedding_batch([paths[0], urls[1]]), expected)
        assert_same(client.get_image_embedding_batch(urls), expected)

    def test_async(self, server: Running, embedding: Callable[..., Any], beach_files: list[Path]) -> None:
        async def scenario() -> tuple[Any, Any, Any]:
            client = embedding()
            return (
                await client.aget_text_embedding_batch(TEXTS),
                await client.aget_query_embedding(TEXTS[0]),
                # aget_image_embedding, for one, fails before it sends anything: it takes [0] of a coroutine (0.7.0).
                await client.aget_image_embedding_batch([str(path) for path in beach_files]),
            )

        texts, query, images = asyncio.run(scenario())
        assert_same(texts, plain(server, TEXTS))
        assert_same([query], plain(server, TEXTS[0]))
        assert_same(images, plain(server, BEACHES))

    def test_errors(self, embedding: Callable[..., Any]) -> None:
        with pytest.raises(RuntimeError, match=r"jina-embeddings-v9.*nano"):
            embedding("jina-embeddings-v9").get_text_embedding("a")
        with pytest.raises(RuntimeError, match="must be between 1 and 256"):
            embedding(dimensions=100_000).get_text_embedding("a")


class TestHaystack:
    """`jina-haystack`: images as bare `data:` URIs, and usage that is added up over requests."""

    @pytest.fixture
    def jina(self, server: Running, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
        monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")  # it would report its import, and write to the home
        embedders = pytest.importorskip("haystack_integrations.components.embedders.jina")
        from haystack.utils import Secret

        def make(kind: str, **options: Any) -> Any:
            address = f"{server.url}/v1/embeddings"
            return getattr(embedders, kind)(api_key=Secret.from_token(KEY), base_url=address, **options)

        return make

    @pytest.mark.parametrize("task", [None, "retrieval.passage"])  # for nano, no task and a query are the same
    def test_text(self, server: Running, jina: Callable[..., Any], task: str | None) -> None:
        client = jina("JinaTextEmbedder", model="jina-embeddings-v4", task=task, dimensions=64)
        sent = client.run(TEXTS[0])
        expected = server.embed(TEXTS[0], task=task, dimensions=64)
        assert_same([sent["embedding"]], np.array([expected["data"][0]["embedding"]], dtype=np.float32))
        assert sent["meta"] == {"model": "jina-embeddings-v4", "usage": expected["usage"]}
        assert asyncio.run(client.run_async(TEXTS[0])) == sent

    def test_documents(self, server: Running, jina: Callable[..., Any]) -> None:
        from haystack import Document

        client = jina(
            "JinaDocumentEmbedder",
            model="nano",
            task="retrieval.passage",
            batch_size=3,  # so that there are two requests
            progress_bar=False,
            meta_fields_to_embed=["title"],
        )
        answer = client.run([Document(content=text, meta={"title": f"No. {n}"}) for n, text in enumerate(TEXTS)])
        sent = [f"No. {n}\n{text}" for n, text in enumerate(TEXTS)]
        assert_same([each.embedding for each in answer["documents"]], plain(server, sent, task="retrieval.passage"))
        usage = server.embed(sent, task="retrieval.passage")["usage"]
        assert answer["meta"] == {"model": "nano", "usage": usage}

    def test_late_chunking(self, server: Running, jina: Callable[..., Any]) -> None:
        from haystack import Document

        options = {"model": "tiny-v3", "task": "retrieval.passage", "late_chunking": True}
        answer = jina("JinaDocumentEmbedder", progress_bar=False, **options).run([Document(content=t) for t in TEXTS])
        assert_same([each.embedding for each in answer["documents"]], plain(server, TEXTS, **options))

    @pytest.mark.parametrize("model", [None, "jina-embeddings-v4"])
    def test_images(
        self, server: Running, jina: Callable[..., Any], beach_files: list[Path], model: str | None
    ) -> None:
        from haystack import Document

        # Its own default is jina-clip-v2, which the server knows by that name.
        client = jina("JinaDocumentImageEmbedder", batch_size=1, **({} if model is None else {"model": model}))
        documents = [Document(meta={"file_path": str(path)}) for path in beach_files]
        found = [each.embedding for each in client.run(documents)["documents"]]
        assert_same(found, plain(server, BEACHES, model=model or "jina-clip-v2"))
        later = asyncio.run(client.run_async(documents))["documents"]
        assert [each.embedding for each in later] == found

    @pytest.mark.usefixtures("jina")
    def test_ranker(self, server: Running) -> None:
        from haystack import Document
        from haystack.utils import Secret

        rankers = pytest.importorskip("haystack_integrations.components.rankers.jina")
        client = rankers.JinaRanker(
            model="nano", api_key=Secret.from_token(KEY), base_url=f"{server.url}/v1/rerank", top_k=3
        )
        ranked = client.run(query=TEXTS[3], documents=[Document(content=text) for text in TEXTS])
        body = {"model": "nano", "query": TEXTS[3], "documents": TEXTS}
        expected = server.post("/v1/rerank", body).json()
        assert ranked["documents"][0].content == TEXTS[3]  # nothing is closer to a text than itself
        assert [each.content for each in ranked["documents"]] == [
            TEXTS[row["index"]] for row in expected["results"][:3]
        ]
        scores = [each.score for each in ranked["documents"]]
        assert scores == pytest.approx([row["relevance_score"] for row in expected["results"][:3]], abs=ROUNDING)
        assert ranked["meta"] == {"model": "nano", "usage": expected["usage"]}

    def test_errors(self, jina: Callable[..., Any]) -> None:
        with pytest.raises(RuntimeError, match=r"jina-embeddings-v9.*nano"):
            jina("JinaTextEmbedder", model="jina-embeddings-v9").run("a")
        with pytest.raises(RuntimeError, match="must be between 1 and 256"):
            jina("JinaTextEmbedder", model="nano", dimensions=100_000).run("a")


@pytest.mark.filterwarnings("ignore:.*langchain-community. is being sunset:DeprecationWarning")  # it says so on import
class TestLangChain:
    """`langchain-community`: sends nothing but input and model; its address is a constant of the module.

    Not among the development dependencies (77 MB, and a plugin for pytest besides): pip install langchain-community.
    """

    @pytest.fixture
    def embeddings(self, server: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
        module = pytest.importorskip("langchain_community.embeddings.jina")
        monkeypatch.setattr(module, "JINA_API_URL", f"{server.url}/v1/embeddings")
        made: list[Any] = []

        def make(model: str) -> Any:
            made.append(module.JinaEmbeddings(jina_api_key=KEY, model_name=model))
            return made[-1]

        yield make
        for one in made:
            one.session.close()

    def test_texts(self, server: Running, embeddings: Callable[[str], Any]) -> None:
        client = embeddings("jina-embeddings-v4")
        assert_same(client.embed_documents(TEXTS), plain(server, TEXTS))
        assert_same([client.embed_query(TEXTS[1])], plain(server, TEXTS[1]))

    def test_images(self, server: Running, embeddings: Callable[[str], Any], web: str, beach_files: list[Path]) -> None:
        client = embeddings("jina-clip-v2")
        expected = plain(server, BEACHES, model="jina-clip-v2")
        places = [str(beach_files[0]), web + list(FILES)[1]]
        assert_same(client.embed_images(places), expected)

    def test_reranking(self, server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        module = pytest.importorskip("langchain_community.document_compressors.jina_rerank")
        monkeypatch.setattr(module, "JINA_API_URL", f"{server.url}/v1/rerank")
        client = module.JinaRerank(jina_api_key=KEY, model="nano", top_n=2)
        found = client.rerank(TEXTS, TEXTS[3])
        expected = server.post("/v1/rerank", {"model": "nano", "query": TEXTS[3], "documents": TEXTS}).json()
        assert [row["index"] for row in found] == [row["index"] for row in expected["results"][:2]]
        assert found[0]["index"] == 3
        client.session.close()

    def test_errors(self, embeddings: Callable[[str], Any]) -> None:
        with pytest.raises(RuntimeError, match=r"jina-embeddings-v2-base-en.*nano"):
            embeddings("jina-embeddings-v2-base-en").embed_query("a")


class NoAWS:
    """Stands in for every client of boto3: the endpoint is there, and what it is sent goes to POST /invocations."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.sent: list[Any] = []

    def describe_endpoint(self, **_names: str) -> dict[str, str]:
        return {"EndpointStatus": "InService"}

    def invoke_endpoint(self, **call: str) -> dict[str, Any]:
        self.sent.append(json.loads(call["Body"]))
        headers = {"Content-Type": call["ContentType"]}
        answer = self.server.http.post("/invocations", content=call["Body"], headers=headers)
        assert answer.status_code == 200, answer.text
        return {"Body": io.BytesIO(answer.content)}


@pytest.mark.skipif(
    importlib.util.find_spec("jina_sagemaker") is None,
    reason="no jina_sagemaker here: pip install --no-deps jina-sagemaker (boto3, which it asks for, is stood in for)",
)
class TestSageMaker:
    """`jina-sagemaker`: its own embed() and rerank(), with the way through AWS cut short.

    It names no model, so that the first of the server answers, whatever the name of the package ARN is.
    """

    @pytest.fixture
    def aws(self, server: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[NoAWS]:
        aws = NoAWS(server)
        failures = {name: type(name, (Exception,), {}) for name in ("ClientError", "ParamValidationError")}
        standins = {
            "boto3": {"client": lambda *_names, **_options: aws, "Session": lambda **_options: None},
            "botocore": {},
            "botocore.exceptions": failures,
            "sagemaker": {"Session": lambda **_options: None},
        }
        for name, members in standins.items():
            module = types.ModuleType(name)
            vars(module).update(members)
            monkeypatch.setitem(sys.modules, name, module)
        yield aws
        for name in [name for name in sys.modules if name.partition(".")[0] == "jina_sagemaker"]:
            del sys.modules[name]  # it keeps the stand-ins

    @pytest.fixture
    def connected(self, aws: NoAWS) -> Callable[[str], Any]:
        import jina_sagemaker

        def connect(model: str) -> Any:
            client = jina_sagemaker.Client(region_name="eu-central-1")
            assert client._sm_runtime_client is aws
            client.connect_to_endpoint("polylens", f"arn:aws:sagemaker:eu-central-1:1:model-package/{model}")
            return client

        return connect

    @pytest.mark.parametrize("model", ["jina-clip-v2", "jina-embeddings-v3", "jina-embeddings-v4"])
    def test_texts(self, server: Running, aws: NoAWS, connected: Callable[[str], Any], model: str) -> None:
        rows = connected(model).embed(texts=TEXTS, dimensions=64)
        assert [row["index"] for row in rows] == list(range(len(TEXTS)))
        assert_same([row["embedding"] for row in rows], plain(server, TEXTS, task="text-matching", dimensions=64))
        assert aws.sent[0]["data"] == [{"text": text} for text in TEXTS]
        assert aws.sent[0]["parameters"]["task"] == "text-matching"

    @pytest.mark.parametrize("model", ["jina-clip-v2", "jina-embeddings-v4"])
    def test_images(self, server: Running, aws: NoAWS, connected: Callable[[str], Any], web: str, model: str) -> None:
        url, data = web + next(iter(FILES)), BEACHES[1]["image"]
        rows = connected(model).embed(texts=TEXTS[0], image_urls=url, image_bytes=[data])
        assert_same([row["embedding"] for row in rows], plain(server, [TEXTS[0], *BEACHES]))
        keys = ["text", "url", "bytes"] if model == "jina-clip-v2" else ["text", "image", "image"]
        assert [next(iter(item)) for item in aws.sent[0]["data"]] == keys

    def test_task(self, server: Running, connected: Callable[[str], Any]) -> None:
        import jina_sagemaker

        rows = connected("jina-embeddings-v4").embed(texts=TEXTS, task_type=jina_sagemaker.Task.RETRIEVAL_PASSAGE)
        assert_same([row["embedding"] for row in rows], plain(server, TEXTS, task="retrieval.passage"))

    def test_multi_vectors(self, server: Running, connected: Callable[[str], Any]) -> None:
        rows = connected("jina-embeddings-v4").embed(texts=TEXTS, return_multivector=True)
        expected = server.embed(TEXTS, return_multivector=True)["data"]
        for row, one in zip(rows, expected, strict=True):
            assert np.abs(np.array(row["embeddings"]) - np.array(one["embeddings"])).max() < ROUNDING

    def test_pdf(self, server: Running, connected: Callable[[str], Any], web: str) -> None:
        rows = connected("jina-embeddings-v4").embed(pdf_url=f"{web}/pages.pdf")
        expected = plain(server, {"pdf": base64.b64encode(pdf()).decode()})
        assert_same([row["embedding"] for row in rows], expected)
        assert len(rows) == 2

    @pytest.mark.parametrize("model", ["jina-reranker-m0", "jina-reranker-v2-base-multilingual"])
    def test_rerank(self, server: Running, connected: Callable[[str], Any], model: str) -> None:
        (found,) = connected(model).rerank(documents=TEXTS, query=TEXTS[3], top_n=2)
        expected = server.post("/v1/rerank", {"model": "nano", "query": TEXTS[3], "documents": TEXTS}).json()
        assert [row["index"] for row in found["results"]] == [row["index"] for row in expected["results"][:2]]
        assert found["results"][0]["document"] == {"text": TEXTS[3]}
        assert found["usage"] == expected["usage"]


# The two commands, letter for letter, of the published page of jina-embeddings-v4 and of its announcement.
FIRST = r"""curl https://api.jina.ai/v1/embeddings \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $JINA_AI_API_TOKEN" \
  -d @- <<EOFEOF
  {
    "model": "jina-embeddings-v4",
    "task": "text-matching",
    "input": [
        {
            "text": "غروب جميل على الشاطئ"
        },
        {
            "text": "海滩上美丽的日落"
        },
        {
            "text": "A beautiful sunset over the beach"
        },
        {
            "text": "Un beau coucher de soleil sur la plage"
        },
        {
            "text": "Ein wunderschöner Sonnenuntergang am Strand"
        },
        {
            "text": "Ένα όμορφο ηλιοβασίλεμα πάνω από την παραλία"
        },
        {
            "text": "समुद्र तट पर एक खूबसूरत सूर्यास्त"
        },
        {
            "text": "Un bellissimo tramonto sulla spiaggia"
        },
        {
            "text": "浜辺に沈む美しい夕日"
        },
        {
            "text": "해변 위로 아름다운 일몰"
        },
        {
            "image": "https://i.ibb.co/nQNGqL0/beach1.jpg"
        },
        {
            "image": "https://i.ibb.co/r5w8hG8/beach2.jpg"
        }
    ]
  }
EOFEOF
"""

SECOND = r"""curl https://api.jina.ai/v1/embeddings \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer JINA_API_KEY" \
  -d @- <<EOFEOF
  {
    "model": "jina-embeddings-v4",
    "task": "text-matching",
    "input": [
        {
            "text": "A beautiful sunset over the beach"
        },
        {
            "text": "Un beau coucher de soleil sur la plage"
        },
        {
            "text": "海滩上美丽的日落"
        },
        {
            "text": "浜辺に沈む美しい夕日"
        },
        {
            "image": "https://i.ibb.co/nQNGqL0/beach1.jpg"
        },
        {
            "image": "https://i.ibb.co/r5w8hG8/beach2.jpg"
        },
        {
            "image": "iVBORw0KGgoAAAANSUhEUgAAABwAAAA4CAIAAABhUg/jAAAAMklEQVR4nO3MQREAMAgAoLkoFreTiSzhy4MARGe9bX99lEqlUqlUKpVKpVKpVCqVHksHaBwCA2cPf0cAAAAASUVORK5CYII="
        }
    ]
  }
EOFEOF
"""  # noqa: E501 - a picture in one line


# A ranking of texts and images in the form of the published interface, the images by their addresses.
RERANK = r"""curl https://api.jina.ai/v1/rerank \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $JINA_AI_API_TOKEN" \
  -d @- <<EOFEOF
  {
    "model": "jina-embeddings-v4",
    "query": {
        "image": "https://i.ibb.co/r5w8hG8/beach2.jpg"
    },
    "documents": [
        {
            "image": "https://i.ibb.co/nQNGqL0/beach1.jpg"
        },
        {
            "text": "A beautiful sunset over the beach"
        },
        {
            "image": "https://i.ibb.co/r5w8hG8/beach2.jpg"
        }
    ],
    "top_n": 2
  }
EOFEOF
"""


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="no curl or no bash here")
class TestCurl:
    """The published commands, run by bash.

    Two hosts are replaced: that of the service by the server's, and that of the pictures, which tests cannot reach, by
    the local web server's, which answers the same paths with pictures of its own.
    """

    def run(self, command: str, server: Running, web: str) -> Any:
        for published, here in (("https://api.jina.ai", server.url), ("https://i.ibb.co", web)):
            assert published in command
            command = command.replace(published, here)
        environment = {**os.environ, "JINA_AI_API_TOKEN": KEY}
        done = subprocess.run(["bash", "-c", command], capture_output=True, env=environment, timeout=HANG, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def test_ranking(self, server: Running, web: str) -> None:
        answer = self.run(RERANK, server, web)
        documents = [BEACHES[0], {"text": "A beautiful sunset over the beach"}, BEACHES[1]]
        body = {"model": "nano", "query": BEACHES[1], "documents": documents, "top_n": 2}
        expected = server.post("/v1/rerank", body).json()
        assert list(answer) == ["model", "object", "usage", "results"]
        assert answer["results"][0]["index"] == 2  # nothing is closer to a picture than itself
        assert answer["results"][0]["document"] == {"image": f"{web}/r5w8hG8/beach2.jpg"}
        found, same = ([row["index"] for row in each["results"]] for each in (answer, expected))
        assert found == same
        scores, others = ([row["relevance_score"] for row in each["results"]] for each in (answer, expected))
        assert scores == pytest.approx(others, abs=ROUNDING)
        assert answer["usage"] == expected["usage"]

    @pytest.mark.parametrize(("command", "num_texts", "own_tokens"), [(FIRST, 10, []), (SECOND, 4, [1 * 2 * 10])])
    def test_command(self, server: Running, web: str, command: str, num_texts: int, own_tokens: list[int]) -> None:
        answer = self.run(command, server, web)
        body = json.loads(command[command.index("\n  {") : command.rindex("EOFEOF")])
        inputs = [item for item in body["input"] if not item.get("image", "").startswith("https:")]
        texts, own = inputs[:num_texts], inputs[num_texts:]
        assert all(set(item) == {"text"} for item in texts) and len(own) == len(own_tokens)
        alone = [server.embed(item, task="text-matching") for item in (*texts, *BEACHES, *own)]

        assert list(answer) == ["model", "object", "usage", "data"]
        assert (answer["model"], answer["object"]) == ("jina-embeddings-v4", "list")
        assert [set(row) for row in answer["data"]] == [{"object", "index", "embedding"}] * len(body["input"])
        assert [row["index"] for row in answer["data"]] == list(range(len(body["input"])))
        expected = np.array([each["data"][0]["embedding"] for each in alone], dtype=np.float32)
        assert expected.shape == (len(body["input"]), DIM)
        assert_same([row["embedding"] for row in answer["data"]], expected)

        image_tokens = sum((*BEACH_TOKENS, *own_tokens))
        total = sum(each["usage"]["total_tokens"] for each in alone)
        assert answer["usage"] == {"total_tokens": total, "prompt_tokens": total, "image_tokens": image_tokens}
        assert total - image_tokens == sum(each["usage"]["total_tokens"] for each in alone[:num_texts]) > 0
