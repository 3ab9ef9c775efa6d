"""Late chunking: all texts become one sequence, and each text is a span of tokens in it.

Günther et al. 2024, "Late Chunking", https://arxiv.org/abs/2409.04701.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from polylens.errors import InputError


def joined(texts: Sequence[str]) -> list[str]:
    """Puts a blank before each text that would otherwise run into the one before it.

    Example:
        >>> joined(["One.", "Two.\\n", "Three."])
        ['One.', ' Two.\\n', 'Three.']
    """
    apart = [" " if left[-1:].strip() and right[:1].strip() else "" for left, right in pairwise(texts)]
    return [space + text for space, text in zip(["", *apart], texts, strict=True)]


def chunk_spans(sizes: Sequence[int], *, start: int, limit: int) -> tuple[tuple[int, int], ...]:
    """Returns the span of each text: its first token, and one past its last.

    Args:
        sizes: Number of tokens of each text.
        start: Number of tokens before the first text.
        limit: Largest number of tokens of all texts together, including those before.

    Raises:
        InputError: A text has no token, or all of them together have too many.

    Example:
        >>> chunk_spans([3, 2], start=1, limit=8)
        ((1, 4), (4, 6))
    """
    if 0 in sizes:
        raise InputError(f"text {list(sizes).index(0)} has no token; late chunking needs something in each text")
    total = start + sum(sizes)
    if total > limit:
        raise InputError(
            f"late chunking reads all texts as one, together they have {total} tokens, the limit is {limit}; send fewer"
        )
    spans = []
    for size in sizes:
        spans.append((start, start + size))
        start += size
    return tuple(spans)
