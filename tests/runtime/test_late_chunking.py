"""Late chunking and the lengths before normalising, against what the network's own hidden states say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.support import tiny, tiny_clip

import polylens
from polylens.errors import InputError
from polylens.models.jina_v4.model import JinaV4
from polylens.runtime.embedder import Embedder

CHUNKS = ["The harbour lies in the north.", "It freezes in winter. ", "Then no ship comes."]
ROUNDING = 2e-6  # float32: unit vectors whose sums ran in another order


@pytest.fixture(scope="module")
def v4(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return polylens.load(tiny.write(tmp_path_factory.mktemp("v4")), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def v3(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return polylens.load(tiny_clip.write(tmp_path_factory.mktemp("v3"), tiny_clip.V3), dtype="float32", device="cpu")


class TestChunks:
    def test_each_is_the_mean_over_its_own_tokens_of_the_whole_text(self, v4: Embedder) -> None:
        whole = "Passage: The harbour lies in the north. It freezes in winter. Then no ship comes."
        item = v4.processor.text(
            whole.removeprefix("Passage: "), task="retrieval", prompt_name="passage", max_length=None
        )
        assert isinstance(v4.model, JinaV4)
        with torch.inference_mode():
            hidden = v4.model.hidden_states([item]).float().numpy()
        assert len(hidden) == len(whole)  # the tiny tokenizer has a token a byte
        found = v4.embed_chunks(CHUNKS, task="retrieval.passage")
        cuts = [9, whole.index(" It"), whole.index("Then"), len(whole)]  # the blank set in belongs to what follows it
        for embedding, start, stop in zip(found, cuts, cuts[1:], strict=False):
            mean = hidden[start:stop].mean(axis=0)
            assert np.abs(embedding.dense - mean / np.linalg.norm(mean)).max() < ROUNDING
            assert embedding.norm == pytest.approx(np.linalg.norm(mean), rel=1e-5)
            assert embedding.num_tokens == stop - start

    @pytest.mark.parametrize("name", ["v4", "v3"])
    def test_what_stands_around_a_chunk_changes_it(self, name: str, request: pytest.FixtureRequest) -> None:
        embedder: Embedder = request.getfixturevalue(name)
        together = embedder.embed_chunks(CHUNKS)
        other = embedder.embed_chunks([*CHUNKS[:2], "Then every ship comes."])
        assert len(together) == 3
        assert together[0].dense @ embedder.embed_chunks(CHUNKS[:1])[0].dense < 0.9999 or name == "v4"  # v4 looks back
        assert together[2].dense @ other[2].dense < 0.9999

    @pytest.mark.parametrize("name", ["v4", "v3"])
    def test_it_shares_a_batch_with_ordinary_items(self, name: str, request: pytest.FixtureRequest) -> None:
        from polylens.runtime.engines.torch import TorchEngine

        embedder: Embedder = request.getfixturevalue(name)
        adapter, prompt = embedder.processor.role(None, None)
        item = embedder.processor.chunks(CHUNKS, task=adapter, prompt_name=prompt, max_length=None)
        plain = embedder.processor.text("a text", task=adapter, prompt_name=prompt, max_length=None)
        first, chunks, last = TorchEngine(embedder.model).run([plain, item, plain])
        assert [len(first), len(chunks), len(last)] == [1, 3, 1]
        alone = embedder.embed_chunks(CHUNKS)
        assert max(np.abs(a.dense - b.dense).max() for a, b in zip(chunks, alone, strict=True)) < ROUNDING
        assert np.abs(first[0].dense - last[0].dense).max() < ROUNDING

    def test_v3_leaves_the_marks_at_both_ends_out(self, v3: Embedder) -> None:
        item = v3.processor.chunks(["ab", "c"], task=None, prompt_name="", max_length=None)
        assert (item.num_tokens, item.chunks) == (5, ((1, 3), (3, 4)))

    def test_an_empty_chunk_is_refused(self, v4: Embedder) -> None:
        with pytest.raises(InputError, match="text 1 has no token"):
            v4.embed_chunks(["a", "", "b"])

    def test_too_many_tokens_are_refused(self, v4: Embedder, v3: Embedder) -> None:
        with pytest.raises(InputError, match="together they have 30 tokens, the limit is 20"):
            v4.embed_chunks(["a" * 11, "b" * 11], task="code.query", max_length=20)
        with pytest.raises(InputError, match="limit is 9"):
            v3.embed_chunks(["abcde", "fghij"], max_length=10)

    def test_nothing_is_nothing(self, v4: Embedder) -> None:
        assert v4.embed_chunks([]) == []


@pytest.mark.parametrize("name", ["v4", "v3"])
def test_the_norm_is_the_length_before(name: str, request: pytest.FixtureRequest) -> None:
    embedder: Embedder = request.getfixturevalue(name)
    few = embedder.embed(["a", "something longer than a"])
    assert all(0.1 < embedding.norm < 100 for embedding in few)
    assert few[0].norm != few[1].norm
    assert all(np.linalg.norm(embedding.dense) == pytest.approx(1, abs=1e-5) for embedding in few)
