"""Progress bars with an ETA, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polylens.library.progress import UpdateProgress
    from polylens.train.progress import TrainingProgress


@contextmanager
def indexing_bar() -> Iterator[Callable[[UpdateProgress], None] | None]:
    """Draws a bar while a folder is indexed; draws nothing if stderr is not a terminal.

    Yields:
        The function to report progress to; None if stderr is not a terminal.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("pages"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("scanning", total=None)

        def report(progress: UpdateProgress) -> None:
            bar.update(
                task,
                description=progress.phase,
                completed=progress.done_pages,
                total=progress.total_pages or None,
            )

        yield report


@contextmanager
def counting_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Draws a bar that counts up to a total; draws nothing if stderr is not a terminal.

    Yields:
        The function to call with what is done and the total.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def training_bar(*, shown: bool) -> Iterator[Callable[[TrainingProgress], None]]:
    """Draws a bar with the loss while a model is trained; draws nothing unless `shown` on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Bar(*columns, console=console, disable=not (shown and console.is_terminal)) as bar:
        task = bar.add_task("training", total=None, loss=float("nan"))
        yield lambda progress: bar.update(task, completed=progress.step, total=progress.total, loss=progress.loss)
