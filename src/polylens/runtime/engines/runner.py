"""A process that runs a model by one engine and measures itself when it is asked, so that its memory is its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polylens.caches import VARIABLE
from polylens.errors import WorkerError
from polylens.runtime.engines.workload import Work
from polylens.types import FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """A way to compute."""

    engine: str
    dtype: str
    quantization: str | None = None

    @property
    def name(self) -> str:
        """What it is called in a table.

        Example:
            >>> Setting(engine="openvino", dtype="bfloat16", quantization="int8").name
            'openvino int8'
        """
        return f"{self.engine} {self.quantization or self.dtype}"


class Runner:
    """A process that has a model ready, and measures when it is asked.

    Args:
        model: As for `measure`.
        setting: How it computes.
        work: What it computes.
        cache: The folder of converted graphs.

    Attributes:
        start_s: Seconds from loading to the first vectors.
    """

    def __init__(self, model: str | Path, setting: Setting, work: Work, cache: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._setting = setting
        self._pipe, theirs = context.Pipe()
        target = (theirs, str(model), setting, work, str(cache), torch.get_num_threads())
        self._process = context.Process(target=_serve, args=target, daemon=True)
        self._process.start()
        theirs.close()
        self.start_s: float = self._answer()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, what: str) -> Any:
        """Asks for "texts" or "page", in seconds, "queries", a list of milliseconds, "memory", in MB, or "vectors".

        The vectors are those of all texts, queries and pages, `[inputs, dim]`; computing them meets every size once.

        Raises:
            WorkerError: The process ended, or what it was asked failed.
        """
        self._pipe.send(what)
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.join()

    def _answer(self) -> Any:
        try:
            failure, answer = self._pipe.recv()
        except EOFError:
            failure, answer = "its process ended, perhaps for want of memory", None
        if failure is not None:
            raise WorkerError(f"{self._setting.name} could not be measured: {failure}")
        return answer


def _serve(pipe: Connection, model: str, setting: Setting, work: Work, cache: str, threads: int) -> None:
    """Runs in the process of a `Runner`: makes the model ready, and answers until the pipe is closed."""
    os.environ[VARIABLE] = cache
    torch.set_num_threads(threads)
    try:
        begun = time.perf_counter()
        bench = _Bench(model, setting, work)
        pipe.send((None, time.perf_counter() - begun))
        while True:
            pipe.send((None, bench.answer(pipe.recv())))
    except EOFError:
        return
    except Exception as failed:  # noqa: BLE001  whatever it was, the parent must be told
        pipe.send((f"{type(failed).__name__}: {failed}", None))


class _Bench:
    """A model that is ready, in its own process."""

    def __init__(self, model: str, setting: Setting, work: Work) -> None:
        from polylens.runtime.embedder import load

        self.work = work
        self.embedder = load(
            model, device="cpu", dtype=setting.dtype, engine=setting.engine, quantization=setting.quantization
        )
        processor = self.embedder.processor
        roles = [processor.role(None, prompt) for prompt in work.prompts]
        items = [processor.text("a", task=task, prompt_name=prompt, max_length=None) for task, prompt in roles]
        if work.page is not None:
            items.append(processor.image(work.page, task=roles[1][0], max_pixels=None))
        self.embedder.engine.prepare(items)
        for item in items:
            list(self.embedder.engine.run([item]))

    def vectors(self) -> FloatArray:
        pages = [] if self.work.page is None else [self.embedder.encode_image([self.work.page])]
        queries = [self._query(query) for query in self.work.queries]
        return np.concatenate([self._texts(), *queries, *pages])

    def answer(self, what: str) -> Any:
        if what == "vectors":
            return self.vectors()
        if what == "memory":
            return _resident_mb()
        if what == "texts":
            return _seconds(self._texts)
        if what == "page":
            page = self.work.page
            return None if page is None else _seconds(lambda: self.embedder.encode_image(page))
        return [1e3 * _seconds(partial(self._query, query)) for query in self.work.queries]

    def _query(self, query: str) -> FloatArray:
        return self.embedder.encode_text([query], prompt_name=self.work.prompts[0])

    def _texts(self) -> FloatArray:
        return self.embedder.encode_text(list(self.work.texts), prompt_name=self.work.prompts[1])


def _seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _resident_mb() -> int:
    """Returns the memory of this process now; where the system does not say, the most that it had."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return round(int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak / 1e3)
