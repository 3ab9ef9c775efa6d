"""Where the time of a call goes on a device: matrix products, attention, copies, the rest, and gaps between kernels."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

KINDS = {  # the first that fits a kernel's name (or an operator's, on a processor)
    "attention": r"flash|fmha|attention|attn|softmax",
    "products": r"gemm|gemv|cutlass|nvjet|xmma|cublas|splitk|aten::(add)?(b?mm|mv)\b|aten::linear|mkldnn|aten::addbmm",
    "copies": r"memcpy|memset",
}
REST, GAPS = "elementwise", "gaps"
LONGEST = 12  # kernels that are listed by name


@dataclass(frozen=True, slots=True)
class Shares:
    """A call's time and its parts."""

    seconds: float
    """Per call, without the profiler."""
    shares: dict[str, float]
    """Of that time: each kind of kernel, and the gaps in which the device does nothing. They add up to 1 unless kernels
    overlap. On a processor they are of the time with the profiler."""
    longest: dict[str, float]
    """Seconds per call of the kernels that take longest, by name."""


def is_gpu(device: str) -> bool:
    """Whether kernels run beside the processor."""
    return device.startswith("cuda")


def measure_shares(call: Callable[[], object], device: str, *, repeats: int, warm_up: int) -> Shares:
    """Times a call, then runs it again under the profiler.

    The gaps are what the kernels leave of the time without the profiler, which slows the launching of kernels down.

    Args:
        call: What is measured.
        device: "cuda" or "cpu"; on a processor, operators take the place of kernels.
        repeats: Calls in each of the two measurements.
        warm_up: Calls before the first measurement.
    """
    for _ in range(warm_up):
        call()
    _wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    _wait(device)
    seconds = (time.perf_counter() - start) / repeats
    kernels = ProfilerActivity.CUDA if is_gpu(device) else ProfilerActivity.CPU
    with profile(activities=[kernels]) as profiler:
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        _wait(device)
        profiled = (time.perf_counter() - start) / repeats
    by_name, busy = _kernels(profiler, device)
    kinds: Counter[str] = Counter()
    for name, spent in by_name.items():
        kinds[kind_of(name)] += spent / repeats
    whole = seconds if is_gpu(device) else profiled  # operators of a processor are slowed down as a whole
    shares = {kind: kinds[kind] / whole for kind in (*KINDS, REST)}
    shares[GAPS] = max(0.0, 1 - busy / repeats / whole)
    return Shares(seconds, shares, {name: spent / repeats for name, spent in by_name.most_common(LONGEST)})


def kind_of(name: str) -> str:
    """The kind of a kernel.

    >>> kind_of("cutlass::device_kernel<flash::FlashAttnFwdSm90>"), kind_of("nvjet_tst_128x256_64x4"), kind_of("add")
    ('attention', 'products', 'elementwise')
    """
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, name, re.IGNORECASE)), REST)


def union(spans: Iterable[tuple[float, float]]) -> float:
    """The length that spans cover together; where they overlap counts once.

    >>> union([(0, 2), (5, 6), (1, 3)])
    4.0
    """
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered


def _kernels(profiler: profile, device: str) -> tuple[Counter[str], float]:
    """Seconds by name of kernel, and the seconds in which at least one of them runs."""
    by_name: Counter[str] = Counter()
    if not is_gpu(device):
        for event in profiler.key_averages():
            by_name[event.key] += event.self_cpu_time_total / 1e6
        return by_name, sum(by_name.values())
    spans = []
    for event in profiler.events() or ():
        if event.device_type == DeviceType.CUDA and not getattr(event, "is_user_annotation", False):
            spans.append((event.time_range.start, event.time_range.end))
            by_name[event.name] += (event.time_range.end - event.time_range.start) / 1e6
    if not spans:
        raise RuntimeError("the profiler saw no kernel: without NVIDIA's CUPTI nothing can be said of its time")
    return by_name, union(spans) / 1e6


def _wait(device: str) -> None:
    if is_gpu(device):
        torch.cuda.synchronize()
