"""The synthetic benchmark as tasks of mteb: the same pages, queries and answers, in folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from polylens.errors import InputError
from polylens.lab.benchmarks.synthetic import K, PageTask, make_task


def write_tasks(folder: Path, tasks: Sequence[str], pages: int = 60, seed: int = 1) -> list[Path]:
    """Writes each task into a folder of its own, `synthetic-NAME`, for `integrations.mteb.folders.folder_task`.

    Args:
        folder: Created if it is missing.
        tasks: Names, as of `synthetic.TASKS`.
        pages: Pages per task.
        seed: As for `make_task`.

    Returns:
        The folders.

    Raises:
        InputError: The package mteb is not installed, or there is no such task.
    """
    try:
        from polylens.integrations.mteb.folders import write_folder
    except ImportError as missing:
        raise InputError(f"this needs the package mteb: {missing}") from missing
    written = []
    for name in tasks:
        task = make_task(name, pages, seed)
        place = folder / f"synthetic-{name}"
        corpus = ((f"page-{number}", PIL.Image.fromarray(page.image)) for number, page in enumerate(task.pages))
        queries = ((f"query-{number}", query.text) for number, query in enumerate(task.queries))
        write_folder(place, corpus, queries, _answers(task), main_score=f"ndcg_at_{K}")
        written.append(place)
    return written


def _answers(task: PageTask) -> dict[str, dict[str, int]]:
    return {
        f"query-{number}": {f"page-{page}": 1 for page in np.flatnonzero(right)}
        for number, right in enumerate(np.asarray(task.relevant))
    }
