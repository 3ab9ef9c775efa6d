"""Measures the engines that run a model on this machine: speed, memory, start and exactness.

Each engine runs in a process of its own, so that its memory and its start are its own. The rounds of all engines
alternate, so that a busy minute of the machine meets each of them; where they do not fit into memory together, one
follows the other.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import torch

from polylens.caches import cache_folder
from polylens.checkpoints.fetch import resolve
from polylens.checkpoints.loading import read_header
from polylens.errors import InputError
from polylens.models.description import Header
from polylens.runtime.devices import CPU_BFLOAT16, DTYPES, choose_dtype
from polylens.runtime.engines.choice import ENGINES, QUANTIZATIONS, choose_engine
from polylens.runtime.engines.runner import Runner, Setting
from polylens.runtime.engines.winners import Winner, WinnerKey, write_winner
from polylens.runtime.engines.workload import Work, work_for
from polylens.types import FloatArray

CPU = torch.device("cpu")
NUM_TEXTS, NUM_TEXTS_OF_LARGE = 160, 16
LARGE = 1_000_000_000  # weights
SAFE_COSINE = 0.9999
KEEPS_GRAPHS = {"openvino"}
"""Engines whose second start differs from the first."""
NEEDED = {"torch": 1, "openvino": 2}  # times the bytes of the weights; the second holds those of its towers twice


REFERENCE = Setting(engine="torch", dtype="float32")


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What was measured of a setting."""

    tokens_per_second: int
    """Of the best round."""
    query_ms: float
    """Median of all."""
    image_s: float | None
    """Seconds for a page, of the best round; None for a model that takes no images."""
    memory_mb: int
    """Resident, after the rounds."""
    least_cosine: float | None
    """With the reference, over all inputs; None where that does not fit into memory."""
    first_start_s: float
    """From loading to the first vectors, with an empty cache folder."""
    second_start_s: float
    """The same where an engine keeps nothing."""


