"""Late chunking: the span of tokens that each text takes in the one sequence made of all of them.

Günther et al. 2024, "Late Chunking", https://arxiv.org/abs/2409.04701.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from polylens.errors import InputError


def joined(texts: Sequence[str]) -> list[str]:
    """The texts with a blank before each that would otherwise run into the one before it.

    Example:
        >>> joined(["One.", "Two.\\n", "Three."])
        ['One.', ' Two.\\n', 'Three.']
    """
    apart = [" " if left[-1:].strip() and right[:1].strip() else "" for left, right in pairwise(texts)]
    return [space + text for space, text in zip(["", *apart], texts, strict=True)]


def chunk_spans(sizes: Sequence[int], *, start: int, limit: int) -> tuple[tuple[int, int], ...]:
    """First token of each text, and one past its last.

    Args:
        sizes: Tokens of each text.
        start: Tokens before the first of them.
        limit: Most tokens of all together, with those before.

    Raises:
        InputError: A text has no token, or together they have too many.

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
