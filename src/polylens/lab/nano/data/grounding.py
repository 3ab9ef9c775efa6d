"""Where a picture shows the letters of a query, and which letter stands where.

Coordinates are pixels; a *cell* is the square of one visual token.
"""

from __future__ import annotations

import functools
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from polylens.lab.synthetic.lexicon import LANGUAGES, sample_text
from polylens.lab.synthetic.rendered import PlacedWord, Rendered

NUM_LETTERS = 1536  # the most frequent letters of training text
READING_POINTS = 2  # per patch, side by side; a patch is about two letters wide
_EDGE = "()[]{}.,:;!?。，、：（）«»\"'"


@dataclass(frozen=True, slots=True)
class PlacedQuery:
    """A query taken from a picture, and where its words are drawn."""

    text: str
    spans: list[tuple[int, int, int]]
    """(first letter, one past the last, index of the word in the picture) of each word."""


@functools.cache
def letters() -> dict[str, int]:
    """The `NUM_LETTERS` most frequent letters of training text -> their labels; upper and lower case are one."""
    rng = random.Random(0)
    counts: Counter[str] = Counter()
    for language in LANGUAGES:
        for word in sample_text(rng, language, "train", 3000):
            counts.update(letter.lower() for letter in word)
    return {letter: i for i, (letter, _) in enumerate(counts.most_common(NUM_LETTERS))}


def bare(word: str) -> str:
    """A word without the punctuation around it.

    >>> bare("(Hafen),")
    'Hafen'
    """
    return word.strip(_EDGE)


def without_opening(word: str) -> str:
    """A word without the punctuation before it.

    >>> without_opening("(Hafen),")
    'Hafen),'
    """
    return word.lstrip(_EDGE)


def ground_tokens(
    queries: Sequence[PlacedQuery],
    tokens: Sequence[Sequence[tuple[int, int]]],
    rendered: Sequence[Rendered],
    image_of: Sequence[int],
    side: int,
) -> tuple[Tensor, Tensor]:
    """Finds the cells of each query token: `ImageBatch.here` and `ImageBatch.same`.

    A token is grounded in the cells of its letters; in a right-to-left word, in all cells of the word. The decoder is
    causal and reads a picture from the left, so in such a word a letter's cell has seen the letters after it, which the
    token has not, and none before it, which the token has. Only the cell where the word begins has seen all of it, so
    the model is free to choose among the cells of the word.

    Args:
        queries: The queries; those beyond `image_of` are about texts and drawn nowhere, and so are those without spans.
        tokens: For each query, the first letter of each of its tokens and one past the last.
        rendered: The pictures.
        image_of: The picture of each of the first queries.
        side: Pixels per side of a cell.
    """
    offsets, places = _places(rendered, side)
    here = np.zeros((sum(map(len, tokens)), offsets[-1]), dtype=bool)
    same = np.zeros_like(here)
    row = 0
    for i, query, spans in zip(image_of, queries, tokens, strict=False):
        drawn = rendered[i]
        for token, (first, last) in enumerate(spans):
            for begin, end, index in query.spans:
                low, high = max(first, begin), min(last, end)
                if low >= high:
                    continue
                word = drawn.words[index]
                left, right = word.left, word.right
                if not word.rtl:
                    before = len(word.text) - len(without_opening(word.text)) - begin
                    left, right = word.edges[low + before], word.edges[high + before]
                here[row + token, _cells(drawn, word, left, right, side) + offsets[i]] = True
                for cells in places[query.text[begin:end].casefold()]:
                    same[row + token, cells] = True
        row += len(spans)
    return torch.from_numpy(here), torch.from_numpy(same)


def ground_queries(
    queries: Sequence[PlacedQuery], rendered: Sequence[Rendered], image_of: Sequence[int], side: int
) -> tuple[Tensor, Tensor]:
    """Finds the cells of each whole query: `ImageBatch.here` and `ImageBatch.same` without late interaction.

    Arguments are those of `ground_tokens`.
    """
    offsets, places = _places(rendered, side)
    here = np.zeros((len(queries), offsets[-1]), dtype=bool)
    same = np.zeros_like(here)
    for row, (i, query) in enumerate(zip(image_of, queries, strict=False)):
        for begin, end, index in query.spans:
            word = rendered[i].words[index]
            here[row, _cells(rendered[i], word, word.left, word.right, side) + offsets[i]] = True
            for cells in places[query.text[begin:end].casefold()]:
                same[row, cells] = True
    return torch.from_numpy(here), torch.from_numpy(same)


def _places(
    rendered: Sequence[Rendered], side: int
) -> tuple[npt.NDArray[np.int64], dict[str, list[npt.NDArray[np.int64]]]]:
    """The index of each picture's first cell, and the cells of every word."""
    offsets = np.cumsum([0, *[math.prod(_shape(each, side)) for each in rendered]])
    places: dict[str, list[npt.NDArray[np.int64]]] = {}
    for i, each in enumerate(rendered):
        for word in each.words:
            cells = _cells(each, word, word.left, word.right, side) + offsets[i]
            places.setdefault(bare(word.text).casefold(), []).append(cells)
    return offsets, places


def _shape(drawn: Rendered, side: int) -> tuple[int, int]:
    """Rows and columns of a picture's cells."""
    return drawn.image.shape[0] // side, drawn.image.shape[1] // side


def _cells(drawn: Rendered, word: PlacedWord, left: float, right: float, side: int) -> npt.NDArray[np.int64]:
    """The cells between two vertical lines that hold at least a fifth of a word's height.

    In a tilted picture each word is treated as level, about its middle.
    """
    shape, height = _shape(drawn, side), word.bottom - word.top
    x, y = drawn.tilted((left + right) / 2, (word.top + word.bottom) / 2)
    left, right = x - (right - left) / 2, x + (right - left) / 2
    top, bottom = y - height / 2, y + height / 2
    rows = [
        row
        for row in range(max(0, int(top // side)), min(shape[0], int(bottom // side) + 1))
        if min(bottom, (row + 1) * side) - max(top, row * side) >= 0.2 * height
    ]
    first = min(max(0, int(left // side)), shape[1] - 1)
    last = min(max(first, int((right - 0.01) // side)), shape[1] - 1)
    cells = [row * shape[1] + column for row in rows for column in range(first, last + 1)]
    return np.array(cells, dtype=np.int64)


def letter_grid(rendered: Rendered, patch: int, merge: int) -> npt.NDArray[np.int64]:
    """The letter at each of `READING_POINTS` points across the middle of each patch: `[patches, points]`.

    0 stands for no letter or one that `letters` lacks, otherwise the value is one more than the label; patches are in
    merge order.
    """
    rows, columns = rendered.image.shape[0] // patch, rendered.image.shape[1] // patch
    grid = np.zeros((rows, columns * READING_POINTS), dtype=np.int64)
    down, across = np.indices(grid.shape) + 0.5
    x, y = rendered.upright(across * patch / READING_POINTS, down * patch)
    known = letters()
    for word in rendered.words:
        numbers = np.array([known.get(letter.lower(), -1) + 1 for letter in word.text])
        edges = np.array(word.edges)
        if word.rtl:
            numbers, edges = numbers[::-1], edges[::-1]
        inside = (y >= word.top) & (y < word.bottom) & (x >= edges[0]) & (x < edges[-1])
        grid[inside] = numbers[np.searchsorted(edges, x[inside], side="right") - 1]
    cells = grid.reshape(rows // merge, merge, columns // merge, merge, READING_POINTS)
    return cells.transpose(0, 2, 1, 3, 4).reshape(-1, READING_POINTS)
