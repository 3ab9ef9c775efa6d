"""`polylens serve` under load, beside sentence-transformers behind a plain FastAPI route with the same weights.

    python benchmarks/serve.py [--seconds 8] [--dtype bfloat16] [--json FILE]

Makes a text model with random weights in transformers' own layout of jina-embeddings-v3 (6 layers, width 384), which
both serve, checks that both give the same vectors, and then, on this machine alone (loopback, each step bounded):

* closed loops of 1, 4, 16 and 64 clients: single short texts, and lists of eight of mixed lengths;
* pictures and texts mixed, of nano, polylens alone;
* one worker with all cores against one worker per core;
* four times as many requests as were answered before: refusals, memory, recovery;
* the model's process killed: how long until answers come again;
* with `--only pages`, and nothing else: single short texts for nano, alone and while two clients send pages of four
  megapixels.

The peer needs `pip install sentence-transformers`; without it its rows are missing. `peers.py servers` asks several
peers in turn, each in an environment of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import PIL.Image
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

CLIENTS = (1, 4, 16, 64)
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
WORDS = ("harbour", "ship", "north", "winter", "price", "bread", "oven", "salt", "water", "light", "tower", "storm")
PEER = Path(__file__).parent / "peers/sentence_transformers_server.py"


@dataclass
class Load:
    """What came of one step."""

    seconds: float = 0.0
    inputs: int = 0
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    refusal_latencies: list[float] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        p50, p95, p99 = (np.percentile(self.latencies or [np.nan], (50, 95, 99)) * 1000).round(1)
        return {
            "inputs/s": round(self.inputs / self.seconds, 1),
            "p50 ms": float(p50),
            "p95 ms": float(p95),
            "p99 ms": float(p99),
            "statuses": self.statuses,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds per step")
    parser.add_argument("--dtype", default="bfloat16", help="dtype of both servers")
    parser.add_argument("--only", choices=("pages",), help="measure this alone")
    parser.add_argument("--source", type=Path, help="the src folder of another checkout, whose server to measure too")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "dtype": options.dtype, "seconds per step": options.seconds}
    if options.only == "pages":
        result.update(beside_pages(options))
        print(json.dumps(result, indent=2))
        return
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder) / "bench")
        result.update(measure(model, options))
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measure(model: Path, options: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {}
    ours = ["--model", str(model), "--model", "nano", "--dtype", options.dtype, "--cache-mb", "0"]
    with polylens(*ours) as (url, pid):
        vectors = embed(url, "bench", WORDS)
        result["polylens"] = closed_loops(url, options.seconds)
        result["polylens, pictures and texts, nano"] = run(url, pictures_and_texts, 8, options.seconds).row()
        capacity = result["polylens"]["lists of eight"]["16 clients"]["inputs/s"]
        note("the model's process is killed")
        result["killed"] = killed(url, pid)
    with polylens(*ours, "--max-wait", "1") as (url, pid):
        embed(url, "bench", WORDS)
        result["overload"] = overload(url, pid, 4 * capacity, options.seconds)
    with polylens(*ours, "--workers", str(os.cpu_count() or 1)) as (url, _pid):
        embed(url, "bench", WORDS)
        result["polylens, one worker per core"] = closed_loops(url, options.seconds)
    if any(importlib.util.find_spec(name) is None for name in ("sentence_transformers", "fastapi")):
        note("sentence-transformers and fastapi are not both installed: no peer")
        return result
    with peer(model, options.dtype) as url:
        theirs = embed(url, "bench", WORDS)
        cosines = (vectors * theirs).sum(axis=1) / np.linalg.norm(theirs, axis=1)
        result["least cosine between both"] = float(cosines.min())
        result["sentence-transformers"] = closed_loops(url, options.seconds)
    return result


def beside_pages(options: argparse.Namespace) -> dict[str, Any]:
    """Texts alone and beside pages, for this checkout and another in turn."""
    sources: dict[str, Path | None] = {"polylens": None}
    if options.source is not None:
        sources = {str(options.source): options.source, **sources}
    result: dict[str, Any] = {}
    for name, source in sources.items():
        with polylens("--model", "nano", "--cache-mb", "0", source=source) as (url, _pid):
            embed(url, "nano", list(WORDS))
            alone = run(url, nano_text, 1, options.seconds).row()
            texts, pages = asyncio.run(_mixed(url, options.seconds))
            result[name] = {
                "texts alone": alone,
                "texts beside pages": texts.row(),
                "pages": pages.row(),
                "p95 beside pages / alone": round(texts.row()["p95 ms"] / alone["p95 ms"], 2),
            }
    return result


async def _mixed(url: str, seconds: float) -> tuple[Load, Load]:
    texts, pages = Load(), Load()
    async with httpx2.AsyncClient(base_url=url, timeout=120, trust_env=False) as http:
        busy = [asyncio.create_task(_client(http, large_page, seed, seconds + 2, pages)) for seed in range(2)]
        await asyncio.sleep(2)
        started = time.perf_counter()
        await _client(http, nano_text, 0, seconds, texts)
        texts.seconds = time.perf_counter() - started
        await asyncio.gather(*busy)
        pages.seconds = time.perf_counter() - started + 2
    return texts, pages


def nano_text(rng: random.Random) -> dict[str, Any]:
    return {**short_text(rng), "model": "nano"}


@cache
def _page_file() -> str:
    """A page of four megapixels with noise like a scan's, as a JPEG in base64."""
    noise = np.random.default_rng(0).normal(235, 8, (2360, 1700, 1)).repeat(3, axis=2)
    buffer = io.BytesIO()
    PIL.Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


