"""Tasks as the published interface names them, and as others do. What differs from model to model is the `Usage`."""

from __future__ import annotations

from collections.abc import Mapping

from polylens.errors import FieldError, InputError
from polylens.models.description import Header

SAME_TASKS = {"clustering": "separation"}
"""Task -> the name of the same task in jina-embeddings-v3."""

_QUERY, _DOCUMENT = ("retrieval.query",), ("retrieval.passage",)
_CLUSTERING = ("clustering", "text-matching")

INPUT_TYPES: Mapping[str, tuple[str, ...]] = {
    "query": _QUERY,
    "search_query": _QUERY,
    "document": _DOCUMENT,
    "passage": _DOCUMENT,
    "search_document": _DOCUMENT,
    "classification": ("classification",),
    "clustering": _CLUSTERING,
    "image": (),
}
"""Value of `input_type`, as Cohere and Voyage name it -> the published tasks that come closest, the closest first."""

TASK_TYPES: Mapping[str, tuple[str, ...]] = {
    "TASK_TYPE_UNSPECIFIED": (),
    "RETRIEVAL_QUERY": _QUERY,
    "RETRIEVAL_DOCUMENT": _DOCUMENT,
    "QUESTION_ANSWERING": _QUERY,
    "FACT_VERIFICATION": _QUERY,
    "CODE_RETRIEVAL_QUERY": ("code.query", *_QUERY),
    "SEMANTIC_SIMILARITY": ("text-matching",),
    "CLASSIFICATION": ("classification",),
    "CLUSTERING": _CLUSTERING,
}
"""The same for Gemini's `taskType`."""


def task_of(header: Header, value: str, names: Mapping[str, tuple[str, ...]], field: str) -> str | None:
    """The published task that another interface means by a name of its own.

    The name of a task that the model has is understood as well.

    Args:
        header: The model.
        value: What the request says.
        names: `INPUT_TYPES` or `TASK_TYPES`.
        field: The field of the request, for error messages.

    Returns:
        The task; None for the model's default, where the model has no task for what is meant.

    Raises:
        FieldError: Neither the interface nor the model has this name.
    """
    if value in names:
        return next((task for task in names[value] if _has(header, task)), None)
    if _has(header, value):
        return value
    known = ", ".join((*names, *published_tasks(header)))
    raise FieldError(f"must be one of {known}, got {value[:100]!r}", field, value)


def _has(header: Header, task: str) -> bool:
    try:
        role(header, task)
    except FieldError:
        return False
    return True


def role(header: Header, task: str | None) -> tuple[str | None, str]:
    """(adapter, prompt) for a task of the published interface; None is the model's default.

    Raises:
        FieldError: The model has no such task; the message lists those it has.
    """
    asked = header.usage.default_task if task is None else task
    same = SAME_TASKS.get(asked or "")
    if same is not None and (same in header.processor.tasks or same in header.usage.ignored_tasks):
        asked = same
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