def measure(
    model: str | Path,
    settings: Sequence[Setting],
    *,
    num_texts: int | None = None,
    rounds: int = 3,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[str, Figures]:
    """Measures each setting on texts of mixed length, on short queries and on a page.

    Args:
        model: A name from the catalog, or a folder in the official layout.
        settings: As from `settings_of`, for instance. Cosines are with the first where that is `REFERENCE`.
        num_texts: None is 160, or 16 for a model of more than a billion weights.
        rounds: How often each is measured.
        progress: Called with the steps that are done and their number.

    Raises:
        WorkerError: A process ended or failed; the message says of which setting.
    """
    header = read_header(resolve(model))
    weights = num_weights(header)
    work = work_for(header, num_texts or (NUM_TEXTS_OF_LARGE if weights > LARGE else NUM_TEXTS))
    bytes_needed = [weights * NEEDED[each.engine] * DTYPES[each.dtype].itemsize for each in settings]
    together = sum(bytes_needed) <= available_bytes()
    steps = _Steps(total=len(settings) * (2 + rounds), report=progress)
    found: dict[str, _Taken] = {}
    with tempfile.TemporaryDirectory(prefix="polylens-bench-") as cache:
        for group in [list(settings)] if together else [[each] for each in settings]:
            with ExitStack() as open_now:
                runners: dict[str, Runner] = {}
                for setting in group:
                    first_s = None
                    if setting.engine in KEEPS_GRAPHS:
                        with Runner(model, setting, work, Path(cache)) as first:
                            first_s = first.start_s
                    steps.done()
                    runner = runners[setting.name] = open_now.enter_context(Runner(model, setting, work, Path(cache)))
                    found[setting.name] = _Taken(first_s or runner.start_s, runner.start_s, runner.ask("vectors"))
                    steps.done()
                for _ in range(rounds):
                    for name, runner in runners.items():
                        found[name].take(runner)
                        steps.done()
                for name, runner in runners.items():
                    found[name].memory = runner.ask("memory")
    reference = next(iter(found.values())).vectors if settings[0] == REFERENCE else None
    return {name: taken.figures(work, reference) for name, taken in found.items()}


def settings_of(
    header: Header, *, engines: Sequence[str] | None = None, quantizations: Sequence[str] | None = None
) -> list[Setting]:
    """Returns the reference, and what the installed engines can do with a model in this processor's number format.

    Args:
        header: The header of its checkpoint.
        engines: Names of those to measure besides the reference; None is every one.
        quantizations: As `engines`.

    Raises:
        InputError: One that was named is not installed, or does not run this model.
    """
    _ = header.processor
    dtype = choose_dtype(None, CPU, float16_overflows=header.family.overflows_in_float16)
    name = str(dtype).removeprefix("torch.")
    found = [REFERENCE]
    for engine in engines or ENGINES:
        for quantization in (None, *(quantizations or QUANTIZATIONS)):
            if engine == "torch" and quantization is not None:
                continue
            try:
                choose_engine(engine, quantization, family=header.family, device=CPU, dtype=dtype)
            except InputError:
                if engines or (quantizations and quantization):
                    raise
                continue
            setting = Setting(engine=engine, dtype=name, quantization=quantization)
            found += [setting] if setting not in found else []
    return found


def keep_winner(header: Header, settings: Sequence[Setting], figures: dict[str, Figures]) -> str | None:
    """Keeps the fastest engine for `fastest_engine`: of those that are not quantized, in the number format of `load`.

    The fastest has the highest product of tokens, queries and pages per second. One whose cosine with the reference is
    below 0.9999 is no candidate.

    Returns:
        Its name; None where fewer than two were measured.
    """
    dtype = str(choose_dtype(None, CPU)).removeprefix("torch.")
    measured = {
        setting.engine: figures[setting.name]
        for setting in settings
        if setting.quantization is None and setting.dtype == dtype
    }
    safe = {name: each for name, each in measured.items() if (each.least_cosine or 0.0) >= SAFE_COSINE}
    if len(measured) < 2 or not safe:
        return None
    fastest = max(safe, key=lambda name: _speed(safe[name]))
    told = ", ".join(f"{name} {each.tokens_per_second:,} tokens per second" for name, each in measured.items())
    winner = Winner(engine=fastest, date=date.today().isoformat(), figures=told)
    write_winner(cache_folder(), WinnerKey.here(header.fingerprint, dtype), winner)
    return fastest


def _speed(figures: Figures) -> float:
    return figures.tokens_per_second / figures.query_ms / (figures.image_s or 1.0)


def num_weights(header: Header) -> int:
    """Returns how many numbers the weights of a model are."""
    with torch.device("meta"):
        network = header.family.build(header)
    return sum(parameter.numel() for parameter in network.parameters())


def available_bytes() -> float:
    """Returns the memory that processes may still take; infinity where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("inf")
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), float("inf"))


@dataclass(slots=True)
class _Steps:
    total: int
    report: Callable[[int, int], None]
    taken: int = 0

    def done(self) -> None:
        self.taken += 1
        self.report(self.taken, self.total)


@dataclass(slots=True)
class _Taken:
    """The raw figures of a setting."""

    first_start_s: float
    second_start_s: float
    vectors: FloatArray
    texts_s: list[float] = field(default_factory=list)
    query_ms: list[float] = field(default_factory=list)
    page_s: list[float] = field(default_factory=list)
    memory: int = 0

    def take(self, runner: Runner) -> None:
        self.texts_s.append(runner.ask("texts"))
        self.query_ms += runner.ask("queries")
        page = runner.ask("page")
        self.page_s += [] if page is None else [page]

    def figures(self, work: Work, reference: FloatArray | None) -> Figures:
        cosines = None if reference is None else (self.vectors * reference).sum(axis=1)
        return Figures(
            tokens_per_second=round(work.num_tokens / min(self.texts_s)),
            query_ms=round(statistics.median(self.query_ms), 1),
            image_s=round(min(self.page_s), 3) if self.page_s else None,
            memory_mb=self.memory,
            least_cosine=None if cosines is None else round(float(cosines.min()), 5),
            first_start_s=round(self.first_start_s, 1),
            second_start_s=round(self.second_start_s, 1),
        )


def machine() -> dict[str, str | int]:
    """Returns what figures depend on besides the code: the processor, its threads and memory, and the versions."""
    key = WinnerKey.here("", "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    capabilities = torch.cpu.get_capabilities()
    formats = [name for name in CPU_BFLOAT16 if capabilities.get(name, False)]
    return {
        "processor": key.processor,
        "bfloat16": ", ".join(formats) or "none",
        "threads": torch.get_num_threads(),
        "memory_gb": round(memory / 1e9),
        **{package: version for package, version in key.versions if version is not None},
    }
