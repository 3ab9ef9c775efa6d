"""Models in sentence-transformers' own hands: its two classes, its similarity, its loading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import sentence_transformers
import torch
from tests.support import tiny, tiny_clip

import polylens
from polylens.errors import CheckpointError, InputError
from polylens.integrations.sentence_transformers import multi_vector_encoder, sentence_transformer
from polylens.runtime.embedder import Embedder

TEXTS = ["port fees", "which ships leave the harbour at dawn, and which of them come back before the evening?"]


@pytest.fixture(scope="module")
def nano() -> Embedder:
    return polylens.load("nano")


@pytest.fixture(scope="module")
def images() -> list[PIL.Image.Image]:
    rng = np.random.default_rng(1)
    return [PIL.Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)) for size in ((90, 60), (50, 120))]


def same(theirs: object, ours: np.ndarray) -> None:
    """To rounding: another composition of a batch sums in another order."""
    np.testing.assert_allclose(np.asarray(theirs), ours, atol=2e-5)


@pytest.mark.parametrize("task", ["retrieval", "text-matching", "code"])
def test_dense_vectors_are_ours(nano: Embedder, images: list[PIL.Image.Image], task: str) -> None:
    model = sentence_transformer(nano, task=task)
    assert isinstance(model, sentence_transformers.SentenceTransformer)
    same(model.encode_query(TEXTS), nano.encode_text(TEXTS, task, "query"))
    same(model.encode_document(TEXTS), nano.encode_text(TEXTS, task, "passage"))
    same(model.encode(TEXTS), nano.encode_text(TEXTS, task))
    same(model.encode_document(images), nano.encode_image(images, task))
    assert (model.get_embedding_dimension(), model.modalities) == (256, ["text", "image"])


def test_multi_vectors_are_ours(nano: Embedder, images: list[PIL.Image.Image]) -> None:
    model = multi_vector_encoder(nano)
    queries, documents = model.encode_query(TEXTS), model.encode_document(images)
    for theirs, ours in [
        (queries, nano.encode_text(TEXTS, "retrieval", "query", return_multivector=True)),
        (documents, nano.encode_image(images, "retrieval", return_multivector=True)),
        (
            model.encode(TEXTS, task="code.passage"),
            nano.encode_text(TEXTS, "code", "passage", return_multivector=True),
        ),
    ]:
        assert [len(each) for each in theirs] == [len(each) for each in ours]
        for one, other in zip(theirs, ours, strict=True):
            same(one, other)
    scores = nano.similarity([each.numpy() for each in queries], [each.numpy() for each in documents])
    same(model.similarity(queries, documents), scores)
    assert model.get_embedding_dimension() == 128


def test_a_call_may_name_a_task_with_its_prompt(nano: Embedder) -> None:
    model = sentence_transformer(nano)
    same(model.encode(TEXTS, task="code.passage"), nano.encode_text(TEXTS, "code", "passage"))
    with pytest.raises(InputError, match="task must be one of retrieval"):
        model.encode(TEXTS, task="codes")


def test_widths(nano: Embedder) -> None:
    ours = nano.encode_text(TEXTS, "retrieval", "query", truncate_dim=64)
    cut = sentence_transformer(nano, truncate_dim=64)
    same(cut.encode_query(TEXTS), ours)
    assert cut.get_embedding_dimension() == 64
    whole = sentence_transformer(nano)
    same(whole.encode_query(TEXTS, truncate_dim=64, normalize_embeddings=True), ours)
    with pytest.raises(InputError, match="truncate_dim must be one of 64, 128, 256 for this model, got 100"):
        sentence_transformer(nano, truncate_dim=100)


def test_an_instruction_stands_behind_the_prompt_of_the_model(nano: Embedder) -> None:
    model = sentence_transformer(nano, prompts={"law": "In law: "})
    wanted = nano.encode_text([f"In law: {text}" for text in TEXTS], "retrieval", "query")
    same(model.encode_query(TEXTS, prompt_name="law"), wanted)
    same(model.encode_query(TEXTS, prompt="In law: "), wanted)
    assert not np.allclose(model.encode_query(TEXTS), wanted, atol=1e-3)


def test_kinds_of_inputs(nano: Embedder, images: list[PIL.Image.Image], tmp_path: Path) -> None:
    model = sentence_transformer(nano)
    path = tmp_path / "picture.png"
    images[0].save(path)
    wanted = nano.encode_image(images[0])
    for value in ({"image": images[0]}, {"image": path}, {"image": str(path)}, polylens.Image(path), images[0]):
        same(model.encode(value), wanted)
    same(model.encode(str(path)), nano.encode_text(str(path)))  # a text is a text, whatever it names
    same(model.encode({"text": "a"}), nano.encode_text("a"))
    for value, got in (({"text": "a", "image": images[0]}, "a dict of 'text', 'image'"), (3.5, "float")):
        with pytest.raises(InputError, match=f"input 0 must be a str.*got {got}"):
            model[0].preprocess([value])


def test_long_texts_are_cut(nano: Embedder) -> None:
    model = sentence_transformer(nano, max_length=5)
    same(model.encode_query(TEXTS), nano.encode_text(TEXTS, "retrieval", "query", max_length=5))
    model.max_seq_length = 7
    same(model.encode_query(TEXTS), nano.encode_text(TEXTS, "retrieval", "query", max_length=7))


def test_a_model_without_prompts_and_without_multi_vectors(tmp_path: Path) -> None:
    embedder = polylens.load(tiny_clip.write(tmp_path / "clip"), device="cpu", dtype="float32")
    model = sentence_transformer(embedder)
    same(model.encode(TEXTS), embedder.encode_text(TEXTS))
    same(model.encode_query(TEXTS), embedder.encode_text(TEXTS, "retrieval", "query"))
    with pytest.raises(InputError, match="has no multi-vectors; sentence_transformer gives its dense vectors"):
        multi_vector_encoder(embedder)
    with pytest.raises(InputError, match=r"task must be .*got 'code'; its prompt is chosen by encode_query"):
        sentence_transformer(embedder, task="code")


def test_a_saved_folder_needs_the_flag(tmp_path: Path) -> None:
    model = multi_vector_encoder("nano", task="code", max_length=6)
    model.save(str(tmp_path))
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        sentence_transformers.MultiVectorEncoder(str(tmp_path))
    loaded = sentence_transformers.MultiVectorEncoder(str(tmp_path), trust_remote_code=True)
    for one, other in zip(loaded.encode_query(TEXTS), model.encode_query(TEXTS), strict=True):
        assert torch.equal(one, other)


def test_a_saved_folder_does_not_take_another_model(tmp_path: Path) -> None:
    folder, saved = tmp_path / "model", tmp_path / "saved"
    tiny.write(folder)
    sentence_transformer(folder).save(str(saved))
    tiny.write(folder, seed=7)
    with pytest.raises(CheckpointError, match="the saved folder was made with model@"):
        sentence_transformers.SentenceTransformer(str(saved), trust_remote_code=True)


def test_a_loaded_model_has_no_place_to_name(nano: Embedder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make it from the model's name or folder"):
        sentence_transformer(nano).save(str(tmp_path))
