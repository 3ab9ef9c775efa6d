"""Measured processes side by side: each loads once, rounds alternate between them, vectors are compared.

Alternating lets a busy minute of the machine meet all of them. All stay in memory; one works at a time.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

HERE = Path(__file__).parent
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: what is measured, and in which environment."""

    name: str
    command: tuple[str, ...]
    """A script of this folder with its arguments."""
    settings: Mapping[str, Any]
    python: Path | None = None
    """The interpreter of its environment; None where that is missing."""


@dataclass(frozen=True, slots=True)
class Job:
    """Inputs whose time is taken."""

    inputs: Sequence[str]
    together: bool
    """True takes the time of one call with all inputs, False that of one call per input."""
    tokens: int | None = None
    """Of all inputs, for tokens per second."""


@dataclass(slots=True)
class Figures:
    """What was found of one row."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Name of the job -> one number per call, of all rounds."""
    vectors: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """Name of the job -> an array per input."""
    start_s: float = 0.0
    peak_mb: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    failure: str | None = None
    """Why there are no figures."""


class Measured:
    """A process that answers `process.py`'s requests.

    Args:
        row: What it runs.
        environment: Its environment variables.
    """

    def __init__(self, row: Row, environment: Mapping[str, str]) -> None:
        assert row.python is not None
        command = [str(row.python), str(HERE / row.command[0]), *row.command[1:]]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, **OFFLINE},
            text=True,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Sends a request and waits for its answer.

        Raises:
            RuntimeError: The process has ended, or could not do it.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"the process ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def __enter__(self) -> Measured:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with suppress(BrokenPipeError):
            self._process.stdin.close()


def start(
    row: Row, environment: Mapping[str, str], jobs: Mapping[str, Job], folder: Path
) -> tuple[Measured | None, Figures]:
    """Starts the process of a row, loads its model, and computes all vectors once, which also warms it up.

    Args:
        row: What to start.
        environment: Environment variables of the process.
        jobs: Their inputs are embedded.
        folder: For the vectors, which are removed again.

    Returns:
        The process and what is known so far; no process where it failed, with the reason in the figures.
    """
    if row.python is None:
        return None, Figures(failure="its environment is missing")
    figures = Figures()
    measured = Measured(row, environment)
    try:
        loaded = measured.ask(do="load", settings=row.settings)
        figures.start_s, figures.versions = loaded["start_s"], loaded["versions"]
        for name, job in jobs.items():
            file = folder / "vectors.npz"
            measured.ask(do="vectors", inputs=list(job.inputs), together=job.together, file=str(file))
            with np.load(file) as arrays:
                figures.vectors[name] = [arrays[key] for key in arrays.files]
            file.unlink()
    except RuntimeError as error:
        measured.__exit__(None, None, None)
        return None, Figures(failure=str(error))
    return measured, figures


def measure(
    rows: Sequence[Row], jobs: Mapping[str, Job], rounds: int, *, environment: Mapping[str, str], folder: Path
) -> dict[str, Figures]:
    """Measures all rows side by side.

    Args:
        rows: What is measured; those that cannot be started are named with the reason.
        jobs: What each of them does in each round.
        rounds: How often.
        environment: Environment variables of the processes.
        folder: For temporary files.

    Returns:
        The figures by the name of the row, in the order of the rows.
    """
    found: dict[str, Figures] = {}
    running: dict[str, Measured] = {}
    try:
        for row in rows:
            print(f"starting: {row.name}", file=sys.stderr)
            measured, found[row.name] = start(row, environment, jobs, folder)
            if measured is not None:
                running[row.name] = measured
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            for name in list(running)[:: -1 if number % 2 else 1]:  # each is first as often as last
                _one_round(running[name], jobs, found[name])
        for name, measured in running.items():
            found[name].peak_mb = measured.ask(do="memory")["peak_mb"]
    finally:
        for measured in running.values():
            measured.__exit__(None, None, None)
    return found


def _one_round(measured: Measured, jobs: Mapping[str, Job], figures: Figures) -> None:
    for name, job in jobs.items():
        seconds = measured.ask(do="time", inputs=list(job.inputs), together=job.together)["seconds"]
        figures.seconds.setdefault(name, []).extend(seconds)


def typical_seconds(figures: Figures, name: str, job: Job) -> float:
    """Returns the best round of a call with all inputs, or the median of the calls with one."""
    seconds = figures.seconds[name]
    return min(seconds) if job.together else statistics.median(seconds)


def least_cosine(ours: Figures, reference: Figures) -> float:
    """Returns the least cosine between two rows' vectors of the same input; of multi-vectors, of the same token.

    Raises:
        ValueError: The two have not the same number of vectors for an input.
    """
    least = 1.0
    for name, vectors in ours.vectors.items():
        for mine, theirs in zip(vectors, reference.vectors[name], strict=True):
            if mine.shape != theirs.shape:
                raise ValueError(f"vectors of shape {mine.shape} cannot be compared with {theirs.shape}")
            products = (mine * theirs).sum(axis=-1)
            lengths = np.linalg.norm(mine, axis=-1) * np.linalg.norm(theirs, axis=-1)
            least = min(least, float((products / lengths).min()))
    return least


def summary(
    found: Mapping[str, Figures], jobs: Mapping[str, Job], references: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Returns what is printed: by row, its time of each job, how many times faster it is, cosine, start and memory.

    Args:
        found: As `measure` returns it.
        jobs: The same.
        references: Names of rows; each gives a column of ratios of the first job. Cosines are with the first of all
            rows that was measured, which should be in float32.
    """
    measured = {name: figures for name, figures in found.items() if figures.failure is None}
    first_job = next(iter(jobs))
    times = {
        name: {job: typical_seconds(figures, job, jobs[job]) for job in jobs} for name, figures in measured.items()
    }
    result: dict[str, dict[str, Any]] = {}
    for name, figures in found.items():
        if figures.failure is not None:
            result[name] = {"failure": figures.failure}
            continue
        row: dict[str, Any] = {}
        for job, described in jobs.items():
            if described.tokens is not None:
                row[f"{job}, tokens/s"] = round(described.tokens / times[name][job])
            else:
                row[f"{job}, ms"] = round(1e3 * times[name][job], 1)
        for reference in (each for each in references if each in measured):
            row[f"{first_job}: times {reference}"] = round(times[reference][first_job] / times[name][first_job], 2)
        row["least cosine"] = round(least_cosine(figures, next(iter(measured.values()))), 5)
        result[name] = {**row, "start, s": figures.start_s, "peak, MB": figures.peak_mb}
    return result


def print_table(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints Markdown: the measured rows, and below them why others are missing."""
    measured = {name: row for name, row in rows.items() if "failure" not in row}
    columns = list(dict.fromkeys(column for row in measured.values() for column in row))
    print("| | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for name, row in measured.items():
        cells = [row.get(column) for column in columns]
        print(f"| {name} | " + " | ".join("-" if cell is None else f"{cell:,}" for cell in cells) + " |")
    for name, row in rows.items():
        if "failure" in row:
            print(f"\nnot measured: {name}: {row['failure']}")
    print()
