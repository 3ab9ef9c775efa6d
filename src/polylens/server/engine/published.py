"""Tasks as the published interface names them. What differs from model to model is the family's `Usage`."""

from __future__ import annotations

from polylens.errors import FieldError, InputError
from polylens.models.description import Header


def role(header: Header, task: str | None) -> tuple[str | None, str]:
    """(adapter, prompt) for a task of the published interface; None is the model's default.

    Raises:
        FieldError: The model has no such task; the message lists those it has.
    """
    asked = header.usage.default_task if task is None else task
    try:
        return header.processor.role(asked, None)
    except InputError as unknown:
        if asked in header.usage.ignored_tasks:
            return header.processor.role(None, None)
        raise FieldError(str(unknown).removeprefix("task "), "task", task) from unknown


def published_tasks(header: Header) -> tuple[str, ...]:
    """The names under which a request may ask for each task; a reranker has none."""
    if not header.family.embeds:
        return ()
    names = []
    for task in header.processor.tasks:
        both = task in ("retrieval", "code")
        names += [f"{task}.query", f"{task}.passage"] if both else [task]
    return tuple(names)
