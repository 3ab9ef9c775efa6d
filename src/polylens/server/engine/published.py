"""What the published interface does differently for each kind of model: tasks, defaults, and how images are counted.

jina_http_api facts, sections 1 and 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from polylens.checkpoints.loading import Header
from polylens.errors import FieldError, InputError
from polylens.models.jina_v4.config import JinaV4Config

Kind = Literal["v4", "clip", "text"]

ONE_INSTRUCTION = ("text-matching", "retrieval.passage", "classification", "separation")
"""Tasks that clients send to jina-clip-v2, whose only instruction is that of `retrieval.query`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """The interface of one kind of model."""

    default_task: str | None
    ignored_tasks: tuple[str, ...]
    """Accepted, and the same as no task."""
    tile: int
    """Pixels a side of the squares by which images are counted; 0 where there are none."""
    tile_tokens: int
    """Tokens a square."""
    normalised_in_batch_jobs: bool
    """Whether SageMaker's form answers unit vectors."""


KINDS: dict[Kind, Published] = {
    "v4": Published(
        default_task="text-matching", ignored_tasks=(), tile=28, tile_tokens=10, normalised_in_batch_jobs=True
    ),
    "clip": Published(
        default_task=None, ignored_tasks=ONE_INSTRUCTION, tile=512, tile_tokens=4_000, normalised_in_batch_jobs=False
    ),
    "text": Published(default_task=None, ignored_tasks=(), tile=0, tile_tokens=0, normalised_in_batch_jobs=True),
}


def kind_of(header: Header) -> Kind:
    """Which kind a checkpoint is."""
    if isinstance(header.config, JinaV4Config):
        return "v4"
    return "text" if header.config.vision is None else "clip"


def role(header: Header, task: str | None) -> tuple[str | None, str]:
    """(adapter, prompt) for a task of the published interface; None is the model's default.

    Raises:
        FieldError: The model has no such task; the message lists those it has.
    """
    published = KINDS[kind_of(header)]
    asked = published.default_task if task is None else task
    try:
        return header.processor.role(asked, None)
    except InputError as unknown:
        if asked in published.ignored_tasks:
            return header.processor.role(None, None)
        raise FieldError(str(unknown).removeprefix("task "), "task", task) from unknown


def published_tasks(header: Header) -> tuple[str, ...]:
    """The names under which a request may ask for each task."""
    names = []
    for task in header.processor.tasks:
        both = task in ("retrieval", "code")
        names += [f"{task}.query", f"{task}.passage"] if both else [task]
    return tuple(names)


def image_tokens(kind: Kind, width: int, height: int) -> int:
    """Tokens that an image is counted as in `usage`: so many for each tile that it covers, at its size as it came.

    Example:
        >>> image_tokens("clip", 720, 720), image_tokens("clip", 333, 333), image_tokens("v4", 28, 56)
        (16000, 4000, 20)
    """
    published = KINDS[kind]
    return math.ceil(width / published.tile) * math.ceil(height / published.tile) * published.tile_tokens
