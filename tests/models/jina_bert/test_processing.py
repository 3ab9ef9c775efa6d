"""Tokens of jina-embeddings-v2 and jina-clip-v1, late chunking, and texts as long as the models take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from tests.support import tiny_bert
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import polylens
from polylens.errors import InputError
from polylens.nn.attention import BIASES
from polylens.runtime.embedder import Embedder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return load(tiny_bert.write(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return load(tiny_bert.write(tmp_path_factory.mktemp("clip"), tiny_bert.CLIP))


def load(folder: Path) -> Embedder:
    return polylens.load(folder, dtype="float32", device="cpu")


def ids(embedder: Embedder, text: str, max_length: int | None = None) -> list[int]:
    item = embedder.processor.text(text, task=None, prompt_name="", max_length=max_length)
    return item.token_ids.tolist()


def test_marks_around_a_text(base: Embedder) -> None:
    assert ids(base, "") == [2, 3]
    assert ids(base, "Ab") == [2, *(base.processor.tokenizer.token_to_id(piece) for piece in ("a", "##b")), 3]


def test_the_marks_of_another_tokenizer(tmp_path: Path) -> None:
    """jina-embeddings-v2-base-code has `<s>` and `</s>`."""
    found = ids(load(tiny_bert.write(tmp_path, tiny_bert.CODE)), "ab")
    assert (found[0], found[-1], len(found)) == (0, 2, 4)


def test_a_long_text_keeps_its_end_mark(base: Embedder) -> None:
    whole = ids(base, "a " * 400)
    assert len(whole) == 300 and whole[-1] == 3
    assert ids(base, "abc def", max_length=4) == [*ids(base, "abc")[:3], 3]
    assert ids(base, "abc", max_length=1) == [2]
    items = [base.processor.text(text, task=None, prompt_name="", max_length=None) for text in ("a", "a " * 400)]
    assert [item.truncated for item in items] == [False, True]


def test_a_pad_that_a_text_spells_out(base: Embedder, clip: Embedder) -> None:
    """jina-clip-v1's code masks every token of this id; that of jina-embeddings-v2 goes by its tokenizer's mask."""
    assert ids(clip, "a [PAD] b") == ids(clip, "a b")
    assert ids(base, "a [PAD] b").count(0) == 1


def test_neither_tasks_nor_prompts(base: Embedder) -> None:
    plain = base.encode_text("sea")
    assert base.tasks == ()
    for prompt in ("query", "passage"):
        assert np.array_equal(base.encode_text("sea", task="retrieval", prompt_name=prompt), plain)
    assert np.array_equal(base.encode_text("sea", task="retrieval.query"), plain)
    with pytest.raises(InputError, match="task must be left out or retrieval, this model has no others; got 'code'"):
        base.encode_text("sea", task="code")
    with pytest.raises(InputError, match="prompt_name must be query or passage, got 'answer'"):
        base.encode_text("sea", prompt_name="answer")


def test_one_dense_size(base: Embedder) -> None:
    assert np.allclose(np.linalg.norm(base.encode_text(["sea"], truncate_dim=48), axis=1), 1)
    with pytest.raises(InputError, match="truncate_dim must be one of 48"):
        base.encode_text("sea", truncate_dim=16)
    with pytest.raises(InputError, match="does not produce multi-vectors"):
        base.encode_text("sea", return_multivector=True)


def test_late_chunking(base: Embedder) -> None:
    """Two chunks are one text for the network, and each is the mean over its own tokens."""
    item = base.processor.chunks(["the sea.", "a boat"], task=None, prompt_name="", max_length=None)
    assert item.token_ids.tolist() == ids(base, "the sea. a boat")
    assert item.chunks == ((1, 8), (8, 13))
    chunked = base.model.embed([item]).dense
    whole = base.processor.text("the sea. a boat", task=None, prompt_name="", max_length=None)
    rows = base.model.text(torch.from_numpy(whole.token_ids), _packing(len(whole.token_ids)))  # type: ignore[attr-defined]
    wanted = torch.stack([rows[first:stop].mean(0) for first, stop in item.chunks])
    torch.testing.assert_close(chunked, torch.nn.functional.normalize(wanted, dim=-1), rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="text 1 has no token"):
        base.processor.chunks(["a", ""], task=None, prompt_name="", max_length=None)


def test_images_have_one_size(base: Embedder, clip: Embedder) -> None:
    assert clip.processor.num_image_tokens(900, 20) == 17
    with pytest.raises(InputError, match="sees every picture as 64 x 64 pixels"):
        clip.encode_image(PIL.Image.new("RGB", (80, 60)), max_pixels=1000)
    with pytest.raises(InputError, match="texts only"):
        base.processor.num_image_tokens(9, 9)


def test_a_library(clip: Embedder, tmp_path: Path) -> None:
    """A library asks for the task `retrieval`."""
    (tmp_path / "sea.txt").write_text("the sea at night")
    PIL.Image.new("RGB", (80, 60), "blue").save(tmp_path / "blue.png")
    library = polylens.Library(tmp_path, clip)
    library.update()
    assert library.search("the sea at night", top=2)[0].file == "sea.txt"


def test_a_text_of_8192_tokens_needs_little_memory(tmp_path: Path) -> None:
    """Four heads have 268 million scores and as many biases there; no tensor is larger than a block of biases."""
    published = {**tiny_bert.BASE, "hidden_size": 16, "num_attention_heads": 4, "num_hidden_layers": 1,
                 "max_position_embeddings": 8192}  # fmt: skip
    embedder = load(tiny_bert.write(tmp_path, published))
    item = embedder.processor.text("a " * 9000, task=None, prompt_name="", max_length=None)
    assert item.num_tokens == 8192
    with torch.no_grad(), Largest() as largest:
        dense = embedder.model.embed([item]).dense
    assert torch.isfinite(dense).all()
    assert 0 < largest.bytes <= 4 * BIASES


class Largest(TorchDispatchMode):
    """Watches how large the memory of any one tensor is."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.untyped_storage().nbytes() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.bytes = max([self.bytes, *sizes])
        return result


def _packing(length: int) -> Any:
    from polylens.nn.packing import Packing

    return Packing([length], torch.device("cpu"))