def large_page(_: random.Random) -> dict[str, Any]:
    return {"model": "nano", "input": [{"image": _page_file()}]}


def machine() -> dict[str, Any]:
    names = (
        re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else []
    )
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "starlette", "uvicorn")}
    if importlib.util.find_spec("sentence_transformers"):
        versions["sentence-transformers"] = importlib.metadata.version("sentence-transformers")
    return {"cpu": (names or [platform.processor()])[0], "cores": os.cpu_count(), **versions}


def make_model(folder: Path) -> Path:
    """Random weights, one token a byte."""
    from transformers import JinaEmbeddingsV3Config, JinaEmbeddingsV3Model, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate([*SPECIAL, *alphabet])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = JinaEmbeddingsV3Config(
        vocab_size=260,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=6,
        intermediate_size=1536,
        max_position_embeddings=8194,
        rope_parameters={"rope_type": "default", "rope_theta": 20_000.0},
        matryoshka_dimensions=[64, 128, 384],
    )
    config.architectures = ["JinaEmbeddingsV3Model"]
    config.save_pretrained(folder)
    weights = JinaEmbeddingsV3Model(config, add_pooling_layer=False).state_dict()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})  # transformers would rename them
    return folder


@contextmanager
def polylens(*arguments: str, source: Path | None = None) -> Iterator[tuple[str, int]]:
    """A server of ours, or of the checkout with this `src` folder: where it listens, and its process."""
    environment = {**os.environ, **({} if source is None else {"PYTHONPATH": str(source)})}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        command = [sys.executable, "-m", "polylens.cli", "serve", "--port", "0", *arguments]
        process = subprocess.Popen(command, stderr=log, env=environment)
        try:
            while True:
                log.seek(0)
                if found := re.search(r"http://[\d.:]+", log.read()):
                    break
                if process.poll() is not None:
                    raise SystemExit("the server did not start")
                time.sleep(0.1)
            yield found[0], process.pid
        finally:
            process.terminate()
            process.wait()


def peer(model: Path, dtype: str, python: str | Path = sys.executable) -> AbstractContextManager[str]:
    """The peer's server: where it listens. Its packages are those of the given interpreter."""
    return on_free_port([str(python), str(PEER), str(model), "--dtype", dtype])


