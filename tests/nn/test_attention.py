"""Packed attention against a loop over sequences, heads and tokens."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import varlen

from polylens.nn import attention as module
from polylens.nn.attention import attention
from polylens.nn.packing import MaskedPacking, Packing, PaddedWindows

LENGTHS = {
    "one token": [1],
    "one sequence": [9],
    "equal lengths": [4, 4, 4],
    "unsorted": [5, 1, 3, 5, 1, 2],
    "longest first": [5, 3, 3, 1],
    "both kernels": [3, 129, 1, 128, 200, 3],
    "windows and their smaller neighbours": [64, 64, 32, 64, 64, 32, 16, 16, 8],
}
CPU = torch.device("cpu")


def slow(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    lengths: Sequence[int],
    *,
    causal: bool,
    slopes: Sequence[float] | None = None,
) -> Tensor:
    """The definition: one query token of one head of one sequence at a time."""
    heads, channels = queries.shape[1:]
    per_key = heads // keys.shape[1]
    rows, start = [], 0
    for length in lengths:
        for i in range(length):
            stop = start + (i + 1 if causal else length)
            for head in range(heads):
                seen = keys[start:stop, head // per_key]
                scores = (seen * queries[start + i, head]).sum(dim=1) / math.sqrt(channels)
                if slopes is not None:
                    distances = [abs(i - j) for j in range(len(seen))]
                    scores = scores - slopes[head] * torch.tensor(distances, dtype=scores.dtype)
                weights = torch.exp(scores - scores.max())
                weights = weights / weights.sum()
                rows.append((weights[:, None] * values[start:stop, head // per_key]).sum(dim=0))
        start += length
    return torch.stack(rows).view(sum(lengths), heads, channels)


def draw(
    lengths: Sequence[int], heads: int = 4, kv_heads: int = 2, channels: int = 6, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    shapes = [(sum(lengths), count, channels) for count in (heads, kv_heads, kv_heads)]
    q, k, v = (torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)
    return 2 * q, k, v  # sharp enough that a wrong neighbour shows


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "full"])
@pytest.mark.parametrize("name", LENGTHS)
def test_equals_the_loop(name: str, causal: bool) -> None:
    lengths = LENGTHS[name]
    q, k, v = draw(lengths)
    mine = attention(q, k, v, Packing(lengths, CPU), causal=causal)
    torch.testing.assert_close(mine, slow(q, k, v, lengths, causal=causal), rtol=0, atol=1e-12)  # float64 rounding


@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (4, 4), (8, 1), (6, 3)])
def test_query_heads_share_key_heads_in_order(heads: int, kv_heads: int) -> None:
    lengths = [7, 2, 7]
    q, k, v = draw(lengths, heads, kv_heads)
    mine = attention(q, k, v, Packing(lengths, CPU), causal=True)
    torch.testing.assert_close(mine, slow(q, k, v, lengths, causal=True), rtol=0, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "full"])
@pytest.mark.parametrize("short", [0, 1000], ids=["fused kernel", "products"])
def test_gradients_equal_the_loop(monkeypatch: pytest.MonkeyPatch, short: int, causal: bool) -> None:
    monkeypatch.setattr(module, "SHORT_WITH_GRAD", short)
    lengths = [3, 40, 1, 3]
    mine, theirs = ([x.clone().requires_grad_() for x in draw(lengths)] for _ in range(2))
    upstream = torch.randn_like(mine[0], dtype=torch.float64)
    attention(*mine, Packing(lengths, CPU), causal=causal).backward(upstream)
    slow(*theirs, lengths, causal=causal).backward(upstream)
    for name, x, y in zip("qkv", mine, theirs, strict=True):
        torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "full"])
@pytest.mark.parametrize("block", [1, 1000, 1 << 22], ids=["row by row", "some rows", "all rows"])
@pytest.mark.parametrize("name", LENGTHS)
def test_biases_equal_the_loop(monkeypatch: pytest.MonkeyPatch, name: str, block: int, causal: bool) -> None:
    monkeypatch.setattr(module, "BIASES", block)
    lengths, slopes = LENGTHS[name], [0.5, 0.07, 1.25, 0.0]
    q, k, v = draw(lengths)
    given = torch.tensor(slopes, dtype=torch.float64)
    mine = attention(q, k, v, Packing(lengths, CPU), causal=causal, slopes=given)
    expected = slow(q, k, v, lengths, causal=causal, slopes=slopes)
    torch.testing.assert_close(mine, expected, rtol=0, atol=1e-12)  # float64 rounding


@pytest.mark.parametrize("short", [0, 1000], ids=["fused kernel", "products"])
def test_gradients_with_biases_equal_the_loop(monkeypatch: pytest.MonkeyPatch, short: int) -> None:
    monkeypatch.setattr(module, "SHORT_WITH_GRAD", short)
    monkeypatch.setattr(module, "BIASES", 4 * 40 * 7)
    lengths, slopes = [3, 40, 1, 3], [0.5, 0.07, 1.25, 0.0]
    mine, theirs = ([x.clone().requires_grad_() for x in draw(lengths)] for _ in range(2))
    upstream = torch.randn_like(mine[0], dtype=torch.float64)
    given = torch.tensor(slopes, dtype=torch.float64)
    attention(*mine, Packing(lengths, CPU), causal=False, slopes=given).backward(upstream)
    slow(*theirs, lengths, causal=False, slopes=slopes).backward(upstream)
    for name, x, y in zip("qkv", mine, theirs, strict=True):
        torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}")


def test_flash_attention_has_no_biases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_flash", lambda *_: True)
    q, k, v = draw([3, 4])
    mine = attention(q, k, v, Packing([3, 4], CPU), causal=False, slopes=torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(mine, slow(q, k, v, [3, 4], causal=False, slopes=[1.0] * 4), rtol=0, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_biases_on_a_gpu_equal_the_loop(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """In 16 bits a score keeps 8 or 11 bits, biases included; float32 on a GPU may multiply in TF32."""
    monkeypatch.setattr(module, "BIASES", 4 * 129 * 30)
    lengths = [3, 129, 1, 64, 129]
    q, k, v = (x.to(device="cuda", dtype=dtype) for x in draw(lengths, channels=64, dtype=torch.float32))
    slopes = [0.5, 0.07, 1.25, 0.0]
    given = torch.tensor(slopes, device="cuda")
    mine = attention(q, k, v, Packing(lengths, q.device), causal=False, slopes=given)
    reference = slow(*(x.cpu().double() for x in (q, k, v)), lengths, causal=False, slopes=slopes)
    bound = 1e-3 if dtype == torch.float32 else 5e-2
    torch.testing.assert_close(mine.cpu().double(), reference, rtol=1e-2, atol=bound)


def test_each_kernel_takes_the_lengths_it_is_fast_at(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, int]] = []

    def spy(name: str) -> None:
        kernel = getattr(module, name)

        def record(q: Tensor, *rest: object) -> Tensor:
            ran.append((name, q.shape[2]))
            return kernel(q, *rest)

        monkeypatch.setattr(module, name, record)

    spy("_products")
    spy("_fused")
    lengths = [600, 128, 129]
    q, k, v = draw(lengths, heads=1, kv_heads=1, channels=2)
    attention(q, k, v, Packing(lengths, CPU), causal=True)
    assert ran == [("_products", 128), ("_fused", 129), ("_fused", 600)]
    ran.clear()
    attention(q.requires_grad_(), k, v, Packing(lengths, CPU), causal=True)
    assert ran == [("_products", 128), ("_products", 129), ("_fused", 600)]


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "full"])
def test_packed_equals_apart(causal: bool) -> None:
    """In float32: 1e-6 is some roundings of values near one, which come from sums taken in another order."""
    lengths = [5, 130, 1, 130, 17, 5]
    q, k, v = draw(lengths, dtype=torch.float32)
    packed = attention(q, k, v, Packing(lengths, CPU), causal=causal)
    apart = [
        attention(*each, Packing([len(each[0])], CPU), causal=causal)
        for each in zip(*(x.split(lengths) for x in (q, k, v)), strict=True)
    ]
    torch.testing.assert_close(packed, torch.cat(apart), rtol=0, atol=1e-6)


def test_a_sequence_sees_nothing_of_its_neighbours() -> None:
    lengths = [4, 6, 4]
    q, k, v = draw(lengths)
    packing = Packing(lengths, CPU)
    before = attention(q, k, v, packing, causal=False)
    q[4:10], k[4:10], v[4:10] = 1e3, -1e3, torch.inf
    after = attention(q, k, v, packing, causal=False)
    assert torch.equal(before[:4], after[:4]) and torch.equal(before[10:], after[10:])


def test_sequences_without_tokens_are_dropped() -> None:
    q, k, v = draw([3, 2])
    packing = Packing([0, 3, 0, 0, 2, 0], CPU)
    assert packing.lengths == (3, 2)
    assert (packing.total, packing.longest) == (5, 3)
    assert packing.bounds.tolist() == [0, 3, 5]
    assert packing.bounds.dtype == torch.int32
    mine = attention(q, k, v, packing, causal=True)
    torch.testing.assert_close(mine, slow(q, k, v, [3, 2], causal=True), rtol=0, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "full"])
def test_flash_attention_equals_the_loop(causal: bool) -> None:
    """bfloat16 keeps 8 bits: 2e-2 is two roundings of values around two."""
    lengths = [3, 129, 1, 64]
    q, k, v = (x.to(device="cuda", dtype=torch.bfloat16) for x in draw(lengths, channels=64, dtype=torch.float32))
    mine = attention(q, k, v, Packing(lengths, q.device), causal=causal)
    reference = slow(*(x.cpu().double() for x in (q, k, v)), lengths, causal=causal)
    torch.testing.assert_close(mine.cpu().double(), reference, rtol=1e-2, atol=2e-2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("causal", [False, True])
def test_the_gpu_kernel_equals_the_products_on_the_cpu(causal):
    """bf16 on both sides; a hundredth of the signal is what its eight bits of mantissa leave."""
    lengths = [1, 64, 7, 300]
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(sum(lengths), 4, 64, generator=generator).bfloat16()
    keys, values = (torch.randn(sum(lengths), 2, 64, generator=generator).bfloat16() for _ in range(2))
    here = attention(queries, keys, values, Packing(lengths, torch.device("cpu")), causal=causal)
    on_gpu = [x.cuda() for x in (queries, keys, values)]
    there = attention(*on_gpu, Packing(lengths, torch.device("cuda")), causal=causal)
    assert float((there.cpu().float() - here.float()).abs().max()) < 0.01 * float(here.float().abs().max())


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "full"])
@pytest.mark.parametrize("is_new", [True, False], ids=["new", "old"])
def test_flash_attention_takes_grouped_heads_as_they_are(
    monkeypatch: pytest.MonkeyPatch, causal: bool, is_new: bool
) -> None:
    """Without a GPU torch still checks the arguments of its kernel, on tensors that have a shape and no numbers."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: HOPPER)
    heads: list[int] = []
    kernel = varlen.varlen_attn

    @functools.wraps(kernel)
    def record(q: Tensor, k: Tensor, *rest: Any, **options: Any) -> Any:
        heads.extend((q.shape[1], k.shape[1]))
        assert options["num_splits"] == 1  # a sequence's result does not depend on its batch
        return kernel(q, k, *rest, **options)

    def older(q: Tensor, k: Tensor, *rest: Any, window_size: tuple[int, int]) -> Any:
        heads.extend((q.shape[1], k.shape[1]))
        return kernel(q, k, *rest, window_size=window_size)

    monkeypatch.setattr(varlen, "varlen_attn", record if is_new else older)
    with FakeTensorMode():
        q, k, v = (torch.empty(9, count, 64, dtype=torch.bfloat16, device="cuda") for count in (8, 2, 2))
        mixed = attention(q, k, v, Packing([4, 5], CUDA), causal=causal)
    assert mixed.shape == q.shape and mixed.device == q.device
    assert heads == ([8, 2] if is_new else [8, 8])


