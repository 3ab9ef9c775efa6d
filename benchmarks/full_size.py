"""A model at its full size, without the published weights: loading time, memory, tokens and pages per second.

    python benchmarks/full_size.py                         # writes 7.9 GB of random weights, measures, removes them
    python benchmarks/full_size.py --model jina-clip-v2    # the same with 1.7 GB, in the published F16
    python benchmarks/full_size.py --folder DIR --keep     # leaves them there; a second run finds them
    python benchmarks/full_size.py --measure FOLDER        # measures what lies in a folder, the real weights for one

Speed and memory do not depend on what the weights are, only on their shapes; those of `data/` were derived from public
facts of the models, and their numbers close to the published 3,934,695,552 and 865,278,477. Measuring happens in a
process of its own.
"""

from __future__ import annotations

import argparse
import json
import math
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
from typing import Any, BinaryIO

import torch
from PIL import Image, ImageDraw
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

DATA = Path(__file__).parent / "data"
ADAPTER_PREFIX = "base_model."
SHARD_BYTES = 5_000_000_000  # where published checkpoints of this kind are cut
PIECE = 1 << 24  # numbers drawn at a time, so that writing needs little memory
STD = 0.02  # of the weights, as the model was initialised; activations stay finite
SPECIAL_TOKENS = (  # in the order of their ids, the first follows the ordinary vocabulary
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
CLIP_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")  # the first of its vocabulary of 250,002
MODELS = {"jina-embeddings-v4": "jina_embeddings_v4", "jina-clip-v2": "jina_clip_v2"}  # name -> start of its data files
LENGTHS = {"cpu": (16, 128, 512), "cuda": (16, 128, 512, 2048, 8192)}  # tokens per text
TOKENS = {"cpu": 1024, "cuda": 65_536}  # tokens embedded at each length
PAGES = {"cpu": 1, "cuda": 32}
REPEATS = {"cpu": 1, "cuda": 3}  # the best counts
PAGE_SIZE = (1240, 1754)  # pixels: A4 at 150 dots an inch

Shapes = Mapping[str, Sequence[int]]


# -- writing ---------------------------------------------------------------------------------------------------------


def write_checkpoint(folder: Path, shapes: Shapes, files: Mapping[str, Any], *, seed: int = 0) -> None:
    """Writes random bfloat16 weights of jina-embeddings-v4 in the official layout.

    Args:
        folder: Where to; `config.json` is written last and marks the checkpoint as complete.
        shapes: Published name of each tensor, of the base and of the adapters.
        files: Content of the JSON files, by their path in the folder.
        seed: The same seed gives the same bytes.
    """
    generator = torch.Generator().manual_seed(seed)
    (folder / "adapters").mkdir(parents=True, exist_ok=True)
    base = {name: shape for name, shape in shapes.items() if not name.startswith(ADAPTER_PREFIX)}
    adapters = {name: shape for name, shape in shapes.items() if name.startswith(ADAPTER_PREFIX)}

    shards = list(_shards(base))
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_safetensors(folder / name, shard, generator)
        weight_map |= dict.fromkeys(shard, name)
    index = {"metadata": {"total_size": sum(map(_num_bytes, base.values()))}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    write_safetensors(folder / "adapters" / "adapter_model.safetensors", adapters, generator)

    vision_start = files["config.json"]["vision_start_token_id"]
    byte_tokenizer(vision_start - SPECIAL_TOKENS.index("<|vision_start|>")).save(str(folder / "tokenizer.json"))
    _write_files(folder, files)


def write_clip_checkpoint(folder: Path, shapes: Shapes, files: Mapping[str, Any], *, seed: int = 0) -> None:
    """Writes random float16 weights of jina-clip-v2 as its one file has them; arguments are those of the other."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    write_safetensors(folder / "model.safetensors", shapes, generator, torch.float16)
    [vocabulary] = [
        shape[0] for name, shape in shapes.items() if name.endswith("word_embeddings.parametrizations.weight.original")
    ]
    marked_tokenizer(vocabulary).save(str(folder / "tokenizer.json"))
    _write_files(folder, files)


def _write_files(folder: Path, files: Mapping[str, Any]) -> None:
    for name in sorted(files, key=lambda name: name == "config.json"):
        (folder / name).write_text(json.dumps(files[name], indent=2), encoding="utf-8")


def write_safetensors(
    path: Path, shapes: Shapes, generator: torch.Generator, dtype: torch.dtype = torch.bfloat16
) -> None:
    """Writes one file a piece at a time; https://github.com/huggingface/safetensors#format."""
    kind = {torch.bfloat16: "BF16", torch.float16: "F16"}[dtype]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + _num_bytes(shape)
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name, shape in shapes.items():
            _write_tensor(file, name, math.prod(shape), len(shape), generator, dtype)


def _write_tensor(
    file: BinaryIO, name: str, size: int, num_dims: int, generator: torch.Generator, dtype: torch.dtype
) -> None:
    is_norm = num_dims == 1 and name.endswith(".weight")
    for begin in range(0, size, PIECE):
        num = min(PIECE, size - begin)
        values: Tensor = torch.ones(num) if is_norm else torch.randn(num, generator=generator) * STD
        file.write(values.to(dtype).view(torch.int16).numpy().tobytes())


def _shards(shapes: Shapes) -> Iterator[dict[str, Sequence[int]]]:
    shard: dict[str, Sequence[int]] = {}
    size = 0
    for name, shape in shapes.items():
        if shard and size + _num_bytes(shape) > SHARD_BYTES:
            yield shard
            shard, size = {}, 0
        shard[name] = shape
        size += _num_bytes(shape)
    yield shard


def _num_bytes(shape: Sequence[int]) -> int:
    return 2 * math.prod(shape)


def byte_tokenizer(num_ordinary: int) -> Tokenizer:
    """One token a byte; the vocabulary is filled up so that the special tokens get the ids they have in the model."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    filling = [f"<unused {number}>" for number in range(num_ordinary - len(alphabet))]
    vocabulary = {token: number for number, token in enumerate([*alphabet, *filling])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return tokenizer


def marked_tokenizer(size: int) -> Tokenizer:
    """A tokenizer with one token per byte after four special ones; `<s>` and `</s>` enclose a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    filling = [f"<unused {number}>" for number in range(size - len(alphabet) - len(CLIP_TOKENS))]
    vocabulary = {token: number for number, token in enumerate([*CLIP_TOKENS, *alphabet, *filling])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CLIP_TOKENS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


# -- measuring -------------------------------------------------------------------------------------------------------


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


def measure(folder: Path, device: str, dtype: str) -> dict[str, Any]:
    """Loads a checkpoint and embeds texts and pages.

    Args:
        folder: In the official layout.
        device: "cpu" or "cuda".
        dtype: "bfloat16" or "float32".

    Returns:
        Seconds, bytes, tokens and pages per second, and the settings and machine.
    """
    import polylens

    weights = [*folder.glob("*.safetensors"), *folder.glob("adapters/*.safetensors")]
    for file in weights:
        _forget(file)
    load = polylens.load  # the first use of the name imports the engine; that is not what is timed
    before = _status("VmRSS")

    with watch_anonymous() as peak_anonymous:
        start = time.perf_counter()
        embedder = load(folder, device=device, dtype=dtype)
        load_seconds = time.perf_counter() - start
        loading_peak = _status("VmHWM")

        start = time.perf_counter()
        embedder.encode_text("warm-up: the first pass reads the weights from the disk")
        first_seconds = time.perf_counter() - start

        text = "the quick brown fox jumps over the lazy dog " * max(LENGTHS[device])
        speeds = []
        for length in LENGTHS[device]:
            texts = [text] * max(1, TOKENS[device] // length)
            seconds = _best(partial(embedder.encode_text, texts, max_length=length), REPEATS[device])
            speeds.append({"length": length, "texts": len(texts), "tokens_per_second": len(texts) * length / seconds})

        pages = [draw_page(number) for number in range(PAGES[device])]
        page_tokens = embedder.processor.image(pages[0], task=None, max_pixels=None).num_tokens
        page_seconds = _best(partial(embedder.encode_image, pages), REPEATS[device])

    size = sum(file.stat().st_size for file in weights)
    return {
        "weights_bytes": size,
        "load_seconds": load_seconds,
        "first_text_seconds": first_seconds,
        "before_loading_resident_bytes": before,
        "loading_peak_resident_bytes": loading_peak,
        "peak_resident_bytes": _status("VmHWM"),
        "peak_anonymous_bytes": peak_anonymous[0],
        "peak_over_weights": _status("VmHWM") / size,
        "peak_device_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None,
        "texts": speeds,
        "pages_per_second": len(pages) / page_seconds,
        "tokens_per_page": page_tokens,
        "machine": describe_machine(device, dtype),
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
        "polylens": version("polylens"),
    }


def render(result: Mapping[str, Any]) -> str:
    """The result as a Markdown table."""
    machine = result["machine"]
    rows = [
        ("processor", f"{machine['gpu'] or machine['processor']}, {machine['threads']} threads, {machine['dtype']}"),
        ("versions", ", ".join(f"{name} {machine[name]}" for name in ("polylens", "torch", "safetensors", "python"))),
        ("weights on disk", _gigabytes(result["weights_bytes"])),
        ("loading", f"{result['load_seconds']:.1f} s"),
        ("first text, which reads the weights", f"{result['first_text_seconds']:.1f} s"),
        ("peak memory while loading", _gigabytes(result["loading_peak_resident_bytes"])),
        (
            "peak memory",
            f"{_gigabytes(result['peak_resident_bytes'])}, {result['peak_over_weights']:.2f} x the weights",
        ),
        ("of it not backed by the files (peak)", _gigabytes(result["peak_anonymous_bytes"])),
    ]
    if result["peak_device_bytes"] is not None:
        rows.append(("peak memory of the device", _gigabytes(result["peak_device_bytes"])))
    rows += [
        (f"texts of {row['length']} tokens, {row['texts']} at once", f"{row['tokens_per_second']:,.0f} tokens/s")
        for row in result["texts"]
    ]
    rows.append((f"pages of {result['tokens_per_page']} tokens", f"{result['pages_per_second']:.3g} pages/s"))
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
    options = parser.parse_args(arguments)
    if options.measure:
        result = measure(options.measure, options.device, options.dtype)
        print(f"{render(result)}\n\n```json\n{json.dumps(result, indent=2)}\n```")
        return 0

    folder = options.folder or Path(tempfile.mkdtemp(prefix="polylens-full-size-"))
    found = (folder / "config.json").is_file()
    stem = MODELS[options.model]
    shapes: Shapes = json.loads((DATA / f"{stem}_state_dict.json").read_text(encoding="utf-8"))
    if not found:
        _require_room(folder, sum(map(_num_bytes, shapes.values())))
    try:
        if not found:
            print(f"writing random weights to {folder}", file=sys.stderr)
            write = write_clip_checkpoint if options.model == "jina-clip-v2" else write_checkpoint
            write(folder, shapes, json.loads((DATA / f"{stem}_files.json").read_text("utf-8")))
        command = [sys.executable, __file__, "--measure", str(folder)]
        return subprocess.run([*command, "--device", options.device, "--dtype", options.dtype]).returncode
    finally:
        if not (found or options.keep):
            shutil.rmtree(folder)


def _require_room(folder: Path, num_bytes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        sys.exit(f"{folder} is neither empty nor a complete checkpoint; name another folder")
    if (free := shutil.disk_usage(folder).free) < num_bytes * 1.02:
        sys.exit(f"{folder} has {_gigabytes(free)} free, the weights need {_gigabytes(num_bytes)}")


if __name__ == "__main__":
    sys.exit(main())
