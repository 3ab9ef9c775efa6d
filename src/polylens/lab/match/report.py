"""The measure of match of a model: made, judged on other material, and as tables for people and JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from polylens.evaluate.machine import measured_on
from polylens.index.ranking.match import GOOD
from polylens.lab.match.asking import Case, ask_all
from polylens.lab.match.fitting import Judged, fit, judge
from polylens.lab.match.material import Material, make_material
from polylens.runtime.embedder import Embedder


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a calibration."""

    curves: Mapping[str, Any]
    """As `measure_of` reads them."""
    own: list[Judged]
    fallback: list[Judged]
    """The measure that a model without a calibration has, on the same cases."""


def run(embedder: Embedder, pages: int, seed: int, progress: Callable[[int], None] = lambda _: None) -> Outcome:
    """Fits the curves of a model to one half of the pages that are drawn, and judges them on the other half.

    Args:
        embedder: The model; it must take texts and images.
        pages: Pages of each kind; see `make_material`.
        seed: Decides everything.
        progress: Called with numbers of pages embedded.

    Raises:
        InputError: The fonts are not installed.
    """
    return of_material(make_material(embedder, pages, seed, progress), seed)


def of_material(material: Material, seed: int) -> Outcome:
    """The same for material that was made before."""
    first, second = material.halves(seed)
    return outcome(list(ask_all(first, seed)), list(ask_all(second, seed)))


def outcome(fitted: Sequence[Case], others: Sequence[Case]) -> Outcome:
    """The curves fitted to some cases, judged on others."""
    curves = {"curves": fit(fitted)}
    return Outcome(curves, judge(others, curves), judge(others, None))


def tables(outcome: Outcome) -> Iterator[Table]:
    """How good the measure is for each kind of question and ranking, and how well it keeps its word."""
    summary = Table(
        *("query", "ranking", "answered", "found", f"match >= {GOOD}: recall", "precision"),
        *("not answered", "rightly nothing", "calibration error", "without own curves: recall", "precision"),
        "rightly nothing",
    )
    for own, other in zip(outcome.own, outcome.fallback, strict=True):
        figures = (own.answered, own.found, own.recall, own.precision, own.unanswered, own.rightly_empty, own.error)
        compared = (other.recall, other.precision, other.rightly_empty)
        summary.add_row(own.asked, own.by, *map(_written, (*figures, *compared)))
    yield summary
    for own in outcome.own:
        if own.by == "fused":
            yield _reliability(own)


def _reliability(judged: Judged) -> Table:
    table = Table(f"match, {judged.asked}, {judged.by}", "pages", "mean match", "share that is right")
    for each in judged.bins:
        filled = (_written(each.said), _written(each.right)) if each.pages else ("-", "-")
        table.add_row(f"{each.low:.1f} to {each.high:.1f}", str(each.pages), *filled)
    return table


def _written(figure: float) -> str:
    return str(figure) if isinstance(figure, int) else f"{figure:.2f}"


def as_json(outcome: Outcome, *, model: str, pages: int, seed: int) -> dict[str, Any]:
    """Everything that the tables say, the curves, and what they were made with."""
    return {
        "benchmark": "match",
        "model": model,
        "pages": pages,
        "seed": seed,
        **outcome.curves,
        "own": [_figures(each) for each in outcome.own],
        "fallback": [_figures(each) for each in outcome.fallback],
        **measured_on(),
    }


def _figures(judged: Judged) -> dict[str, Any]:
    told = {**asdict(judged), "error": judged.error}
    told["bins"] = [{name: _rounded(value) for name, value in each.items()} for each in told["bins"]]
    return {name: _rounded(value) for name, value in told.items()}


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
