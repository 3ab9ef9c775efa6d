"""How well a text was read: the character error rate, and the share of words that were found."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

import numpy as np


def character_error_rate(truth: str, read: str) -> float:
    """Returns the edit distance of two texts by the length of the true one, without blanks and by NFKC.

    Levenshtein 1966; the fewest insertions, deletions and substitutions, so it may exceed 1.

    Args:
        truth: What is written.
        read: What was read, in the same order.

    Example:
        >>> character_error_rate("harbour", "har bcur")
        0.14285714285714285
    """
    wanted, found = _bare(truth), _bare(read)
    if not wanted:
        return float(bool(found))
    codes = np.array([ord(char) for char in found], dtype=np.int64)
    places = np.arange(len(codes) + 1)
    row = places
    for number, char in enumerate(wanted, start=1):
        best = np.minimum(row[1:] + 1, row[:-1] + (codes != ord(char)))  # a deletion, or a letter for a letter
        best = np.concatenate([[number], best])
        row = np.minimum.accumulate(best - places) + places  # and insertions, from left to right
    return float(row[-1]) / len(wanted)


def words_found(truth: str, read: str) -> float:
    """Returns the share of the true words that were read, whatever their order: what a search by words can find.

    Example:
        >>> words_found("ships leave the harbour", "The ships leove harbour,")
        0.75
    """
    wanted, found = _words(truth), _words(read)
    return sum((wanted & found).values()) / max(1, sum(wanted.values()))


def _bare(text: str) -> str:
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text))


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))
