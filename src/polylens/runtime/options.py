"""How inputs are to be encoded: the options of `Embedder`'s methods, in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from polylens.errors import InputError
from polylens.models.protocol import Processor

Tasks = str | Sequence[str | None] | None
"""One task for all inputs, or one per input; None is the model's default."""


class SharedOptions(TypedDict, total=False):
    """Keyword arguments that every `encode_*` method takes, for the overloads that a type checker reads."""

    truncate_dim: int | None
    batch_size: int | None
    show_progress: bool


class TextOptions(SharedOptions, total=False):
    """Keyword arguments of `encode_text`."""

    max_length: int | None


class ImageOptions(SharedOptions, total=False):
    """Keyword arguments of `encode_image`."""

    max_pixels: int | None


class MixedOptions(TextOptions, ImageOptions, total=False):
    """Keyword arguments of `encode`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodeOptions:
    """How a list of inputs is to be encoded. `Embedder.encode_text` and `encode_image` explain each option.

    Raises:
        InputError: A limit is not a positive integer.
    """

    task: Tasks = None
    prompt_name: str | None = None
    truncate_dim: int | None = None  # numbers per dense vector
    max_length: int | None = None  # tokens per text
    max_pixels: int | None = None  # pixels per image, after resizing
    batch_size: int | None = None  # inputs per forward pass
    return_multivector: bool = False
    show_progress: bool = False

    def __post_init__(self) -> None:
        for name in ("max_length", "max_pixels", "batch_size"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, (int, np.integer)) or value < 1):
                raise InputError(f"{name} must be a whole number, at least 1, got {value!r}")

    def require_outputs(self, matryoshka_dims: Sequence[int], multivector_dim: int | None) -> None:
        """Checks that the model can produce what is asked for.

        Args:
            matryoshka_dims: Widths to which its dense vectors may be cut.
            multivector_dim: Width of each vector of its multi-vectors; None where it has none.

        Raises:
            InputError: It cannot; the message says what it can.
        """
        if self.truncate_dim is not None and self.truncate_dim not in matryoshka_dims:
            dims = ", ".join(map(str, matryoshka_dims))
            raise InputError(f"truncate_dim must be one of {dims} for this model, got {self.truncate_dim}")
        if self.return_multivector and multivector_dim is None:
            raise InputError("this model does not produce multi-vectors; it returns one dense vector per input")

    def roles(self, processor: Processor, count: int) -> list[tuple[str | None, str]]:
        """Resolves task and prompt name to the adapter and the prompt of each of `count` inputs.

        Raises:
            InputError: The model has no such task, or the number of tasks is not the number of inputs.
        """
        shared = self.task is None or isinstance(self.task, str)
        names = as_list(self.task, shared, "task must be one name or one per input") * (count if shared else 1)
        if len(names) != count:
            raise InputError(f"task must be one name or one per input, got {len(names)} names for {count} inputs")
        for name in names:
            if not isinstance(name, (str, type(None))):
                raise InputError(f"task must be one of {', '.join(processor.tasks)}, got {name!r}")
        known = {name: processor.role(name, self.prompt_name) for name in dict.fromkeys(names or [None])}
        return [known[name] for name in names]


def as_list(values: Any, single: bool, rule: str) -> list[Any]:
    """Returns the values as a list; a single value becomes a list of one.

    Raises:
        InputError: The value is not iterable; the message begins with `rule`.
    """
    try:
        return [values] if single else list(values)
    except TypeError as error:
        raise InputError(f"{rule}, got {type(values).__name__}") from error
