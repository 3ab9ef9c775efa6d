"""The JSON of responses, and the vectors in it: lists of numbers, base64, or one bit per number.

Responses are written from arrays, not through response models: orjson takes 6 ms for 256 vectors of 1,024 numbers, and
a validating model four times as long.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import orjson

from polylens.errors import InputError
from polylens.types import Embedding, FloatArray

EmbeddingType = Literal["float", "base64", "binary", "ubinary"]
"""Forms of a vector in the published interface."""

Dtype = Literal["float", "int8", "uint8", "binary", "ubinary"]
"""The numbers of a vector, where the other interfaces ask for them apart from how they are written."""

Encode = Callable[[FloatArray], Any]
"""A vector -> what stands for it in a response."""

PIECE = 8_192
"""Numbers that are written at once: in about 1 ms, during which no other thread runs, that of the event loop among
them."""


def to_json(value: Any) -> bytes:
    """A value as JSON, with numpy arrays as lists.

    A large value is written in pieces, so that other threads get their turns. Its JSON is the same.
    """
    return b"".join(_pieces(value))


def _pieces(value: Any) -> Iterator[bytes]:
    """The JSON of a value in pieces of about `PIECE` numbers."""
    if _num_numbers(value) <= PIECE or not isinstance(value, dict | list | tuple):
        yield _dumps(value)
    elif isinstance(value, dict):
        opening = b"{"
        for key, each in value.items():
            yield opening + _dumps({key: 0})[1:-2]  # {"key":0} without its braces and its 0
            yield from _pieces(each)
            opening = b","
        yield b"}"
    else:
        opening = b"["
        for items in _slices(value):
            yield opening
            yield from (_dumps(items)[1:-1],) if len(items) > 1 else _pieces(items[0])
            opening = b","
        yield b"]"


def _slices(values: Sequence[Any]) -> Iterator[list[Any]]:
    """The items of a list in runs of at most `PIECE` numbers; an item with more of them is a run by itself."""
    run: list[Any] = []
    room = PIECE
    for each in values:
        numbers = _num_numbers(each)
        if run and numbers > room:
            yield run
            run, room = [], PIECE
        run.append(each)
        room -= numbers
    yield run


def _num_numbers(value: Any) -> int:
    """The number of numbers that take about as long to write as a value."""
    if isinstance(value, np.ndarray):
        return value.size
    if isinstance(value, str):
        return 1 + len(value) // 16
    if isinstance(value, dict):
        return len(value) + sum(map(_num_numbers, value.values()))
    return 1 + sum(map(_num_numbers, value)) if isinstance(value, list | tuple) else 1


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def sized(embedding: Embedding, dimensions: int | None, *, normalised: bool) -> FloatArray:
    """The dense vector of an input in the size and length that were asked for.

    Args:
        embedding: The embedding of one input.
        dimensions: Number of leading values to keep; None keeps all.
        normalised: Whether the vector has unit length, also after cutting; otherwise it has the length that the model
            gave.

    Raises:
        InputError: The vector has fewer numbers than `dimensions`.

    Example:
        >>> found = Embedding(np.array([0.6, 0.8], np.float32), np.zeros((0, 0), np.float32), norm=10.0)
        >>> sized(found, 1, normalised=True).tolist(), sized(found, None, normalised=False).tolist()
        ([1.0], [6.0, 8.0])
    """
    dense = embedding.dense
    if dimensions is not None and dimensions > len(dense):
        raise InputError(f"dimensions must be between 1 and {len(dense)} for this model, got {dimensions}")
    cut = dense[:dimensions]
    if not normalised:
        return cut * np.float32(embedding.norm)
    length = np.linalg.norm(cut)
    return cut if dimensions is None or length == 0 else (cut / length).astype(np.float32)


def quantised(vector: FloatArray, dtype: Dtype) -> np.ndarray[Any, Any]:
    """A vector in other numbers.

    int8 scales a vector so that its largest value, whatever the sign, becomes 127: compare such vectors by their
    cosine, since each has a scale of its own. uint8 is the same plus 128. ubinary has one bit per number, set where it
    is above 0, eight to a byte, the first in the highest bit; binary is the same minus 128, as published.

    Example:
        >>> quantised(np.array([0.6, -0.8, 0.0], np.float32), "int8").tolist()
        [95, -127, 0]
        >>> quantised(np.array([1.0, -1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 2.0], np.float32), "ubinary").tolist()
        [161]
    """
    if dtype == "float":
        return np.ascontiguousarray(vector)
    if dtype in ("int8", "uint8"):
        largest = float(np.abs(vector).max(initial=0.0)) or 1.0
        scaled = np.rint(vector * (127 / largest)).astype(np.int16)
        return scaled.astype(np.int8) if dtype == "int8" else (scaled + 128).astype(np.uint8)
    bits = np.packbits(vector > 0)
    return bits if dtype == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)


def encoded(vector: FloatArray, kinds: Sequence[EmbeddingType]) -> Any:
    """A vector in one published form, or an object with one field per form. Bits are written as floats, as published.

    Example:
        >>> encoded(np.array([1.0, -1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 2.0], np.float32), ["binary"]).tolist()
        [33.0]
    """
    if len(kinds) == 1:
        return _PUBLISHED[kinds[0]](vector)
    return {kind: _PUBLISHED[kind](vector) for kind in kinds}


def written(vector: FloatArray, dtype: Dtype, *, as_base64: bool) -> Any:
    """A vector in the numbers of a dtype: as a list, or as base64 of its little-endian bytes."""
    numbers = quantised(vector, dtype)
    if not as_base64:
        return numbers
    little = numbers.astype("<f4", copy=False) if dtype == "float" else numbers
    return base64.b64encode(little.tobytes()).decode()


def single(index: int, vector: FloatArray, encode: Encode) -> dict[str, Any]:
    """One row of a response with dense vectors."""
    return {"object": "embedding", "index": index, "embedding": encode(vector)}


def multi(index: int, vectors: FloatArray, encode: Encode, tokens: Sequence[str] | None) -> dict[str, Any]:
    """One row of a response with multi-vectors."""
    row = {"object": "embeddings", "index": index, "embeddings": [encode(vector) for vector in vectors]}
    return row if tokens is None else {**row, "tokenized_input": tokens}


_PUBLISHED: dict[EmbeddingType, Encode] = {
    "float": lambda vector: quantised(vector, "float"),
    "base64": lambda vector: written(vector, "float", as_base64=True),
    "binary": lambda vector: quantised(vector, "binary").astype(np.float32),
    "ubinary": lambda vector: quantised(vector, "ubinary").astype(np.float32),
}
