"""A model at its full size, without the published weights: loading time, memory, tokens and pages per second.

    python benchmarks/full_size.py                         # writes 7.9 GB of random weights, measures, removes them
    python benchmarks/full_size.py --model jina-clip-v2    # the same with 1.7 GB, in the published F16
    python benchmarks/full_size.py --model jina-reranker-m0  # pairs per second instead
    python benchmarks/full_size.py --folder DIR --keep     # leaves them there; a second run finds them
    python benchmarks/full_size.py --measure FOLDER        # measures what lies in a folder, the real weights for one
    python benchmarks/full_size.py --quantization int4     # by the engine openvino; the graphs lie beside the weights

Measuring happens in a process of its own; `random_weights.py` writes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parent))
from random_weights import MODELS, require_room, write_checkpoint

import polylens
from polylens.checkpoints.loading import read_header
from polylens.runtime.engines.choice import ENGINES, QUANTIZATIONS

LENGTHS = {"cpu": (16, 128, 512), "cuda": (16, 128, 512, 2048, 8192)}  # tokens per text
TOKENS = {"cpu": 1024, "cuda": 65_536}  # tokens embedded at each length
PAGES = {"cpu": 1, "cuda": 32}
REPEATS = {"cpu": 1, "cuda": 3}  # the best counts
PAGE_SIZE = (1240, 1754)  # pixels: A4 at 150 dots an inch
TEXT = "the quick brown fox jumps over the lazy dog " * 512


@contextmanager
def watch_anonymous() -> Iterator[list[int]]:
    """Peak of the memory that no file backs, in bytes, sampled while a block runs; one number, final after the block.

    The kernel keeps a peak of all resident memory (`VmHWM`). That one also counts the touched pages of the weights'
    files, which are mapped, and which the system may take back at any time.
    """
    peak = [0]
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], _status("RssAnon"))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}; this benchmark needs Linux 4.5 or newer")


def measure(
    folder: Path, device: str, dtype: str, *, engine: str | None = None, quantization: str | None = None
) -> dict[str, Any]:
    """Loads a checkpoint and embeds texts and pages, or scores pairs with a query if it is a reranker.

    Args:
        folder: In the official layout.
        device: "cpu" or "cuda".
        dtype: "bfloat16" or "float32".
        engine: "torch" or "openvino"; rerankers have torch alone.
        quantization: As for `polylens.load`.

    Returns:
        Seconds, bytes, tokens and pages per second, and the settings and machine.
    """
    weights = list(folder.rglob("*.safetensors"))
    for file in weights:
        _forget(file)
    is_reranker = "score" in read_header(folder).family.outputs
    load = polylens.load_reranker if is_reranker else polylens.load  # imported before anything is timed
    before = _status("VmRSS")

    with watch_anonymous() as peak_anonymous:
        start = time.perf_counter()
        options = {} if is_reranker else {"engine": engine, "quantization": quantization}
        model = load(folder, device=device, dtype=dtype, **options)
        load_seconds = time.perf_counter() - start
        loading_peak = _status("VmHWM")
        start = time.perf_counter()
        if engine == "openvino" or quantization is not None:
            _prepare(model)
        prepare_seconds = time.perf_counter() - start
        start = time.perf_counter()
        _run(model, ["warm-up: the first pass reads the weights from the disk"], None)
        first_seconds = time.perf_counter() - start
        speeds = _measure_texts(model, device)
        pages = _measure_pages(model, device) if "image" in model.modalities else None
        resident = {"VmRSS": _status("VmRSS"), "RssAnon": _status("RssAnon")}

    size = sum(file.stat().st_size for file in weights)
    return {
        "weights_bytes": size,
        "load_seconds": load_seconds,
        "prepare_seconds": prepare_seconds,
        "first_text_seconds": first_seconds,
        "before_loading_resident_bytes": before,
        "loading_peak_resident_bytes": loading_peak,
        "peak_resident_bytes": _status("VmHWM"),
        "peak_anonymous_bytes": peak_anonymous[0],
        "resident_bytes": resident["VmRSS"],
        "anonymous_bytes": resident["RssAnon"],
        "peak_over_weights": _status("VmHWM") / size,
        "peak_device_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None,
        "texts": speeds,
        "pages": pages,
        "machine": describe_machine(device, dtype) | {"engine": engine, "quantization": quantization},
    }


def _prepare(model: Any) -> None:
    """Makes the graphs for texts and pages, or reads them from the cache."""
    processor = model.processor
    task, prompt = processor.role("retrieval", "passage") if "retrieval" in model.tasks else processor.role(None, None)
    items = [processor.text("warm", task=task, prompt_name=prompt, max_length=None)]
    if "image" in model.modalities:
        items.append(processor.image(Image.new("RGB", (112, 112)), task=task, max_pixels=None))
    model.engine.prepare(items)


def _run(model: Any, inputs: Sequence[Any], max_length: int | None) -> None:
    """Embeds the inputs, or scores each with a short query."""
    if hasattr(model, "rerank"):
        model.rerank("the lazy dog", inputs, max_doc_length=max_length)
    else:
        # as documents: jina-colbert-v2 cuts a query at 32 tokens
        role = {"task": "retrieval", "prompt_name": "passage"} if "retrieval" in model.tasks else {}
        model.encode(list(inputs), max_length=max_length, **role)


def _measure_texts(model: Any, device: str) -> list[dict[str, float]]:
    speeds = []
    for length in LENGTHS[device]:
        texts = [TEXT] * max(1, TOKENS[device] // length)
        seconds = _best(partial(_run, model, texts, length), REPEATS[device])
        speeds.append({"length": length, "texts": len(texts), "tokens_per_second": len(texts) * length / seconds})
    return speeds


def _measure_pages(model: Any, device: str) -> dict[str, float]:
    pages = [draw_page(number) for number in range(PAGES[device])]
    seconds = _best(partial(_run, model, pages, None), REPEATS[device])
    return {
        "per_second": len(pages) / seconds,
        "tokens": model.processor.num_image_tokens(*PAGE_SIZE),
    }


def _best(call: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest call. A call returns numpy arrays, so a GPU has finished when it does."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _forget(file: Path) -> None:
    """Ask the system to drop its cached copy, so that loading includes reading from the disk."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def draw_page(number: int) -> Image.Image:
    """An A4 page of text; what it says does not matter."""
    page = Image.new("RGB", PAGE_SIZE, "white")
    pen = ImageDraw.Draw(page)
    for line, y in enumerate(range(80, PAGE_SIZE[1] - 80, 28)):
        pen.text(
            (80, y), f"page {number}, line {line}: " + "the quick brown fox jumps over the lazy dog " * 3, fill="black"
        )
    return page


