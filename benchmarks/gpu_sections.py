"""The sections of `gpu_check.py`: each takes a checkpoint of jina-embeddings-v4's layout and returns its figures.

Bounds stand where a section has a right answer; they are expectations for random weights, and the figures are printed
beside them.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from finetune_memory import Tuning
from full_size import PAGE_SIZE, TEXT, draw_page
from gpu_profile import Shares, is_gpu, measure_shares

from polylens.runtime.embedder import Embedder, load
from polylens.train.checkpointing import checkpoint_layers
from polylens.types import Embedding

Figures = dict[str, Any]

ROLE = {"task": "retrieval", "prompt_name": "passage"}
SAME = 0.9999  # lowest cosine of a vector in float32: other kernels, the same arithmetic
ROUNDED = 0.98  # lowest cosine of a dense vector in bfloat16, which has 8 bits, after all layers
WARM_UP = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Where a section runs, and how much it takes."""

    device: str  # "cuda" or "cpu"
    small: bool  # a few inputs, to try the script itself

    def scaled(self, full: int, small: int) -> int:
        return small if self.small else full


@contextmanager
def loaded(folder: str | Path, device: str, dtype: str) -> Iterator[Embedder]:
    """A model that leaves the memory with the block."""
    embedder = load(folder, device=device, dtype=dtype)
    yield embedder
    del embedder
    gc.collect()
    if is_gpu(device):
        torch.cuda.empty_cache()


def a_few_inputs(setting: Setting) -> list[str | Image.Image]:
    """Texts of several lengths and a small page, for comparisons with the processor."""
    lengths = (8, 60, 150) if setting.small else (8, 60, 300)
    page = draw_page(1).resize((168, 224) if setting.small else (392, 560))
    return [*(TEXT[:length] for length in lengths), page]


def agreement(ours: Sequence[Embedding], reference: Sequence[Embedding]) -> Figures:
    """The lowest cosine of dense vectors, the lowest and the mean one of token vectors, the largest difference."""
    dense = [float(mine.dense @ theirs.dense) for mine, theirs in zip(ours, reference, strict=True)]
    tokens = np.concatenate(
        [(mine.multivector * theirs.multivector).sum(axis=1) for mine, theirs in zip(ours, reference, strict=True)]
    )
    apart = max(float(np.abs(mine.dense - theirs.dense).max()) for mine, theirs in zip(ours, reference, strict=True))
    return {
        "lowest_cosine": min(dense),
        "lowest_token_cosine": float(tokens.min()),
        "mean_token_cosine": float(tokens.mean()),
        "largest_difference": apart,
    }


def parity(folder: Path, setting: Setting) -> Figures:
    """The whole model on the device against the processor in float32: the same in float32, rounded in bfloat16."""
    inputs = a_few_inputs(setting)
    with loaded(folder, "cpu", "float32") as embedder:
        reference = embedder.embed(inputs, **ROLE)
    figures: Figures = {"tokens": sum(each.num_tokens for each in reference)}
    for dtype in ("float32", "bfloat16"):
        with loaded(folder, setting.device, dtype) as embedder:
            figures[dtype] = agreement(embedder.embed(inputs, **ROLE), reference)
    is_same = figures["float32"]["lowest_cosine"] >= SAME and figures["float32"]["mean_token_cosine"] >= SAME
    figures["passed"] = bool(is_same and figures["bfloat16"]["lowest_cosine"] >= ROUNDED)
    figures["bounds"] = {"float32": SAME, "bfloat16": ROUNDED}
    return figures


def invariance(folder: Path, setting: Setting) -> Figures:
    """Inputs alone against the same inputs in one batch, in bfloat16."""
    inputs = [*a_few_inputs(setting), *(TEXT[: 20 * number] for number in range(1, setting.scaled(17, 4)))]
    with loaded(folder, setting.device, "bfloat16") as embedder:
        together = embedder.embed(inputs, **ROLE)
        alone = [embedder.embed([each], **ROLE)[0] for each in inputs]
    equal = sum(
        np.array_equal(one.dense, other.dense) and np.array_equal(one.multivector, other.multivector)
        for one, other in zip(together, alone, strict=True)
    )
    figures = {"inputs": len(inputs), "bit_identical": equal, **agreement(together, alone)}
    return {**figures, "passed": bool(figures["lowest_cosine"] >= ROUNDED), "bounds": {"bfloat16": ROUNDED}}


