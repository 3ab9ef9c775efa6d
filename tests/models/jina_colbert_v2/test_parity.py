"""jina-colbert-v2 against transformers' tower with a head and ColBERT's token layout, written out here."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.support import tiny_colbert
from tests.support.serving import serving
from tests.support.tiny_colbert import DOCUMENT_MARKER, MASK, QUERY_MARKER
from tests.support.xlm_reference import assert_close, from_official, theirs

import polylens
from polylens.checkpoints.catalog import find
from polylens.checkpoints.loading import read_header
from polylens.errors import CheckpointError, InputError
from polylens.models.jina_colbert_v2.config import parse_config
from polylens.models.jina_colbert_v2.state_dict import published_rules
from polylens.runtime.embedder import Embedder
from polylens.server.engine.worker import packed, unpacked

TEXTS = ["", "sea", "Where, at night, is the lighthouse?", "a.b", "灯台"]
QUERY_LENGTH, BYTES = tiny_colbert.METADATA["query_maxlen"], tiny_colbert.tokenizer()


def ids_of(text: str, *, is_query: bool) -> list[int]:
    """The tokens as the published code lays them out."""
    words = BYTES.encode(text, add_special_tokens=False).ids
    if not is_query:
        return [0, DOCUMENT_MARKER, *words, 2]
    ids = [0, QUERY_MARKER, *words[: QUERY_LENGTH - 3], 2]
    return ids + [MASK] * (QUERY_LENGTH - len(ids))


def reference(folder: Path, texts: list[str], *, is_query: bool) -> list[torch.Tensor]:
    """One text at a time: tower, head, unit length; a document without its punctuation."""
    stored = load_file(folder / "model.safetensors")
    tower = {name: tensor for name, tensor in stored.items() if ".pooler." not in name}
    model = theirs(from_official(tower, "roberta.", 0.0, None), theta=10_000.0, vocab_size=263)
    found = []
    for text in texts:
        ids = torch.tensor([ids_of(text, is_query=is_query)])
        with torch.no_grad():
            hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        vectors = torch.nn.functional.normalize(hidden @ stored["linear.weight"].T, dim=-1)
        punctuation = [BYTES.token_to_id(mark) for mark in string.punctuation]
        rows = [row for row, token in enumerate(ids[0].tolist()) if is_query or token not in punctuation]
        found.append(vectors[rows])
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_colbert.write(tmp_path_factory.mktemp("colbert"))


@pytest.fixture(scope="module")
def embedder(folder: Path) -> Embedder:
    return polylens.load(folder, dtype="float32", device="cpu")


@pytest.mark.parametrize("prompt", ["query", "passage"])
def test_multivectors(folder: Path, embedder: Embedder, prompt: str) -> None:
    ours = embedder.encode_text(TEXTS, prompt_name=prompt, return_multivector=True)
    expected = reference(folder, TEXTS, is_query=prompt == "query")
    assert [one.shape for one in ours] == [tuple(one.shape) for one in expected]
    for text, mine, reference_ in zip(TEXTS, ours, expected, strict=True):
        assert_close(mine, reference_, f"{prompt} {text!r}")


def test_scores_are_late_interaction(folder: Path, embedder: Embedder) -> None:
    queries = reference(folder, TEXTS[1:3], is_query=True)
    documents = reference(folder, TEXTS, is_query=False)
    wanted = [[float((q @ d.T).amax(dim=1).sum()) for d in documents] for q in queries]
    ours = embedder.similarity(
        embedder.encode_text(TEXTS[1:3], prompt_name="query", return_multivector=True),
        embedder.encode_text(TEXTS, prompt_name="passage", return_multivector=True),
    )
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-4)


def test_the_dense_vector_is_the_mean_of_the_multivector(embedder: Embedder) -> None:
    """Untrained, for candidates only: of a document without its punctuation."""
    for prompt in ("query", "passage"):
        for one in embedder.embed(TEXTS, prompt_name=prompt):
            mean = one.multivector.mean(axis=0)
            np.testing.assert_allclose(one.dense, mean / np.linalg.norm(mean), rtol=0, atol=1e-6)
            assert one.norm == pytest.approx(float(np.linalg.norm(mean)), abs=1e-6)


def test_a_batch_changes_nothing(embedder: Embedder) -> None:
    roles = {"task": ["retrieval.query", "retrieval.passage", "retrieval.passage", "retrieval.query", "retrieval"]}
    together = embedder.encode_text(TEXTS, return_multivector=True, **roles)
    for text, task, found in zip(TEXTS, roles["task"], together, strict=True):
        alone = embedder.encode_text(text, task=task, return_multivector=True)
        assert alone.shape == found.shape and np.abs(alone - found).max() < 2e-6  # float32 sums over other blocks


@pytest.mark.parametrize("layout", [{"prefix": ""}, {"pooler": False}])
def test_both_ways_to_name_the_tower(folder: Path, tmp_path: Path, embedder: Embedder, layout: dict) -> None:
    other = polylens.load(tiny_colbert.write(tmp_path / "other", **layout), dtype="float32", device="cpu")
    ours, same = dict(embedder.model.named_parameters()), dict(other.model.named_parameters())
    assert ours.keys() == same.keys() and all(torch.equal(ours[name], same[name]) for name in ours)


def test_a_library_of_it(tmp_path: Path, embedder: Embedder) -> None:
    place = tmp_path / "library"
    place.mkdir()
    (place / "sea.txt").write_text("the sea, at night!")
    (place / "hill.txt").write_text("green hills...")
    library = polylens.Library(place, embedder)
    library.update()
    hits = library.search("the sea", top=2)
    query = embedder.encode_text("the sea", prompt_name="query", return_multivector=True)
    document = embedder.encode_text("the sea, at night!", prompt_name="passage", return_multivector=True)
    best = float((query @ document.T).max(axis=1).mean())
    assert {hit.file for hit in hits} == {"sea.txt", "hill.txt"}
    [sea] = [hit for hit in hits if hit.file == "sea.txt"]
    assert sea.late_score == pytest.approx(best, abs=3e-3)  # stored in half precision


def test_over_http(folder: Path, embedder: Embedder, tmp_path: Path) -> None:
    """A document by default; the tokens that are shown are those with a vector."""
    document = embedder.encode_text("a.b!", task="retrieval.passage", return_multivector=True)
    shown = {"return_multivector": True, "return_tokenized_input": True}
    with serving("--model", str(folder), home=tmp_path) as server:
        [row] = server.embed("a.b!", model=folder.name, **shown)["data"]
        long = {"model": folder.name, "input": "where is the lighthouse?", "task": "retrieval.query", "truncate": False}
        refused = server.post("/v1/embeddings", long)
    assert np.abs(np.array(row["embeddings"]) - document).max() < 0.03  # the server computes in bf16
    assert row["tokenized_input"] == ["<s>", "[DocumentMarker]", "a", "b", "</s>"]
    assert refused.status_code == 400 and "has more than 12 tokens" in refused.text


class TestProcessing:
    def test_a_query_is_filled_up_and_cut(self, embedder: Embedder) -> None:
        for text in TEXTS:
            item = embedder.processor.text(text, task=None, prompt_name="query", max_length=None)
            assert item.token_ids.tolist() == ids_of(text, is_query=True) and item.kept is None
            assert item.truncated == (len(text) > QUERY_LENGTH)
        short = embedder.processor.text("lighthouse", task=None, prompt_name="query", max_length=5).token_ids
        assert short.tolist() == [*ids_of("li", is_query=True)[:5], *[MASK] * (QUERY_LENGTH - 5)]

    def test_a_long_document_keeps_its_end_mark(self, embedder: Embedder) -> None:
        whole = embedder.processor.text("abc" * 100, task=None, prompt_name="passage", max_length=None)
        assert whole.num_tokens == 128 and whole.token_ids[-1] == 2 and whole.truncated
        cut = embedder.processor.text("abcdef", task=None, prompt_name="passage", max_length=6)
        assert cut.token_ids.tolist() == ids_of("abc", is_query=False)

    def test_punctuation_of_documents_has_tokens_but_no_vectors(self, folder: Path, tmp_path: Path) -> None:
        item = read_header(folder).processor.text("a.b!", task=None, prompt_name="passage", max_length=None)
        assert item.num_tokens == 7 and item.vector_token_ids.tolist() == ids_of("ab", is_query=False)
        through = unpacked(packed(item))
        assert through.kept is not None and np.array_equal(through.kept, item.kept)
        keeps = tiny_colbert.write(tmp_path, metadata={**tiny_colbert.METADATA, "mask_punctuation": False})
        item = read_header(keeps).processor.text("a.b!", task=None, prompt_name="passage", max_length=None)
        assert len(item.vector_token_ids) == item.num_tokens == 7

    def test_a_pad_that_a_text_spells_out(self, embedder: Embedder) -> None:
        """A mask in a query, and no vector in a document, as in ColBERT's library."""
        query = embedder.processor.text("a<pad>", task=None, prompt_name="query", max_length=None)
        assert query.token_ids.tolist()[3] == MASK
        document = embedder.processor.text("a<pad>", task=None, prompt_name="passage", max_length=None)
        assert document.vector_token_ids.tolist() == ids_of("a", is_query=False)

    def test_roles(self, embedder: Embedder) -> None:
        role = embedder.processor.role
        assert role(None, None) == role("retrieval", None) == role("retrieval.query", "passage") == (None, "query")
        assert role("retrieval.passage", None) == role("retrieval", "passage") == (None, "passage")
        with pytest.raises(InputError, match=r"task must be one of retrieval, .*retrieval\.passage, got 'code'"):
            role("code", None)
        with pytest.raises(InputError, match="prompt_name must be one of query, passage, got 'answer'"):
            role(None, "answer")

    def test_what_it_does_not_take(self, embedder: Embedder) -> None:
        with pytest.raises(InputError, match="this model accepts text only"):
            embedder.encode_image(np.zeros((4, 4, 3), dtype=np.uint8))  # type: ignore[arg-type]
        with pytest.raises(InputError, match="late chunking needs trained dense vectors"):
            embedder.embed_chunks(["a", "b"])
        with pytest.raises(InputError, match="truncate_dim must be"):
            embedder.encode_text("a", truncate_dim=8)


