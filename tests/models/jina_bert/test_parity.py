"""Both towers against a plain reading of the formulas: one text, one head, one token at a time, in float64.

No code is shared with the package. field_2026_11 facts, sections 4.2 and 4.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file
from tests.support import tiny_bert
from tests.support.slow_eva02 import SlowTower, normalised

import polylens
from polylens.models.jina_bert.model import JinaBert
from polylens.runtime.embedder import Embedder

BOUND = 1e-4
"""Of the signal's standard deviation: some hundred times what float32 sums in another order leave."""

Array = np.ndarray
TEXTS = ["", "a", "The lighthouse at dusk.", "no such word - ship! " * 8, "x y " * 140]
FORMS = {
    "base": (tiny_bert.BASE, {}),
    "small": (tiny_bert.SMALL, {"prefix": "bert."}),
    "code": (tiny_bert.CODE, {}),
    "code, with a prefix": (tiny_bert.CODE, {"prefix": "bert."}),
    "clip": (tiny_bert.CLIP, {}),
    "clip, in the names of v2": (tiny_bert.CLIP, {"is_flash": False}),
}


class SlowBert:
    """The formulas, word for word: from token ids to a vector of unit length."""

    def __init__(self, folder: Path, heads: int) -> None:
        self.weights: dict[str, Array] = {}
        for name, tensor in load_file(folder / "model.safetensors").items():
            short = name.removeprefix("text_model.transformer.").removeprefix("bert.")
            for old, new in (("emb_ln", "embeddings.LayerNorm"), ("encoder.layers", "encoder.layer"),
                             ("mixer.out_proj", "attention.output.dense"), ("norm1", "attention.output.LayerNorm"),
                             ("norm2", "mlp.layernorm")):  # fmt: skip
                short = short.replace(old, new)
            parts = [tensor]
            names = [short]
            if "mixer.Wqkv" in short:
                parts = list(tensor.chunk(3))
                names = [short.replace("mixer.Wqkv", f"attention.self.{which}") for which in ("query", "key", "value")]
            self.weights |= {each: part.double().numpy() for each, part in zip(names, parts, strict=True)}
        self.heads = heads

    def slopes(self, count: int) -> list[float]:
        whole = 2 ** int(math.log2(count))
        start = 2 ** -(2 ** -(math.log2(whole) - 3))
        slopes = [start ** (i + 1) for i in range(whole)]
        return slopes if whole == count else slopes + self.slopes(2 * whole)[0::2][: count - whole]

    def linear(self, x: Array, name: str) -> Array:
        return x @ self.weights[f"{name}.weight"].T + self.weights.get(f"{name}.bias", 0.0)

    def norm(self, x: Array, name: str) -> Array:
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + 1e-12) * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def attention(self, x: Array, layer: str) -> Array:
        q, k, v = (self.linear(x, f"{layer}.attention.self.{which}") for which in ("query", "key", "value"))
        if f"{layer}.attention.self.layer_norm_q.weight" in self.weights:
            q, k = (
                self.norm(each, f"{layer}.attention.self.layer_norm_{which}") for each, which in ((q, "q"), (k, "k"))
            )
        mixed, width = np.zeros_like(x), x.shape[1] // self.heads
        for head, slope in enumerate(self.slopes(self.heads)):
            part = slice(head * width, (head + 1) * width)
            for i in range(len(x)):
                biases = np.array([-slope * abs(i - j) for j in range(len(x))])
                scores = np.exp(k[:, part] @ q[i, part] / math.sqrt(width) + biases)
                mixed[i, part] = (scores[:, None] * v[:, part]).sum(0) / scores.sum()
        return self.norm(
            self.linear(mixed, f"{layer}.attention.output.dense") + x, f"{layer}.attention.output.LayerNorm"
        )

    def gelu(self, x: Array) -> Array:
        return x * np.vectorize(lambda number: 0.5 * (1 + math.erf(number / math.sqrt(2))))(x)

    def block(self, x: Array, layer: str) -> Array:
        attended = self.attention(x, layer)
        if f"{layer}.mlp.gated_layers.weight" in self.weights:
            gate, up = np.split(self.linear(attended, f"{layer}.mlp.gated_layers"), 2, axis=1)
            return self.norm(self.linear(self.gelu(gate) * up, f"{layer}.mlp.wo") + attended, f"{layer}.mlp.layernorm")
        attended = self.norm(x + attended, f"{layer}.layer_norm_1")
        up, gate = np.split(self.linear(attended, f"{layer}.mlp.up_gated_layer"), 2, axis=1)
        return self.norm(
            attended + self.linear(up * self.gelu(gate), f"{layer}.mlp.down_layer"), f"{layer}.layer_norm_2"
        )

    def __call__(self, ids: Array) -> Array:
        words, types = (self.weights[f"embeddings.{table}_embeddings.weight"] for table in ("word", "token_type"))
        x = self.norm(words[ids] + types[0], "embeddings.LayerNorm")
        for layer in range(2):
            x = self.block(x, f"encoder.layer.{layer}")
        mean = x.mean(0)
        return mean / np.linalg.norm(mean)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made = {
        name: tiny_bert.write(tmp_path_factory.mktemp("form"), published, **options)
        for name, (published, options) in FORMS.items()
    }
    return lambda name: made[name]