def describe_machine(device: str, dtype: str) -> dict[str, Any]:
    """What the figures depend on besides the code."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    models_named = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    return {
        "processor": models_named[0] if models_named else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "dtype": dtype,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "safetensors": version("safetensors"),
        "polylens": polylens.__version__,  # also where it is not installed but on the path
    }


def render(result: Mapping[str, Any]) -> str:
    """The result as a Markdown table."""
    machine = result["machine"]
    rows = [
        ("processor", f"{machine['gpu'] or machine['processor']}, {machine['threads']} threads, {machine['dtype']}"),
        ("engine", f"{machine['engine'] or 'by default'}, quantization {machine['quantization'] or 'none'}"),
        ("versions", ", ".join(f"{name} {machine[name]}" for name in ("polylens", "torch", "safetensors", "python"))),
        ("weights on disk", _gigabytes(result["weights_bytes"])),
        ("loading", f"{result['load_seconds']:.1f} s"),
        ("making graphs, or reading them", f"{result['prepare_seconds']:.1f} s"),
        ("first text, which reads the weights", f"{result['first_text_seconds']:.1f} s"),
        ("peak memory while loading", _gigabytes(result["loading_peak_resident_bytes"])),
        (
            "peak memory",
            f"{_gigabytes(result['peak_resident_bytes'])}, {result['peak_over_weights']:.2f} x the weights",
        ),
        ("of it not backed by the files (peak)", _gigabytes(result["peak_anonymous_bytes"])),
        ("memory at the end", _gigabytes(result["resident_bytes"])),
        ("of it not backed by the files", _gigabytes(result["anonymous_bytes"])),
    ]
    if result["peak_device_bytes"] is not None:
        rows.append(("peak memory of the device", _gigabytes(result["peak_device_bytes"])))
    rows += [
        (f"texts of {row['length']} tokens, {row['texts']} at once", f"{row['tokens_per_second']:,.0f} tokens/s")
        for row in result["texts"]
    ]
    if (pages := result["pages"]) is not None:
        rows.append((f"pages of {pages['tokens']} tokens", f"{pages['per_second']:.3g} pages/s"))
    return "\n".join(["| what | measured |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in rows)])


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB"


# -- the command -----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="jina-embeddings-v4")
    parser.add_argument("--folder", type=Path, help="where to write the weights (default: a temporary folder)")
    parser.add_argument("--keep", action="store_true", help="keep the weights afterwards")
    parser.add_argument("--measure", type=Path, metavar="FOLDER", help="measure this folder instead of writing weights")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--engine", choices=ENGINES, help="by default that of polylens.load")
    parser.add_argument("--quantization", choices=QUANTIZATIONS, help="by the engine openvino")
    options = parser.parse_args(arguments)
    if options.measure:
        result = measure(
            options.measure, options.device, options.dtype, engine=options.engine, quantization=options.quantization
        )
        print(f"{render(result)}\n\n```json\n{json.dumps(result, indent=2)}\n```")
        return 0

    folder = options.folder or Path(tempfile.mkdtemp(prefix="polylens-full-size-"))
    found = (folder / "config.json").is_file()
    model = MODELS[options.model]
    if not found and (reason := require_room(folder, model, model.files())):
        sys.exit(reason)
    try:
        if not found:
            print(f"writing random weights to {folder}", file=sys.stderr)
            write_checkpoint(folder, model, model.files())
        command = [sys.executable, __file__, "--measure", str(folder)]
        for name in ("device", "dtype", "engine", "quantization"):
            if (value := getattr(options, name)) is not None:
                command += [f"--{name}", value]
        environment = {"POLYLENS_CACHE": str(folder / "graphs"), **os.environ}
        return subprocess.run(command, env=environment).returncode
    finally:
        if not (found or options.keep):
            shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