def shares(folder: Path, setting: Setting) -> Figures:
    """Where the time of a forward pass of 16,384 tokens goes: products, attention, elementwise work, gaps."""
    tokens = setting.scaled(16_384, 256)
    figures: Figures = {}
    with loaded(folder, setting.device, "bfloat16") as embedder:
        processor = embedder.processor
        texts = [processor.text(TEXT, task="retrieval", prompt_name="passage", max_length=tokens // 32)] * 32
        size = (168, 224) if setting.small else PAGE_SIZE
        num_pages = max(1, tokens // processor.num_image_tokens(*size))
        drawn = [draw_page(number).resize(size) for number in range(num_pages)]  # the tower reads equal ones once
        pages = [processor.image(page, task="retrieval", max_pixels=None) for page in drawn]
        for kind, items in (("texts", texts), ("pages", pages)):

            def forward(items: list[Any] = items) -> None:
                with torch.inference_mode():
                    embedder.model.embed(items)

            found = measure_shares(forward, setting.device, repeats=3, warm_up=setting.scaled(WARM_UP, 1))
            num_tokens = sum(item.num_tokens for item in items)
            figures[kind] = {"tokens": num_tokens, "tokens_per_second": num_tokens / found.seconds, **_plain(found)}
    return figures


def _plain(found: Shares) -> Figures:
    return {"seconds": found.seconds, "shares": found.shares, "longest": found.longest}


def speed(folder: Path, setting: Setting) -> Figures:
    """Texts and pages per second from end to end, a single query's latency, and the peak of the device's memory."""
    figures: Figures = {}
    with loaded(folder, setting.device, "bfloat16") as embedder:
        for length in (128, 512):
            texts = [TEXT] * (setting.scaled(65_536, 1024) // length)
            seconds = fastest(lambda texts=texts, length=length: embedder.embed(texts, max_length=length, **ROLE))
            figures[f"texts_of_{length}_per_second"] = len(texts) / seconds
        pages = [draw_page(number) for number in range(setting.scaled(32, 1))]
        figures["pages_per_second"] = len(pages) / fastest(lambda: embedder.embed(pages, **ROLE))
        figures["tokens_per_page"] = embedder.processor.num_image_tokens(*PAGE_SIZE)
        latencies = []
        for number in range(setting.scaled(110, 12)):
            start = time.perf_counter()
            embedder.embed([f"invoice {number}"], task="retrieval", prompt_name="query")
            latencies.append(time.perf_counter() - start)
        middle, high = np.percentile(latencies[setting.scaled(10, 2) :], (50, 95))
        figures |= {"query_seconds_p50": float(middle), "query_seconds_p95": float(high)}
    if is_gpu(setting.device):
        figures["peak_device_bytes"] = torch.cuda.max_memory_allocated()
    return figures


def fastest(call: Callable[[], object], repeats: int = 2) -> float:
    """Seconds of the fastest of a few calls; each returns numpy arrays, so a GPU has finished when it does."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def nano(_: Path, setting: Setting) -> Figures:
    """The model that ships indexes a scanned PDF: pages per second, and the share of the time the device computes."""
    from polylens.library.library import Library

    num_pages = setting.scaled(64, 1)
    first, *others = [draw_page(number) for number in range(num_pages)]
    with tempfile.TemporaryDirectory(prefix="polylens-gpu-check-") as place:
        pdf = Path(place) / "scan.pdf"
        first.save(pdf, save_all=True, append_images=others, resolution=150)
        embedder = load("nano", device=setting.device)

        def index() -> None:
            with tempfile.TemporaryDirectory(dir=place) as folder:
                (Path(folder) / "scan.pdf").write_bytes(pdf.read_bytes())
                report = Library(folder, embedder).update()
                assert report.pages == num_pages, report

        if not is_gpu(setting.device):
            return {"pages": num_pages, "pages_per_second": num_pages / fastest(index, 1)}
        embedder.embed([first])  # loads what a first call loads
        found = measure_shares(index, setting.device, repeats=1, warm_up=0)
    busy_share = 1 - found.shares["gaps"]
    return {"pages": num_pages, "pages_per_second": num_pages / found.seconds, "busy_share": busy_share}


def finetuning(folder: Path, setting: Setting) -> Figures:
    """A step of fine-tuning on texts, as it is and with checkpointed layers: seconds, memory, and the same gradient."""
    part_tokens, length = setting.scaled(8_192, 64), setting.scaled(512, 32)
    tuning = Tuning(folder, setting.device)
    items = tuning.texts(setting.scaled(32, 4), length)
    figures: Figures = {"tokens": sum(item.num_tokens for item in items), "part_tokens": part_tokens}
    for name in ("as_it_is", "checkpointed"):
        if name == "checkpointed":
            checkpoint_layers(tuning.model)
        try:
            figures[name] = _step(tuning, items, part_tokens, setting.device)
        except torch.cuda.OutOfMemoryError:
            figures[name] = {"out_of_memory": True}
            tuning.optimiser.zero_grad(set_to_none=True)
            gc.collect()
            torch.cuda.empty_cache()
    return figures


def _step(tuning: Tuning, items: Sequence[Any], part_tokens: int, device: str) -> Figures:
    """The second of two steps without a change of weights, so that both ways start from the same ones."""
    for group in tuning.optimiser.param_groups:
        group["lr"], group["weight_decay"] = 0.0, 0.0
    norm = tuning.step(items, part_tokens)
    figures: Figures = {"gradient": norm}
    if is_gpu(device):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    tuning.step(items, part_tokens)  # ends by asking for a number, for which a GPU is waited
    figures["seconds"] = time.perf_counter() - start
    if is_gpu(device):
        figures["peak_device_bytes"] = torch.cuda.max_memory_allocated()
    return figures


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the check: what it runs, and the seconds that it needs on one H200, with a process of its own."""

    run: Callable[[Path, Setting], Figures]
    seconds: int
    needs_weights: bool = True


SECTIONS = {
    "parity": Section(parity, 70),
    "invariance": Section(invariance, 25),
    "shares": Section(shares, 40),
    "speed": Section(speed, 50),
    "nano": Section(nano, 35, needs_weights=False),
    "finetuning": Section(finetuning, 60),
}