def load(folder: Path) -> Embedder:
    return polylens.load(folder, dtype="float32", device="cpu")


def slow_bert(folder: Path, name: str) -> SlowBert:
    published = FORMS[name][0]
    return SlowBert(folder, published.get("num_attention_heads", tiny_bert.SIZES["num_attention_heads"]))


@pytest.mark.parametrize("name", FORMS)
def test_texts(folders: Callable[[str], Path], name: str) -> None:
    embedder, slow = load(folders(name)), slow_bert(folders(name), name)
    expected = np.stack([slow(ids_of(embedder, text)) for text in TEXTS])
    difference = np.abs(embedder.encode_text(TEXTS) - expected).max() / expected.std()
    print(f"{name}: largest difference {difference:.1e} of the signal's standard deviation")
    assert difference < BOUND


def test_images(folders: Callable[[str], Path]) -> None:
    embedder, slow = load(folders("clip")), SlowTower(folders("clip"), tiny_bert.CLIP["vision_config"])
    images = [noise(64, 64, seed) for seed in range(3)]
    expected = np.stack([slow(normalised(image)) for image in images])
    difference = np.abs(embedder.encode_image(images) - expected).max() / expected.std()
    print(f"vision tower of jina-clip-v1: largest difference {difference:.1e} of the signal's standard deviation")
    assert difference < BOUND


@pytest.mark.parametrize("name", ["base", "code"])
def test_every_part_counts(folders: Callable[[str], Path], name: str) -> None:
    """What the loop would not notice if both sides forgot it: each stored number moves the answer."""
    slow = slow_bert(folders(name), name)
    ids = np.array([2, 5, 9, 7, 11, 3])
    before = slow(ids)
    unseen = "layer_norm_k.bias" if name == "code" else "self.key.bias"  # adds the same to the scores of all keys
    for part, kept in list(slow.weights.items()):
        if part.startswith(("encoder.layer.1", "pooler")):
            continue
        slow.weights[part] = kept + 0.3 * np.random.default_rng(0).standard_normal(kept.shape)
        if part.endswith(unseen):
            assert np.abs(slow(ids) - before).max() < 1e-12
        else:
            assert np.abs(slow(ids) - before).max() > 1e-4, part
        slow.weights[part] = kept


def test_batched_equals_alone_equals_permuted(folders: Callable[[str], Path]) -> None:
    embedder = load(folders("clip"))
    inputs = ["a text", noise(120, 90, 2), "", noise(30, 200, 3), "another text that is longer", noise(64, 64, 1)]
    together = embedder.encode(inputs)
    alone = np.stack([embedder.encode(each) for each in inputs])
    assert np.abs(together - alone).max() < 2e-6  # float32 sums over other blocks
    assert np.abs(embedder.encode(inputs[::-1])[::-1] - alone).max() < 2e-6


def test_the_order_of_words_counts(folders: Callable[[str], Path]) -> None:
    """Without biases a bag of words would have one vector in any order."""
    embedder = load(folders("base"))
    one, other = embedder.encode_text(["dog bites man", "man bites dog"])
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("name", ["code", "clip"])
def test_gradients_reach_every_weight(folders: Callable[[str], Path], name: str) -> None:
    embedder = load(folders(name))
    model = embedder.model.requires_grad_(True)  # type: ignore[attr-defined]
    assert isinstance(model, JinaBert)
    items = [embedder.processor.text("sea", task=None, prompt_name="", max_length=None)]
    if name == "clip":
        items.append(embedder.processor.image(noise(64, 64, 5), task=None, max_pixels=None))
    model.embed(items).dense[:, :7].sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


def test_bfloat16_is_near(folders: Callable[[str], Path]) -> None:
    rough = polylens.load(folders("code"), dtype="bfloat16", device="cpu").encode_text(TEXTS)
    assert (rough * load(folders("code")).encode_text(TEXTS)).sum(axis=1).min() > 0.999


def ids_of(embedder: Embedder, text: str) -> Array:
    return embedder.processor.text(text, task=None, prompt_name="", max_length=None).token_ids


def noise(width: int, height: int, seed: int) -> PIL.Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(values)
