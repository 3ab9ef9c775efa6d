"""The progress bar of `show_progress=True`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(total: int, shown: bool, what: str = "embedding") -> Iterator[Callable[[float], None]]:
    """Draws a bar on stderr where that is a terminal; draws nothing where it is not, or unless `shown`.

    Args:
        total: The number of inputs, or of pairs.
        shown: False draws nothing.
        what: The word before the bar.

    Yields:
        A function to call with the number of inputs that each batch finished; shares of inputs add up.
    """
    if not shown:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda done: progress.advance(bar, done)
