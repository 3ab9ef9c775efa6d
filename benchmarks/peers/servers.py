"""The table of servers: single texts from 1, 16 and 64 clients at once, polylens beside its peers, in alternation.

All servers are up at once and hold the same weights; one is asked at a time.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import serve
from environments import python_of

CLIENTS = (1, 16, 64)
POLYLENS = {"polylens": (), "polylens, openvino": ("--engine", "openvino")}
FASTAPI, INFINITY = "sentence-transformers in FastAPI", "infinity-emb"
DTYPE = "bfloat16"
START_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Server:
    """A server of the table: where it listens once it runs."""

    name: str
    running: AbstractContextManager[str]


def all_servers(model: Path, environments: Path | None) -> tuple[list[Server], dict[str, str]]:
    """Returns the servers that can be started, and why others cannot."""
    servers, missing = [], {}
    for name, options in POLYLENS.items():
        servers.append(Server(name, _polylens(model, options)))
    if (python := python_of(environments, "torch")) is not None:
        servers.append(Server(FASTAPI, serve.peer(model, DTYPE, python)))
    else:
        missing[FASTAPI] = "its environment is missing"
    if (python := python_of(environments, "infinity")) is not None:
        servers.append(Server(INFINITY, _infinity(model, python)))
    else:
        missing[INFINITY] = "its environment is missing"
    return servers, missing


@contextmanager
def _polylens(model: Path, options: Sequence[str]) -> Iterator[str]:
    """A server of ours, once its model is loaded and the graphs of its engine are compiled."""
    with serve.polylens("--model", str(model), "--dtype", DTYPE, "--cache-mb", "0", *options) as (url, _pid):
        end = time.monotonic() + START_SECONDS
        while httpx2.get(f"{url}/ready", trust_env=False).status_code != 200:
            if time.monotonic() > end:
                raise SystemExit(f"the server was not ready after {START_SECONDS} s")
            time.sleep(0.2)
        yield url


def _infinity(model: Path, python: Path) -> AbstractContextManager[str]:
    """Without its cache on disk, as the others answer without one."""
    options = ["--model-id", str(model), "--served-model-name", "bench", "--url-prefix", "/v1", "--host", "127.0.0.1"]
    options += ["--engine", "torch", "--device", "cpu", "--dtype", DTYPE, "--log-level", "error"]
    options += ["--no-bettertransformer", "--no-vector-disk-cache", "--no-lengths-via-tokenize"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    return serve.on_free_port([str(python.with_name("infinity_emb")), "v2", *options], environment)


def measure_servers(
    servers: Sequence[Server], rounds: int, seconds: float, clients: Sequence[int] = CLIENTS
) -> dict[str, dict[str, Any]]:
    """Measures servers in alternation.

    Args:
        servers: None of them runs yet.
        rounds: How often each is asked for each number of clients.
        seconds: Of each round; a second before it is not counted.
        clients: Numbers of clients; each sends its next text when it has its answer.

    Returns:
        By server: requests per second and the percentiles of the latency for each number of clients, the ratio to
        the FastAPI route, and the least cosine with the first server that is up.
    """
    with ExitStack() as stack:
        urls: dict[str, str] = {}
        result: dict[str, dict[str, Any]] = {}
        for server in servers:
            serve.note(f"starting: {server.name}")
            try:
                urls[server.name] = stack.enter_context(server.running)
                result[server.name] = {}
            except SystemExit as error:
                result[server.name] = {"failure": str(error)}
        vectors = {name: _unit(serve.embed(url, "bench", list(serve.WORDS))) for name, url in urls.items()}
        loads = {name: {number: serve.Load() for number in clients} for name in urls}
        for number in clients:
            for turn in range(rounds):
                for name in list(urls)[:: -1 if turn % 2 else 1]:
                    _add(loads[name][number], serve.run(urls[name], serve.short_text, number, seconds))
    for name in urls:
        for number in clients:
            row = loads[name][number].row()
            result[name] |= {f"{number}: requests/s": row["inputs/s"], f"{number}: p50 ms": row["p50 ms"]}
            result[name] |= {f"{number}: p99 ms": row["p99 ms"]}
            if FASTAPI in urls:
                base = loads[FASTAPI][number].row()["inputs/s"]
                result[name][f"{number}: times FastAPI"] = round(row["inputs/s"] / base, 2)
        first = next(iter(vectors.values()))
        result[name]["least cosine"] = round(float((vectors[name] * first).sum(axis=1).min()), 5)
    return result


def _add(total: serve.Load, load: serve.Load) -> None:
    total.seconds += load.seconds
    total.inputs += load.inputs
    total.latencies += load.latencies
    if set(load.statuses) - {200}:
        print(f"answers other than 200: {load.statuses}", file=sys.stderr)


def _unit(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