@contextmanager
def on_free_port(command: list[str], environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """A server that takes `--port`: where it listens, once it does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*command, "--port", str(port)], env=environment)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit("the peer did not start") from None
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def embed(url: str, model: str, texts: list[str]) -> np.ndarray[Any, Any]:
    answer = httpx2.post(f"{url}/v1/embeddings", json={"model": model, "input": texts}, timeout=300, trust_env=False)
    answer.raise_for_status()
    return np.array([row["embedding"] for row in answer.json()["data"]])


def short_text(rng: random.Random) -> dict[str, Any]:
    """A query: about four words."""
    return {"model": "bench", "input": [" ".join(rng.choices(WORDS, k=rng.randint(2, 6)))]}


def eight_texts(rng: random.Random) -> dict[str, Any]:
    """Lengths as documents have them: most are short, some are long (4 to 512 bytes, lognormal)."""
    lengths = [int(min(512, max(4, rng.lognormvariate(4.1, 1.0)))) for _ in range(8)]
    text = " ".join(rng.choices(WORDS, k=120))
    return {"model": "bench", "input": [text[:length] for length in lengths]}


def pictures_and_texts(rng: random.Random) -> dict[str, Any]:
    """One request in four is a picture of 280 by 280 pixels, the others are short texts."""
    if rng.random() > 0.25:
        return {**short_text(rng), "model": "nano"}
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (280, 280), (rng.randrange(256), rng.randrange(256), rng.randrange(256))).save(buffer, "PNG")
    return {"model": "nano", "input": [{"image": base64.b64encode(buffer.getvalue()).decode()}]}


def closed_loops(url: str, seconds: float) -> dict[str, Any]:
    kinds: dict[str, Callable[[random.Random], dict[str, Any]]] = {
        "single texts": short_text,
        "lists of eight": eight_texts,
    }
    return {
        name: {f"{clients} clients": run(url, make, clients, seconds).row() for clients in CLIENTS}
        for name, make in kinds.items()
    }


def run(url: str, make: Callable[[random.Random], dict[str, Any]], clients: int, seconds: float) -> Load:
    """So many clients, each of which sends its next request when it has its answer."""
    note(f"{url}: {make.__name__}, {clients} clients")
    return asyncio.run(_closed(url, make, clients, seconds))


async def _closed(url: str, make: Callable[[random.Random], dict[str, Any]], clients: int, seconds: float) -> Load:
    load = Load()
    limits = httpx2.Limits(max_connections=clients + 1)
    async with httpx2.AsyncClient(base_url=url, timeout=120, limits=limits, trust_env=False) as http:
        await asyncio.gather(*(_client(http, make, seed, min(1.0, seconds), Load()) for seed in range(clients)))  # warm
        started = time.perf_counter()
        await asyncio.gather(*(_client(http, make, seed, seconds, load) for seed in range(clients)))
        load.seconds = time.perf_counter() - started
    return load


async def _client(
    http: httpx2.AsyncClient, make: Callable[[random.Random], dict[str, Any]], seed: int, seconds: float, load: Load
) -> None:
    rng = random.Random(seed)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        await _send(http, make(rng), load)


async def _send(http: httpx2.AsyncClient, body: dict[str, Any], load: Load) -> None:
    started = time.perf_counter()
    answer = await http.post("/v1/embeddings", json=body)
    took = time.perf_counter() - started
    load.statuses[answer.status_code] = load.statuses.get(answer.status_code, 0) + 1
    if answer.status_code == 200:
        load.latencies.append(took)
        load.inputs += len(body["input"])
    else:
        load.refusal_latencies.append(took)


def overload(url: str, pid: int, inputs_a_second: float, seconds: float) -> dict[str, Any]:
    """Requests come at a fixed rate, whether earlier ones were answered or not."""
    run(url, eight_texts, 16, seconds)  # what an ordinary load takes
    note(f"{url}: overload, {inputs_a_second:.0f} inputs/s")
    before = memory(pid)
    load = asyncio.run(_open(url, inputs_a_second / 8, seconds))
    after = memory(pid)
    recovered = run(url, eight_texts, 1, 2.0).row()
    refusals = np.percentile(load.refusal_latencies or [np.nan], (50, 99)) * 1000
    return {
        **load.row(),
        "asked inputs/s": round(inputs_a_second, 1),
        "refusal p50 ms": round(float(refusals[0]), 1),
        "refusal p99 ms": round(float(refusals[1]), 1),
        "memory MB before": before,
        "memory MB after": after,
        "afterwards, 1 client": recovered,
    }


async def _open(url: str, requests_a_second: float, seconds: float) -> Load:
    load, rng, tasks = Load(), random.Random(0), []
    bodies = [eight_texts(rng) for _ in range(64)]
    limits = httpx2.Limits(max_connections=1_000)
    async with httpx2.AsyncClient(base_url=url, timeout=120, limits=limits, trust_env=False) as http:
        started = time.perf_counter()
        for number in range(int(requests_a_second * seconds)):
            delay = started + number / requests_a_second - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            tasks.append(asyncio.create_task(_send(http, bodies[number % len(bodies)], load)))
        await asyncio.gather(*tasks)
        load.seconds = time.perf_counter() - started
    return load


def killed(url: str, pid: int) -> dict[str, float]:
    """Ends the processes of the models with SIGKILL and asks again at once."""
    for child in children(pid):
        os.kill(child, signal.SIGKILL)
    started = time.perf_counter()
    embed(url, "bench", WORDS)
    return {"seconds until the next answer": round(time.perf_counter() - started, 2)}


def children(pid: int) -> list[int]:
    """Of any of its threads."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


def memory(pid: int) -> int:
    """MB of a process and its children (resident)."""
    total = 0
    for each in (pid, *children(pid)):
        found = re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{each}/status").read_text())
        total += int(found[1]) if found else 0
    return total // 1024


def note(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
