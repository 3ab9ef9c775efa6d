"""Runs tasks of mteb and reports the scores beside the published ones. Results lie in mteb's own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import mteb
import numpy as np

from polylens.evaluate.machine import measured_on
from polylens.integrations.mteb.groups import GROUPS, Group

BATCH = 16  # items that a dataloader gives at once; images of that many pages are in memory


@dataclass(frozen=True, slots=True)
class Row:
    """One task, or the mean of a group."""

    name: str
    metric: str
    score: float | None
    """In per cent; None where the task could not be run."""
    published: dict[str, float]
    """Model -> its score, in per cent."""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A group with its rows; the mean comes last, and only where every task was run."""

    name: str
    title: str
    rows: list[Row]
    source: str


def run(
    model: Any,
    tasks: Mapping[str, Sequence[Any]],
    *,
    out: Path | None = None,
    again: bool = False,
    show_progress: bool = False,
    batch: int = BATCH,
) -> list[Section]:
    """Runs the tasks that have no result yet, and reports all.

    After each language of a task its scores are written, so that a run which was stopped goes on where it was. A task
    that fails costs itself alone.

    Args:
        model: From `models.encoder`, `RerankerScores` or `LibrarySearch`.
        tasks: As from `groups.tasks_of`.
        out: Folder of the results; None is mteb's own, `$MTEB_CACHE` or `~/.cache/mteb`.
        again: Runs tasks that have results, too.
        show_progress: Shows progress bars on stderr.
        batch: Items that are read at once.
    """
    if not show_progress:
        datasets.disable_progress_bars()
    cache = mteb.ResultCache(out)
    sections = []
    for name, chosen in tasks.items():
        group = GROUPS.get(name, Group(title=name))
        rows = [_row(model, task, group, cache, again, show_progress, batch) for task in chosen]
        sections.append(Section(name, group.title, [*rows, *_mean(group, rows)], group.source))
    return sections


def _row(model: Any, task: Any, group: Group, cache: Any, again: bool, show_progress: bool, batch: int) -> Row:
    name = task.metadata.name
    metric = group.metric or task.metadata.main_score
    published = group.scores.get(name, {})
    try:
        result = mteb.evaluate(
            model,
            task,
            cache=cache,
            co2_tracker=False,
            raise_error=False,
            overwrite_strategy="always" if again else "only-missing",
            encode_kwargs={"batch_size": batch, "show_progress_bar": show_progress},
            show_progress_bar=show_progress,
        )
    except (ValueError, TypeError) as refused:  # the model does not take what the task has
        return Row(name, metric, None, published, str(refused))
    if result.exceptions:
        return Row(name, metric, None, published, result.exceptions[0].exception)
    [scored] = result.task_results
    values = [each[metric] for split in scored.scores.values() for each in split]
    return Row(name, metric, 100 * float(np.mean(values)), published)


def _mean(group: Group, rows: Sequence[Row]) -> list[Row]:
    scores = [row.score for row in rows if row.score is not None]
    if len(rows) < 2 or len(scores) < len(rows):
        return []
    metrics = {row.metric for row in rows}
    metric = metrics.pop() if len(metrics) == 1 else "main score"
    return [Row(f"mean of {len(rows)}", metric, float(np.mean(scores)), group.means)]


def as_json(sections: Sequence[Section], meta: Any) -> dict[str, Any]:
    """The figures for programs.

    Args:
        sections: As from `run`.
        meta: The model's `mteb_model_meta`, which says where its result files lie.
    """
    return {
        "model": meta.name,
        "revision": meta.revision,
        "mteb": mteb.__version__,
        "groups": [
            {
                "group": section.name,
                "source of the published figures": section.source,
                "tasks": [
                    {
                        "task": row.name,
                        row.metric: None if row.score is None else round(row.score, 3),
                        "published": row.published,
                        **({} if row.error is None else {"error": row.error}),
                    }
                    for row in section.rows
                ],
            }
            for section in sections
        ],
        **measured_on(),
    }
