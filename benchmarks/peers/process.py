"""The loop of a measured process: it answers one JSON object per line, and runs in the environment of its package.

Nothing here needs more than NumPy, so that a peer's environment holds the peer alone. What a library prints goes to
stderr: stdout carries answers only.

    {"do": "load", "settings": {...}}      -> {"start_s": 1.2, "versions": {"torch": "2.13.0"}}
    {"do": "vectors", "inputs": [...], "together": true, "file": "x.npz"}  -> {}; one array per input
    {"do": "time", "inputs": [...], "together": true}       -> {"seconds": [4.5]}, or one number per input
    {"do": "memory"}                       -> {"peak_mb": 812}
    {"do": "quit"}                         -> {}

A failure is {"error": "..."}; the process lives on.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

Settings = dict[str, Any]
Encode = Callable[[Sequence[str]], Sequence[np.ndarray]]
"""Texts or paths of images to one array per input: a vector, or a multi-vector with a row per token."""
Load = Callable[[Settings], Encode]


def answer_requests(load: Load, packages: Sequence[str]) -> None:
    """Answers requests until one says to quit.

    Args:
        load: Loads what is measured; called by the request "load".
        packages: Whose versions the answer to "load" names.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints from here on, in Python or below it, prints to stderr
    process = _Process(load, packages)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = process.answer(request)
        except Exception as error:  # noqa: BLE001 - the parent says what could not be measured, and goes on
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if request["do"] == "quit":
            return


class _Process:
    def __init__(self, load: Load, packages: Sequence[str]) -> None:
        self.load = load
        self.packages = packages
        self.encode: Encode | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["do"]:
            case "load":
                started = time.perf_counter()
                self.encode = self.load(request["settings"])
                took = time.perf_counter() - started
                return {"start_s": round(took, 1), "versions": {name: version(name) for name in self.packages}}
            case "vectors":
                found = [each for batch in _batches(request) for each in self._encode(batch)]
                np.savez(request["file"], *(np.asarray(each, dtype=np.float32) for each in found))
                return {}
            case "time":
                return {"seconds": [self._seconds(batch) for batch in _batches(request)]}
            case "memory":
                return {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
            case "quit":
                return {}
            case other:
                raise ValueError(f"do must be load, vectors, time, memory or quit, got {other!r}")

    def _encode(self, inputs: Sequence[str]) -> Sequence[np.ndarray]:
        if self.encode is None:
            raise RuntimeError("nothing is loaded yet; ask for load first")
        return self.encode(inputs)

    def _seconds(self, inputs: Sequence[str]) -> float:
        started = time.perf_counter()
        self._encode(inputs)
        return time.perf_counter() - started


def _batches(request: dict[str, Any]) -> list[list[str]]:
    inputs = request["inputs"]
    return [inputs] if request["together"] else [[each] for each in inputs]