class TestRefusals:
    @pytest.mark.parametrize(
        ("config", "metadata", "message"),
        [
            ({}, {"attend_to_mask_tokens": False}, "attend_to_mask_tokens of artifact.metadata is False"),
            ({}, {"similarity": "l2"}, "similarity of artifact.metadata is 'l2'"),
            ({}, {"dim": 0}, "dim of JinaColbertConfig must be a whole number"),
            ({}, {"query_maxlen": 3}, "query_maxlen of artifact.metadata must lie within 4 and 128, got 3"),
            ({}, {"query_token_id": "[Q]"}, r"tokenizer.json must know the token \[Q\] below id 263, it has None"),
            ({"hidden_act": "relu"}, {}, "hidden_act of the text tower is 'relu'"),
            ({"num_attention_heads": 7}, {}, "7 heads cannot share a width of 48"),
        ],
    )
    def test_what_cannot_be_computed(self, tmp_path: Path, config: dict, metadata: dict, message: str) -> None:
        tiny_colbert.write(
            tmp_path, config={**tiny_colbert.CONFIG, **config}, metadata={**tiny_colbert.METADATA, **metadata}
        )
        with pytest.raises(CheckpointError, match=message):
            polylens.load(tmp_path)

    @pytest.mark.parametrize(
        "field", ["rotary_emb_base", "vocab_size", "query_maxlen", "mask_punctuation", "doc_token_id"]
    )
    def test_nothing_is_assumed(self, field: str) -> None:
        config, metadata = ({key: each[key] for key in each if key != field} for each in (
            tiny_colbert.CONFIG, tiny_colbert.METADATA))  # fmt: skip
        with pytest.raises(CheckpointError, match=f"lacks the field '{field}'"):
            parse_config(config, metadata)

    def test_a_folder_without_the_settings(self, tmp_path: Path) -> None:
        (tiny_colbert.write(tmp_path) / "artifact.metadata").unlink()
        with pytest.raises(CheckpointError, match=r"lacks artifact\.metadata"):
            polylens.load(tmp_path)

    def test_colbert_on_another_backbone(self, tmp_path: Path) -> None:
        tiny_colbert.write(tmp_path, config={**tiny_colbert.CONFIG, "position_embedding_type": "absolute"})
        with pytest.raises(CheckpointError, match="no model family here supports"):
            polylens.load(tmp_path)


def test_published_sizes() -> None:
    """The published file has 559,497,216 numbers, a pooler among them; its vocabulary ends in the two markers."""
    published = {
        "vocab_size": 250_004, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
        "intermediate_size": 4096, "max_position_embeddings": 8194, "layer_norm_eps": 1e-5, "hidden_act": "gelu",
        "type_vocab_size": 1, "rotary_emb_base": 10_000.0, "position_embedding_type": "rotary",
        "lora_adaptations": None, "architectures": ["HF_ColBERT"],
    }  # fmt: skip
    config = parse_config(published, {**tiny_colbert.METADATA, "query_maxlen": 32, "doc_maxlen": 300, "dim": 128})
    assert config.text.max_length == config.text.default_length == 8192 == find("jina-colbert-v2").context
    rules = published_rules(config, "roberta.")
    numbers = sum(int(np.prod(shape)) for rule in rules for shape in rule.published.values())
    assert find("jina-colbert-v2").parameters == numbers + 1024 * 1024 + 1024
