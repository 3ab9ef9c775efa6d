"""polylens against its peers on the same weights, in one run: times, ratios and cosines.

    python benchmarks/peers.py --install FOLDER                # makes the peers' environments, once: 6 GB
    python benchmarks/peers.py --peers-env FOLDER              # every table
    python benchmarks/peers.py texts servers --peers-env FOLDER --rounds 2 --json figures.json
    python benchmarks/peers.py texts --only "bf16|int8"        # only the rows whose names match
    python benchmarks/peers.py                                 # polylens alone

The tables, with random weights, and the peers of each:

* texts: jina-embeddings-v3, 6 layers of width 1024; 160 texts of 6 to 510 tokens, and single queries of 16.
  sentence-transformers with torch, with its network in ONNX Runtime, with OpenVINO.
* pictures: the vision tower of jina-clip-v2 at full size, 512 pixels. timm's EVA02.
* pages: jina-embeddings-v4 at full width, 2 layers (`--page-layers 36` for all), 765 tokens. transformers' Qwen2.5-VL.
* multivectors: jina-colbert-v2, 6 layers of width 1024. sentence-transformers' MultiVectorEncoder.
* servers: jina-embeddings-v3, 6 layers of width 384; single texts from 1, 16 and 64 clients. sentence-transformers
  behind a FastAPI route, and infinity-emb.

Each row is a process of its own, in an environment of its own, and loads once. Rounds alternate between the processes.
Times include all of the preparation: tokenizing, decoding and resizing. Of a call with many inputs the best round
counts, of calls with one input the median. Cosines are with the first row of a table, which is in float32.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "peers")]

import weights  # noqa: E402
from environments import ENVIRONMENTS, install, python_of  # noqa: E402
from rounds import Job, Row, measure, print_table, summary  # noqa: E402
from servers import all_servers, measure_servers  # noqa: E402

LETTERS = "abcdefghij klmnop"
QUERY_LENGTH, NUM_QUERIES = 14, 20  # characters of a query, which the two marks at its ends make 16 tokens
OURS = "polylens_process.py"
THEIRS = "sentence_transformers_process.py"
FP32, BF16 = "sentence-transformers fp32", "sentence-transformers bf16"
OUR_ENGINES: dict[str, dict[str, str]] = {
    "polylens torch bf16": {"engine": "torch", "dtype": "bfloat16"},
    "polylens openvino bf16": {"engine": "openvino", "dtype": "bfloat16"},
    "polylens openvino int8": {"engine": "openvino", "dtype": "bfloat16", "quantization": "int8"},
}
REFERENCE = "polylens torch fp32"
CALIBRATION_TEXTS = 64

Options = argparse.Namespace
Found = dict[str, dict[str, Any]]


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    if options.install:
        if failed := install(options.install):
            raise SystemExit(f"could not be installed: {', '.join(failed)}")
        return
    result: dict[str, Any] = {"machine": machine()}
    print(json.dumps(result["machine"]))
    for name in options.table or list(TABLES):
        print(f"\n## {name}\n")
        with tempfile.TemporaryDirectory() as folder:
            result[name] = TABLES[name](options, Path(folder))
        print_table(result[name]["rows"])
        if versions := result[name].get("versions"):
            print("; ".join(f"{package} {' and '.join(numbers)}" for package, numbers in versions.items()))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def parse(arguments: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", nargs="*", help=f"of {', '.join(TABLES)}; by default all")
    parser.add_argument("--peers-env", type=Path, help=f"a folder with the environments {', '.join(ENVIRONMENTS)}")
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="make these environments, and measure nothing")
    parser.add_argument("--only", default="", help="a regular expression: only the rows whose names match")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=6, help="of the text towers")
    parser.add_argument("--width", type=int, default=1024, help="of the text towers")
    parser.add_argument("--texts", type=int, default=160)
    parser.add_argument("--picture-layers", type=int, default=weights.FULL_VISION_LAYERS)
    parser.add_argument("--page-layers", type=int, default=2, help=f"{weights.FULL_PAGE_LAYERS} is the full size")
    parser.add_argument("--seconds", type=float, default=5.0, help="per round of a server")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args(arguments)
    if unknown := set(options.table) - set(TABLES):
        parser.error(f"there is no table {', '.join(sorted(unknown))}; the tables are {', '.join(TABLES)}")
    return options


def texts_table(options: Options, folder: Path) -> dict[str, Any]:
    """Mixed texts in one call, and queries of 16 tokens one by one."""
    model = str(weights.write_text_model(folder / "model", options.layers, options.width))
    texts = mixed_texts(options.texts, seed=7)
    rng = random.Random(11)
    queries = ["".join(rng.choices(LETTERS, k=QUERY_LENGTH)) for _ in range(NUM_QUERIES)]
    jobs = {
        "texts": Job(texts, together=True, tokens=sum(map(len, texts)) + 2 * len(texts)),  # a token per letter, 2 marks
        "query": Job(queries, together=False),
    }
    calibration = mixed_texts(CALIBRATION_TEXTS, seed=13)
    torch_python, openvino_python = (python_of(options.peers_env, name) for name in ("torch", "openvino"))
    peers: dict[str, tuple[str, dict[str, Any], Path | None]] = {
        FP32: ("torch", {"dtype": "float32"}, torch_python),
        BF16: ("torch", {"dtype": "bfloat16"}, torch_python),
        "sentence-transformers, ONNX Runtime fp32": ("onnxruntime", {}, torch_python),
        "sentence-transformers OpenVINO": ("openvino", {}, openvino_python),
        "sentence-transformers OpenVINO bf16": ("openvino", {"precision": "bf16"}, openvino_python),
        "sentence-transformers OpenVINO int8": ("openvino int8", {"calibration": calibration}, openvino_python),
    }
    rows = [
        Row(name, (THEIRS, backend.partition(" ")[0]), {"model": model, "backend": backend, **settings}, python)
        for name, (backend, settings, python) in peers.items()
    ]
    return side_by_side(options, folder, [*rows, *our_rows(model, "text")], jobs, (FP32, BF16))


def pictures_table(options: Options, folder: Path) -> dict[str, Any]:
    """Pictures of 512 by 512 pixels, one by one."""
    model = str(weights.write_picture_model(folder / "model", options.picture_layers))
    pictures = weights.write_pictures(folder / "pictures", 2, (512, 512))
    python = python_of(options.peers_env, "timm")
    rows = [
        Row(f"timm {short}", ("timm_process.py",), {"model": model, "dtype": dtype}, python)
        for short, dtype in (("fp32", "float32"), ("bf16", "bfloat16"))
    ]
    ours = our_rows(model, "image", only_images=True)
    return side_by_side(options, folder, [*rows, *ours], {"picture": Job(pictures, together=False)}, ("timm bf16",))


def pages_table(options: Options, folder: Path) -> dict[str, Any]:
    """Pages of 765 tokens, one by one. The engine openvino does not run this family's decoder, so torch alone does."""
    published, merged = weights.write_page_model(folder / "model", options.page_layers)
    pages = weights.write_pictures(folder / "pages", 2, weights.PAGE_SIZE)
    python = python_of(options.peers_env, "torch")
    rows = [
        Row(f"transformers {short}", ("transformers_process.py",), {"model": str(merged), "dtype": dtype}, python)
        for short, dtype in (("fp32", "float32"), ("bf16", "bfloat16"))
    ]
    ours = our_rows(str(published), "image", task="retrieval")
    return side_by_side(options, folder, [*rows, *ours], {"page": Job(pages, together=False)}, ("transformers bf16",))