CUDA = torch.device("cuda", 0)
TURING, AMPERE, HOPPER = (7, 5), (8, 0), (9, 0)  # compute capabilities: T4, A100, H100


@pytest.mark.parametrize("capability", [(7, 0), TURING, AMPERE, (8, 6), HOPPER], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_flash_attention_is_chosen_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    assert module.has_flash(CUDA, dtype) == (capability >= AMPERE and dtype != torch.float32)
    assert not module.has_flash(CPU, dtype)


@pytest.mark.parametrize("capability", [TURING, AMPERE], ids=str)
def test_the_kernel_of_a_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    """A GPU before Ampere goes the way of the CPU. The device's name is all of it that this machine can have."""
    ran: list[str] = []
    products = module._products
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    on_a_gpu = module.has_flash
    monkeypatch.setattr(module, "has_flash", lambda _, dtype: on_a_gpu(CUDA, dtype))
    monkeypatch.setattr(module, "_flash", lambda q, *_, **__: ran.append("flash") or q)
    monkeypatch.setattr(module, "_products", lambda *each: ran.append("products") or products(*each))
    q, k, v = draw([3, 4], dtype=torch.bfloat16)
    attention(q, k, v, Packing([3, 4], CPU), causal=True)
    assert ran == (["products", "products"] if capability == TURING else ["flash"])


class TestPacking:
    def test_the_bounds_reach_the_device_once(self) -> None:
        packing = Packing([3, 2], CPU)
        assert packing.bounds is packing.bounds

    def test_flash_attention_needs_no_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "has_flash", lambda *_: True)
        monkeypatch.setattr(module, "_flash", lambda q, _, __, packing, **___: packing.bounds is None or q)
        packing = Packing([5, 1, 3], CPU)
        attention(*draw([5, 1, 3]), packing, causal=True)
        assert {"groups", "order", "inverse"}.isdisjoint(vars(packing))
        assert packing.groups == [(1, 1), (3, 1), (5, 1)]
        assert packing.order is not None and packing.inverse is not None
        assert packing.order[packing.inverse].tolist() == list(range(9))

    def test_batches_of_the_runtime_need_no_order(self) -> None:
        """They begin with the longest input."""
        packing = Packing([5, 3, 3, 1], CPU)
        assert packing.order is None and packing.inverse is None
        assert packing.groups == [(5, 1), (3, 2), (1, 1)]


