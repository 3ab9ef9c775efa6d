"""The engines against each other, on random weights of jina-embeddings-v3's form: tokens per second, a query, cosine.

    python benchmarks/engines.py                              # writes 300 MB: 6 layers of width 1024; removes them
    python benchmarks/engines.py --layers 24 --rounds 5       # all layers of the published model, but its vocabulary
    python benchmarks/engines.py --model FOLDER_OR_NAME       # a model that is there, the real weights for one

The rounds of all engines alternate, so that a busy minute of the machine meets each of them; the best round counts. The
texts are of mixed length, from 6 to 510 tokens; the query has 16. Cosines are with the torch engine in float32.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from polylens.models.jina_clip_v2.config import parse_config
from polylens.models.xlm_rotary.state_dict import native_rules
from polylens.runtime.embedder import Embedder, load

ENGINES: dict[str, dict[str, str]] = {
    "torch float32": {"engine": "torch", "dtype": "float32"},
    "torch bfloat16": {"engine": "torch", "dtype": "bfloat16"},
    "openvino float32": {"engine": "openvino", "dtype": "float32"},
    "openvino bfloat16": {"engine": "openvino", "dtype": "bfloat16"},
    "openvino int8": {"quantization": "int8", "dtype": "bfloat16"},
}
REFERENCE = "torch float32"
LETTERS = "abcdefghij klmnop"
MARKS = ["<s>", "<pad>", "</s>", "<unk>"]
QUERY_LENGTH, NUM_QUERIES = 14, 20  # characters of a query, which the two marks at its ends make 16 tokens


def main() -> None:
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with model_folder(arguments) as model:
        figures = measure(model, arguments.texts, arguments.rounds, arguments.engine or list(ENGINES))
    print_table(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "engines": figures}, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a name or a folder instead of random weights")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--texts", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of the processor; by default all")
    parser.add_argument("--engine", action="append", choices=list(ENGINES), help="may be repeated; by default all")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser.parse_args()


@contextmanager
def model_folder(arguments: argparse.Namespace) -> Iterator[str]:
    """The model to measure; what is written for this is removed again, the converted graphs with it."""
    if arguments.model is not None:
        yield arguments.model
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["POLYLENS_CACHE"] = f"{folder}/cache"
        yield str(write_model(Path(folder) / "model", arguments.layers, arguments.width))


def write_model(folder: Path, layers: int, width: int) -> Path:
    """Writes random weights and a tokenizer of one token per byte."""
    published = {
        "model_type": "jina_embeddings_v3",
        "vocab_size": 260,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "intermediate_size": 4 * width,
        "max_position_embeddings": 8194,
        "rope_parameters": {"rope_type": "default", "rope_theta": 20_000.0},
        "matryoshka_dimensions": [width],
    }
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for rule in native_rules(parse_config(published).text):
        for name, shape in rule.published.items():
            is_norm = len(shape) == 1 and name.endswith("weight")
            tensors[name] = torch.ones(shape) if is_norm else 0.02 * torch.randn(shape, generator=generator)
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(published))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate([*MARKS, *alphabet])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def measure(model: str, num_texts: int, rounds: int, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The figures of each engine."""
    rng = random.Random(7)
    lengths = [max(6, min(510, int(rng.lognormvariate(4.2, 0.9)))) for _ in range(num_texts)]
    texts = ["".join(rng.choice(LETTERS) for _ in range(length)) for length in lengths]
    queries = ["".join(rng.choice(LETTERS) for _ in range(QUERY_LENGTH)) for _ in range(NUM_QUERIES)]
    figures: dict[str, dict[str, Any]] = {}
    embedders: dict[str, Embedder] = {}
    for name in names:
        started = time.perf_counter()
        embedder = embedders[name] = load(model, device="cpu", **ENGINES[name])
        items = [embedder.processor.text(text, task=None, prompt_name="", max_length=None) for text in texts]
        embedder.engine.prepare(items[:1])
        figures[name] = {"start_s": round(time.perf_counter() - started, 1), "texts_s": [], "query_ms": []}
        vectors = embedder.encode_text(texts)  # compiles the products of each size of a row
        embedder.encode_text(queries[0])
        figures[name]["vectors"] = vectors
    tokens = sum(item.num_tokens for item in items)
    for _ in range(rounds):
        for name, embedder in embedders.items():
            figures[name]["texts_s"].append(seconds(lambda embedder=embedder: embedder.encode_text(texts)))
            for query in queries:
                figures[name]["query_ms"].append(
                    1e3 * seconds(lambda embedder=embedder, query=query: embedder.encode_text(query))
                )
    reference = figures.get(REFERENCE, {}).get("vectors")
    return {name: summary(found, tokens, reference) for name, found in figures.items()}


def summary(found: dict[str, Any], tokens: int, reference: np.ndarray | None) -> dict[str, Any]:
    """The figures of one engine as they are printed."""
    cosines = None if reference is None else (found["vectors"] * reference).sum(axis=1)
    return {
        "tokens_per_second": round(tokens / min(found["texts_s"])),
        "query_ms": round(statistics.median(found["query_ms"]), 1),
        "least_cosine": None if cosines is None else round(float(cosines.min()), 5),
        "start_s": found["start_s"],
    }


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def print_table(figures: dict[str, dict[str, Any]]) -> None:
    print("| engine | tokens per second | one query, ms | least cosine | first start, s |")
    print("|---|---|---|---|---|")
    for name, found in figures.items():
        print(
            f"| {name} | " + " | ".join(f"{value:,}" if value is not None else "-" for value in found.values()) + " |"
        )


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    return {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "bfloat16": bool(torch.cpu.get_capabilities().get("avx512_bf16")),
        "amx": bool(torch.cpu.get_capabilities().get("amx_tile")),
        "torch": version("torch"),
        "openvino": version("openvino"),
    }


if __name__ == "__main__":
    main()