def multivectors_table(options: Options, folder: Path) -> dict[str, Any]:
    """Mixed documents in one call, a vector per token."""
    published, native = weights.write_multivector_model(folder / "model", options.layers, options.width)
    texts = mixed_texts(options.texts, seed=7)
    jobs = {"documents": Job(texts, together=True, tokens=sum(map(len, texts)) + 3 * len(texts))}  # three marks
    python = python_of(options.peers_env, "torch")
    rows = [
        Row(name, (THEIRS,), {"model": str(native), "multivector": True, "dtype": dtype}, python)
        for name, dtype in ((FP32, "float32"), (BF16, "bfloat16"))
    ]
    return side_by_side(options, folder, [*rows, *our_rows(str(published), "multivector")], jobs, (FP32, BF16))


def servers_table(options: Options, folder: Path) -> dict[str, Any]:
    """Requests per second and latencies."""
    with graphs_in(folder):
        servers, missing = all_servers(weights.write_text_model(folder / "bench", 6, 384), options.peers_env)
        servers = [server for server in servers if re.search(options.only, server.name)]
        found = measure_servers(servers, options.rounds, options.seconds)
    return {"rows": {**found, **{name: {"failure": reason} for name, reason in missing.items()}}}


TABLES: dict[str, Callable[[Options, Path], dict[str, Any]]] = {
    "texts": texts_table,
    "pictures": pictures_table,
    "pages": pages_table,
    "multivectors": multivectors_table,
    "servers": servers_table,
}


