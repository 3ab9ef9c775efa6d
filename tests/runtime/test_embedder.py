"""What `polylens.load` returns, on a tiny checkpoint: shapes and order, invariance, sources, refusals."""

from __future__ import annotations

import base64
import builtins
import io
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from tests.support import tiny
from tests.support.waiting import HANG

import polylens
from polylens.errors import ImageError, InputError
from polylens.models.protocol import Item
from polylens.runtime import embedder as module
from polylens.runtime import prepare as preparing
from polylens.runtime.embedder import Embedder
from polylens.types import Embedding

DIM, MULTI_DIM = 48, 16
ROUNDING = 2e-6  # float32: unit vectors whose sums ran in another order; measured up to 1e-6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="module")
def embedder(folder: Path) -> Embedder:
    return polylens.load(folder, dtype="float32")


def picture(height: int = 84, width: int = 112, seed: int = 0) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def png(image: PIL.Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


INPUTS = [
    "a",
    picture(56, 56, 1),
    "Grüße aus 東京, " * 12,
    picture(120, 90, 2),
    "def add(a, b): return a + b",
    picture(30, 300, 3),
    picture(120, 90, 4),
    "a",
    "",
]
MIXED = [
    "retrieval",
    "code",
    "text-matching",
    "retrieval",
    "code.passage",
    "text-matching",
    "code",
    "code",
    "retrieval",
]


def distance(left: Sequence[Embedding], right: Sequence[Embedding]) -> float:
    assert len(left) == len(right)
    return max(
        float(np.abs(getattr(a, kind) - getattr(b, kind)).max())
        for a, b in zip(left, right, strict=True)
        for kind in ("dense", "multivector")
    )


@pytest.fixture(scope="module")
def alone(embedder: Embedder) -> list[Embedding]:
    return [embedder.embed([value], task=task)[0] for value, task in zip(INPUTS, MIXED, strict=True)]


class TestInvariance:
    """An input's vectors do not depend on what shares its batch."""

    def test_batched_equals_alone(self, embedder: Embedder, alone: list[Embedding]) -> None:
        assert distance(embedder.embed(INPUTS, task=MIXED), alone) <= ROUNDING

    def test_permuted_equals_alone(self, embedder: Embedder, alone: list[Embedding]) -> None:
        order = np.random.default_rng(0).permutation(len(INPUTS)).tolist()
        permuted = embedder.embed([INPUTS[i] for i in order], task=[MIXED[i] for i in order])
        assert distance(permuted, [alone[i] for i in order]) <= ROUNDING

    @pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
    def test_any_batch_size(self, embedder: Embedder, alone: list[Embedding], batch_size: int) -> None:
        assert distance(embedder.embed(INPUTS, task=MIXED, batch_size=batch_size), alone) <= ROUNDING

    @pytest.mark.parametrize("budget", [1, 60, 200])
    def test_any_token_budget(
        self, embedder: Embedder, alone: list[Embedding], monkeypatch: pytest.MonkeyPatch, budget: int
    ) -> None:
        monkeypatch.setattr(module, "token_budget", lambda _: budget)
        assert distance(embedder.embed(INPUTS, task=MIXED), alone) <= ROUNDING

    def test_any_window_of_inputs(
        self, embedder: Embedder, alone: list[Embedding], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "WINDOW_ITEMS", 2)
        assert distance(embedder.embed(INPUTS, task=MIXED), alone) <= ROUNDING

    def test_inputs_are_prepared_while_the_model_runs(
        self, embedder: Embedder, alone: list[Embedding], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The model waits in its first window until an input of the next one was prepared."""
        monkeypatch.setattr(module, "WINDOW_ITEMS", 2)
        next_is_ready = threading.Event()
        prepare, run = preparing.prepare, embedder.engine.run

        def seen(processor: Any, modalities: Any, value: Any, index: int, **options: Any) -> Item:
            item = prepare(processor, modalities, value, index, **options)
            if index >= 2:
                next_is_ready.set()
            return item

        def waiting(items: Sequence[Item]) -> Iterator[list[Embedding]]:
            assert next_is_ready.wait(HANG), "nothing was prepared meanwhile"
            return run(items)

        monkeypatch.setattr(preparing, "prepare", seen)
        monkeypatch.setattr(embedder.engine, "run", waiting)
        assert distance(embedder.embed(INPUTS, task=MIXED), alone) <= ROUNDING

    def test_prepared_inputs_are_taken_as_they_are(self, embedder: Embedder) -> None:
        inputs = ["a harbour", picture()]
        items = [embedder.prepare(value, task="code", prompt_name="passage") for value in inputs]
        expected = embedder.embed(inputs, task="code", prompt_name="passage")
        assert distance(embedder.embed(items), expected) <= ROUNDING

    @pytest.mark.parametrize("task", tiny.TASKS)
    def test_mixed_tasks_equal_one_task_at_a_time(self, embedder: Embedder, task: str) -> None:
        mixed = embedder.embed(INPUTS * 3, task=[name for name in tiny.TASKS for _ in INPUTS])
        start = tiny.TASKS.index(task) * len(INPUTS)
        assert distance(mixed[start : start + len(INPUTS)], embedder.embed(INPUTS, task=task)) <= ROUNDING

    def test_tasks_and_prompts_differ(self, embedder: Embedder) -> None:
        """Or else the tests above would say nothing."""
        names = ["retrieval.query", "retrieval.passage", "text-matching", "code.query", "code.passage"]
        vectors = embedder.encode_text(["the same"] * len(names), names)
        similarities = embedder.similarity(vectors, vectors)
        assert (similarities[~np.eye(len(names), dtype=bool)] < 0.999).all()

    def test_bfloat16_is_close_to_float32(self, embedder: Embedder, folder: Path) -> None:
        """Measured: dense cosines from 0.9997 up, single tokens from 0.997 up."""
        rough = polylens.load(folder, dtype="bfloat16").embed(INPUTS, task=MIXED)
        for mine, theirs in zip(rough, embedder.embed(INPUTS, task=MIXED), strict=True):
            assert float(mine.dense @ theirs.dense) >= 0.999
            assert float((mine.multivector * theirs.multivector).sum(axis=1).min()) >= 0.99
            assert mine.dense.dtype == mine.multivector.dtype == np.float32

    def test_text_that_spells_the_image_placeholder_harms_nobody(self, embedder: Embedder) -> None:
        values = ["see <|image_pad|><|image_pad|> here", picture(), "plain"]
        together = embedder.embed(values)
        assert distance(together, [embedder.embed([value])[0] for value in values]) <= ROUNDING

    def test_the_same_call_gives_the_same_bytes(self, embedder: Embedder) -> None:
        assert distance(embedder.embed(INPUTS), embedder.embed(INPUTS)) == 0


def check_dense(vectors: Any, count: int, dim: int = DIM) -> None:
    assert isinstance(vectors, np.ndarray)
    assert vectors.shape == (count, dim) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=0, atol=1e-6)


def check_multivector(vectors: Any, tokens: int) -> None:
    assert isinstance(vectors, np.ndarray)
    assert vectors.shape == (tokens, MULTI_DIM) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=0, atol=1e-6)


def num_tokens(image_tokens: int) -> int:
    return image_tokens + len("user\nDescribe the image.\n") + 4  # the tiny tokenizer has a token a byte


class TestResults:
    def test_texts(self, embedder: Embedder) -> None:
        texts = ["first", "a second one", "é"]
        check_dense(embedder.encode_text(texts), 3)
        rows = embedder.encode_text(texts, return_multivector=True)
        assert isinstance(rows, list)
        for text, row in zip(texts, rows, strict=True):
            check_multivector(row, len(f"Query: {text}".encode()))

    def test_images(self, embedder: Embedder) -> None:
        images = [picture(56, 56), picture(84, 112)]
        check_dense(embedder.encode_image(images), 2)
        small, large = embedder.encode_image(images, return_multivector=True)
        check_multivector(small, num_tokens(4))
        check_multivector(large, num_tokens(12))

    def test_mixed(self, embedder: Embedder) -> None:
        sentences = ["text", picture(), polylens.Image(png(picture())), "text"]
        vectors = embedder.encode(sentences)
        check_dense(vectors, 4)
        np.testing.assert_allclose(vectors[1], vectors[2], rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(vectors[0], vectors[3], rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(vectors[[0, 3]], embedder.encode_text(["text"] * 2), rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(vectors[1], embedder.encode_image(picture()), rtol=0, atol=ROUNDING)
        assert len(embedder.encode(sentences, return_multivector=True)) == 4

    @pytest.mark.parametrize("many", [["x"], ("x",), (text for text in ["x"])], ids=["list", "tuple", "generator"])
    def test_one_in_a_list_is_a_list(self, embedder: Embedder, many: Any) -> None:
        check_dense(embedder.encode_text(many), 1)

    def test_a_single_input_gives_a_single_result(self, embedder: Embedder, tmp_path: Path) -> None:
        image = picture(56, 56)
        image.save(tmp_path / "one.png")
        dense = [
            embedder.encode_text("one"),
            embedder.encode("one"),
            *(embedder.encode_image(source) for source in (image, png(image), tmp_path / "one.png")),
            embedder.encode_image(polylens.Image(image)),
            embedder.encode(image),
            embedder.encode(polylens.Image(image)),
        ]
        check_dense(np.stack(dense), 8)
        check_multivector(embedder.encode_text("one", return_multivector=True), len("Query: one"))
        check_multivector(embedder.encode_image(image, return_multivector=True), num_tokens(4))
        check_multivector(embedder.encode("one", return_multivector=True), len("Query: one"))

    def test_nothing_in_nothing_out(self, embedder: Embedder) -> None:
        for encode in (embedder.encode_text, embedder.encode_image, embedder.encode):
            empty = encode([])
            assert empty.shape == (0, DIM) and empty.dtype == np.float32
            assert encode([], return_multivector=True) == []
        assert embedder.encode_text([], truncate_dim=8).shape == (0, 8)
        assert embedder.embed([]) == []

    def test_input_order_is_kept_whatever_the_lengths(self, embedder: Embedder) -> None:
        texts = ["x" * length for length in (5, 50, 1, 200, 7)]
        rows = embedder.encode_text(texts, return_multivector=True, batch_size=2)
        assert [len(row) for row in rows] == [len("Query: ") + len(text) for text in texts]

    def test_embed_gives_both_outputs(self, embedder: Embedder) -> None:
        done: list[int] = []
        text, image = embedder.embed(["text", picture(56, 56)], progress=done.append)
        check_dense(np.stack([text.dense, image.dense]), 2)
        check_multivector(text.multivector, text.num_tokens)
        check_multivector(image.multivector, num_tokens(4))
        assert sum(done) == 2
        assert text.dense.base is None and text.multivector.base is None  # keeps no batch alive

    def test_what_it_says_of_itself(self, embedder: Embedder) -> None:
        assert re.fullmatch("tiny@[0-9a-f]{12}", embedder.model_id)
        assert (embedder.dim, embedder.tasks, embedder.matryoshka_dims) == (DIM, tiny.TASKS, (8, 16, 48))

    @pytest.mark.parametrize("dim", [8, 16, 48, np.int64(16)])
    def test_truncate_dim(self, embedder: Embedder, dim: int) -> None:
        full = embedder.encode(["one", picture()])
        cut = embedder.encode(["one", picture()], truncate_dim=dim)
        check_dense(cut, 2, int(dim))
        expected = full[:, :dim] / np.linalg.norm(full[:, :dim], axis=1, keepdims=True)
        np.testing.assert_allclose(cut, expected, rtol=0, atol=1e-6)
        assert embedder.encode_text("one", truncate_dim=dim).shape == (dim,)

    def test_truncate_dim_leaves_multivectors_alone(self, embedder: Embedder) -> None:
        check_multivector(embedder.encode_text("one", truncate_dim=8, return_multivector=True), len("Query: one"))

    def test_max_length(self, embedder: Embedder) -> None:
        cut = embedder.encode_text("one two three", max_length=10, return_multivector=True)
        np.testing.assert_allclose(cut, embedder.encode_text("one", return_multivector=True), rtol=0, atol=ROUNDING)
        assert len(embedder.encode("one two", max_length=1, return_multivector=True)) == 1

    def test_max_pixels(self, embedder: Embedder) -> None:
        page = picture(280, 280)
        assert len(embedder.encode_image(page, return_multivector=True)) == num_tokens(100)
        assert len(embedder.encode_image(page, return_multivector=True, max_pixels=784 * 16)) == num_tokens(16)
        assert len(embedder.encode(page, return_multivector=True, max_pixels=784)) == num_tokens(1)

    def test_a_photograph_of_twenty_megapixels(self, embedder: Embedder) -> None:
        gradient = PIL.Image.radial_gradient("L").resize((5000, 4000)).convert("RGB")
        rows = embedder.encode_image(gradient, return_multivector=True)
        check_multivector(rows, len(rows))
        assert 600 < len(rows) <= num_tokens(768)

    @pytest.mark.slow
    def test_a_text_longer_than_the_model_takes_is_cut(self, embedder: Embedder) -> None:
        check_multivector(embedder.encode_text("ab " * 14_000, return_multivector=True), 32_768)


class TestTasks:
    @pytest.mark.parametrize(
        ("task", "prompt_name", "same_as"),
        [
            ("retrieval.query", "passage", ("retrieval", "query")),  # the prompt in a name wins
            ("retrieval.passage", "query", ("retrieval", "passage")),
            ("retrieval", None, ("retrieval", "query")),
            ("code.query", None, ("code", "query")),
            ("code.passage", None, ("code", "passage")),
            ("text-matching", "passage", ("text-matching", "query")),
        ],
    )
    def test_names_of_the_card_and_of_the_api(
        self, embedder: Embedder, task: str, prompt_name: str | None, same_as: tuple[str, str]
    ) -> None:
        assert np.array_equal(embedder.encode_text("text", task, prompt_name), embedder.encode_text("text", *same_as))

    def test_a_prompt_has_no_effect_on_an_image(self, embedder: Embedder) -> None:
        vectors = [embedder.encode(picture(), task) for task in ("code", "code.query", "code.passage")]
        assert np.array_equal(vectors[0], vectors[1]) and np.array_equal(vectors[0], vectors[2])

    def test_one_name_an_input(self, embedder: Embedder) -> None:
        together = embedder.encode_text(["x", "x", "x"], ["retrieval", "code", "text-matching"])
        apart = [embedder.encode_text("x", task) for task in ("retrieval", "code", "text-matching")]
        np.testing.assert_allclose(together, apart, rtol=0, atol=ROUNDING)
        check_dense(embedder.encode_image([picture()] * 2, ["code", "retrieval"]), 2)

    @pytest.mark.parametrize("name", ["", "query", "Retrieval", "retrieval.", "retrieval.title", "text-matching.query"])
    def test_a_wrong_name_is_told_the_right_ones(self, embedder: Embedder, name: str) -> None:
        expected = (
            "task must be one of retrieval, text-matching, code, retrieval.query, retrieval.passage, code.query, "
            f"code.passage, got {name!r}"
        )
        with pytest.raises(InputError, match=re.escape(expected)):
            embedder.encode_text("text", name)
        with pytest.raises(InputError, match=re.escape(expected)):
            embedder.encode_image([picture(), picture()], ["retrieval", name])

    def test_nothing_said_is_a_query_for_retrieval(self, embedder: Embedder) -> None:
        said = embedder.encode_text("a harbour", task="retrieval", prompt_name="query")
        assert np.array_equal(embedder.encode_text("a harbour"), said)
        assert np.array_equal(embedder.encode_text(["a harbour"], task=[None])[0], said)

    @pytest.mark.parametrize("task", [3, {3: 4}, [3]])
    def test_no_name_at_all(self, embedder: Embedder, task: Any) -> None:
        with pytest.raises(InputError, match="task must be one"):
            embedder.encode_text("text", task)

    def test_as_many_names_as_inputs(self, embedder: Embedder) -> None:
        with pytest.raises(InputError, match="one per input, got 2 names for 3 inputs"):
            embedder.encode_text(["a", "b", "c"], ["code", "code"])

    def test_prompt_names(self, embedder: Embedder) -> None:
        with pytest.raises(InputError, match="prompt_name must be one of query, passage, got 'document'"):
            embedder.encode_text("text", prompt_name="document")


class TestArguments:
    @pytest.mark.parametrize("dim", [0, 47, 49, -8, "8", [8]])
    def test_truncate_dim(self, embedder: Embedder, dim: Any) -> None:
        with pytest.raises(InputError, match=r"truncate_dim must be one of 8, 16, 48 for this model, got"):
            embedder.encode_text("text", truncate_dim=dim)

    @pytest.mark.parametrize("name", ["max_length", "batch_size", "max_pixels"])
    @pytest.mark.parametrize("value", [0, -1, 2.5, "5"])
    def test_counts(self, embedder: Embedder, name: str, value: Any) -> None:
        with pytest.raises(InputError, match=f"{name} must be a whole number, at least 1, got {value!r}"):
            embedder.encode("text", **{name: value})

    @pytest.mark.parametrize("values", [None, 5, 2.5])
    def test_no_inputs_at_all(self, embedder: Embedder, values: Any) -> None:
        for encode in (embedder.encode_text, embedder.encode_image, embedder.encode):
            with pytest.raises(InputError, match=f"must be one .* or a list of them, got {type(values).__name__}"):
                encode(values)

    def test_something_else_among_the_texts(self, embedder: Embedder) -> None:
        with pytest.raises(InputError, match="text 1 must be a str, got Image; images go to encode_image"):
            embedder.encode_text(["a", picture()])  # type: ignore[list-item]
        with pytest.raises(InputError, match=r"input 1 must be a str, .* got bytes; wrap image paths and bytes"):
            embedder.encode(["a", b"bytes"])  # type: ignore[list-item]

    def test_half_a_surrogate_pair(self, embedder: Embedder) -> None:
        with pytest.raises(InputError, match=r"text 1 is not valid Unicode: .* position 2"):
            embedder.encode_text(["fine \U0001f600", "ab\ud83d"])

    @pytest.mark.parametrize("text", ["", " ", "\0", "\n" * 50, "<|im_end|><|endoftext|>", "e\u0301", "🤷🏽‍♀️"])
    def test_odd_texts(self, embedder: Embedder, text: str) -> None:
        check_dense(embedder.encode_text([text]), 1)

    @pytest.mark.parametrize("device", ["gpu", "cuda:99", "", 99])
    def test_a_device_that_is_not_here(self, folder: Path, device: Any) -> None:
        with pytest.raises(InputError, match=f"device {re.escape(repr(device))} cannot be used here: .{{5}}"):
            polylens.load(folder, device=device)

    @pytest.mark.parametrize("dtype", ["float64", "bf16", "int8", "", torch.float64, 7, []])
    def test_a_type_it_does_not_run_in(self, folder: Path, dtype: Any) -> None:
        with pytest.raises(InputError, match="dtype must be one of float32, bfloat16, float16, got"):
            polylens.load(folder, dtype=dtype)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, "float32", None])
    def test_other_ways_to_load(self, folder: Path, dtype: Any) -> None:
        loaded = polylens.load(str(folder), device=torch.device("cpu"), dtype=dtype)
        check_dense(loaded.encode(["text", picture(56, 56)]), 2)


@contextmanager
def sealed() -> Iterator[None]:
    """Nothing can be opened in here."""

    def refuse(*arguments: object, **_: object) -> Any:
        raise AssertionError(f"opened {arguments}")

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in [
            (builtins, "open"),
            (io, "open"),
            (os, "open"),
            (os, "stat"),
            (Path, "open"),
            (PIL.Image, "open"),
            (socket, "socket"),
            (socket, "create_connection"),
            (socket, "getaddrinfo"),
        ]:
            patch.setattr(owner, name, refuse)
        yield


class TestTextsStayTexts:
    def test_nothing_is_opened(self, embedder: Embedder, tmp_path: Path) -> None:
        file = tmp_path / "picture.png"
        picture(56, 56).save(file)
        texts = [
            str(file),
            file.as_uri(),
            "/etc/hostname",
            "http://127.0.0.1:9/picture.png",
            "Query: https://127.0.0.1:9/picture.png",
            "data:image/png;base64," + base64.b64encode(png(PIL.Image.new("L", (9, 9)))).decode(),
        ]
        embedder.encode(["first", picture(56, 56)])  # whatever is imported late has been imported
        with sealed():
            for encode in (embedder.encode_text, embedder.encode):
                rows = encode(texts, return_multivector=True)
                assert [len(row) for row in rows] == [len("Query: ") + len(text) for text in texts]
                assert len(encode(texts[0], return_multivector=True)) == len("Query: ") + len(texts[0])


class TestImageSources:
    def test_every_form_gives_the_same_vectors(self, embedder: Embedder, tmp_path: Path) -> None:
        image = picture()
        content = png(image)
        (tmp_path / "picture.png").write_bytes(content)
        encoded = base64.b64encode(content).decode()
        forms = [
            image,
            str(tmp_path / "picture.png"),
            tmp_path / "picture.png",
            content,
            f"data:image/png;base64,{encoded}",
            encoded,
            polylens.Image(tmp_path / "picture.png"),
            polylens.Image(image),
        ]
        alone = [embedder.encode_image(form, return_multivector=True) for form in forms]
        assert all(np.array_equal(rows, alone[0]) for rows in alone)
        together = embedder.encode_image(forms)
        np.testing.assert_allclose(together, np.broadcast_to(together[0], together.shape), rtol=0, atol=ROUNDING)
        assert np.array_equal(embedder.encode(polylens.Image(encoded)), embedder.encode_image(image))

    def test_other_modes_are_converted(self, embedder: Embedder) -> None:
        grey = picture().convert("L")
        expected = embedder.encode_image(grey.convert("RGB"))
        for image in (grey, grey.convert("LA"), grey.convert("RGBA"), grey.convert("P")):
            np.testing.assert_allclose(embedder.encode_image(image), expected, rtol=0, atol=ROUNDING)

    def test_an_unreadable_image_is_named_by_its_index(self, embedder: Embedder) -> None:
        whole = png(picture())
        broken = whole[: len(whole) // 2]
        with pytest.raises(ImageError, match=r"^image 2: ") as caught:
            embedder.encode_image([whole, picture(), broken, whole])
        assert caught.value.index == 2
        with pytest.raises(ImageError, match=r"^image 3: ") as caught:
            embedder.encode(["a", "b", picture(), polylens.Image(broken)])
        assert caught.value.index == 3

    def test_in_a_later_window_too(self, embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "WINDOW_ITEMS", 2)
        with pytest.raises(ImageError, match=r"^image 4: ") as caught:
            embedder.encode_image([picture(56, 56)] * 4 + [b"no picture"])
        assert caught.value.index == 4

    @pytest.mark.parametrize(
        ("source", "message"),
        [(b"", "empty"), ("no/such/file.png", "not an existing file"), (PIL.Image.new("RGB", (1, 201)), "200 times")],
        ids=["empty", "no file", "too thin"],
    )
    def test_what_is_wrong_with_it(self, embedder: Embedder, source: Any, message: str) -> None:
        with pytest.raises(ImageError, match=f"^image 1: .*{message}"):
            embedder.encode_image([picture(56, 56), source])

    def test_a_picture_that_was_passed_in_is_not_changed(self, embedder: Embedder) -> None:
        image = picture(100, 100).convert("RGBA")
        before = image.tobytes()
        embedder.encode_image(image)
        assert image.mode == "RGBA" and image.size == (100, 100) and image.tobytes() == before


class TestSimilarity:
    def test_dense_is_the_cosine(self, embedder: Embedder) -> None:
        generator = np.random.default_rng(0)
        queries, documents = generator.normal(size=(3, 48)), generator.normal(size=(5, 48))
        scores = embedder.similarity(queries, documents)
        assert scores.shape == (3, 5) and scores.dtype == np.float32
        for i, query in enumerate(queries):
            for j, document in enumerate(documents):
                expected = query @ document / np.linalg.norm(query) / np.linalg.norm(document)
                assert scores[i, j] == pytest.approx(expected, abs=1e-6)
        np.testing.assert_allclose(embedder.similarity(list(queries), documents.tolist()), scores, rtol=0, atol=1e-7)
        np.testing.assert_allclose(embedder.similarity(queries[0], documents), scores[:1], rtol=0, atol=1e-6)
        assert embedder.similarity(queries[0], documents[0]).shape == (1, 1)

    def test_multivectors_are_scored_by_maxsim(self, embedder: Embedder) -> None:
        queries = embedder.encode_text(["one", "another query"], return_multivector=True)
        documents = embedder.encode(["one", picture(), "three"], return_multivector=True)
        scores = embedder.similarity(queries, documents)
        assert scores.shape == (2, 3) and scores.dtype == np.float32
        for i, query in enumerate(queries):
            for j, document in enumerate(documents):
                assert scores[i, j] == pytest.approx(float((query @ document.T).max(axis=1).sum()), abs=2e-5)
        assert scores[0, 0] == pytest.approx(len(queries[0]), abs=2e-5)  # every token meets itself

    def test_vectors_straight_from_encode(self, embedder: Embedder) -> None:
        vectors = embedder.encode_text(["one", "two"])
        np.testing.assert_allclose(np.diag(embedder.similarity(vectors, vectors)), 1, rtol=0, atol=1e-6)

    def test_nothing_to_compare(self, embedder: Embedder) -> None:
        assert embedder.similarity(np.zeros((0, 48)), np.ones((2, 48))).shape == (0, 2)
        assert embedder.similarity([], [np.ones((3, 16))]).shape == (0, 1)
        assert embedder.similarity([np.ones((3, 16))], []).shape == (1, 0)
        assert np.array_equal(embedder.similarity(np.zeros(48), np.ones(48)), [[0.0]])  # and not a NaN

    @pytest.mark.parametrize(
        ("queries", "documents", "message"),
        [
            (np.ones((2, 16)), [np.ones((3, 16))], "must both be dense vectors or both be lists of multi-vectors"),
            (np.ones((2, 48)), np.ones((2, 16)), "all vectors must have one width, got 16 and 48"),
            ([np.ones((2, 16))], [np.ones((2, 16)), np.ones((2, 8))], "one width, got 8 and 16"),
            ([np.ones((2, 16)), np.ones(16)], [np.ones((2, 16))], "queries must be vectors"),
            (np.ones((2, 16)), "words", "documents must be vectors"),
            (["words"], ["words"], "queries must hold numbers"),
            (None, None, "queries must be vectors"),
            ([np.ones((2, 16))], [np.ones((3, 16)), np.ones((0, 16))], "documents .* at least one token .* number 1"),
        ],
    )
    def test_what_cannot_be_compared(self, embedder: Embedder, queries: Any, documents: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            embedder.similarity(queries, documents)


class TestProgress:
    def test_nothing_is_printed_where_stderr_is_piped(
        self, embedder: Embedder, capfd: pytest.CaptureFixture[str]
    ) -> None:
        embedder.encode_text(["a", "b"], show_progress=True, batch_size=1)
        embedder.encode_image([picture(56, 56)], show_progress=True)
        assert capfd.readouterr() == ("", "")

    def test_a_bar_on_a_terminal(self, embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        embedder.encode_text(["a", "b"], batch_size=1)
        assert terminal.getvalue() == ""
        embedder.encode_text(["a", "b"], show_progress=True, batch_size=1)
        assert "embedding" in terminal.getvalue() and "2/2" in terminal.getvalue()