@pytest.mark.parametrize("slopes", [None, [0.5, 0.07, 1.25, 0.0]], ids=["no biases", "biases"])
def test_a_mask_of_numbers_separates_sequences(slopes: list[float] | None) -> None:
    lengths, padding = [5, 1, 3], 4
    q, k, v = draw([*lengths, padding], kv_heads=4)
    owner = torch.repeat_interleave(torch.arange(4), torch.tensor([*lengths, padding]))
    mask = torch.where(owner[:, None] == owner[None], 0.0, -1e4)
    positions = Packing([*lengths, padding], CPU).positions
    packing = MaskedPacking(len(owner), CPU, positions=positions, mask=mask)
    given = None if slopes is None else torch.tensor(slopes, dtype=torch.float64)
    mine = attention(q, k, v, packing, causal=False, slopes=given)[: sum(lengths)]
    q, k, v = (x[: sum(lengths)] for x in (q, k, v))
    torch.testing.assert_close(mine, slow(q, k, v, lengths, causal=False, slopes=slopes), rtol=0, atol=1e-12)


def test_padding_inside_of_attention_changes_nothing() -> None:
    lengths = [5, 1, 3]
    q, k, v = draw(lengths)
    real = torch.arange(5) < torch.tensor(lengths)[:, None]
    tokens = torch.full((3, 5), 2)  # any token stands for the padding
    tokens[real] = torch.arange(9)
    packing = PaddedWindows(9, tokens, real.flatten().nonzero()[:, 0], torch.where(real, 0.0, -1e4))
    mine = attention(q, k, v, packing, causal=False)
    torch.testing.assert_close(mine, slow(q, k, v, lengths, causal=False), rtol=0, atol=1e-12)