def our_rows(model: str, kind: str, **settings: Any) -> list[Row]:
    """The rows of polylens; torch in float32 first, for the cosines where no peer is installed."""
    options = {REFERENCE: {"engine": "torch", "dtype": "float32"}, **OUR_ENGINES}
    return [
        Row(name, (OURS,), {"model": model, "kind": kind, "options": each, **settings}, Path(sys.executable))
        for name, each in options.items()
    ]


def side_by_side(
    options: Options, folder: Path, rows: list[Row], jobs: Mapping[str, Job], references: tuple[str, ...]
) -> dict[str, Any]:
    """Measures the rows that the options ask for, and says what the processes were made of."""
    if any(row.python is not None for row in rows if row.command[0] != OURS):
        rows = [row for row in rows if row.name != REFERENCE]  # a peer in float32 comes first
    rows = [row for row in rows if re.search(options.only, row.name)]
    with graphs_in(folder):
        found = measure(rows, jobs, options.rounds, environment=os.environ, folder=folder)
    versions: dict[str, list[str]] = {}
    for package, number in sorted({each for figures in found.values() for each in figures.versions.items()}):
        versions.setdefault(package, []).append(number)
    return {"rows": summary(found, jobs, references), "versions": versions}


@contextmanager
def graphs_in(folder: Path) -> Iterator[None]:
    """Keeps the graphs of our engines in a folder that is removed with the weights they belong to."""
    before = os.environ.get("POLYLENS_CACHE")
    os.environ["POLYLENS_CACHE"] = str(folder / "cache")
    try:
        yield
    finally:
        del os.environ["POLYLENS_CACHE"]
        if before is not None:
            os.environ["POLYLENS_CACHE"] = before


def mixed_texts(number: int, *, seed: int) -> list[str]:
    """Texts of 6 to 510 letters, lognormal: most are short, some are long."""
    rng = random.Random(seed)
    lengths = [max(6, min(510, int(rng.lognormvariate(4.2, 0.9)))) for _ in range(number)]
    return ["".join(rng.choices(LETTERS, k=length)) for length in lengths]


def machine() -> dict[str, Any]:
    """Processor, cores, and the versions of what polylens runs with, where they are installed."""
    file = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", file.read_text()) if file.exists() else []
    able = torch.cpu.get_capabilities()
    flags = {name: bool(able.get(flag)) for name, flag in (("bfloat16", "avx512_bf16"), ("amx", "amx_tile"))}
    packages = [name for name in ("torch", "openvino", "nncf", "starlette", "uvicorn") if find_spec(name) is not None]
    versions = {name: version(name) for name in packages}
    return {"processor": (names or [platform.processor()])[0], "cores": os.cpu_count(), **flags, **versions}


if __name__ == "__main__":
    main()
