"""The benchmarks on text pairs: translations of sentences, and functions of docstrings."""

from __future__ import annotations

import random
import re

from polylens.errors import InputError
from polylens.evaluate.metrics import chance_ndcg, ndcg, recall
from polylens.lab.benchmarks.texts import Suite
from polylens.lab.corpora import catalogues, functions
from polylens.lab.corpora.text import TextPair

MOST_PER_MODULE = 20  # functions: some modules have hundreds that are nearly alike
RECALL_AT, NDCG_AT = 5, 10

_TWENTY = (
    *("de", "fr", "es", "it", "pt", "nl", "pl", "cs", "sv", "hu", "ro", "tr", "id", "vi"),
    *("ru", "uk", "el", "ja", "ko", "zh"),
)
_CODE_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def translations(language: str, count: int, seed: int) -> tuple[TextPair, ...]:
    """Draws held-out English sentences, each with its translation.

    Raises:
        InputError: This machine has too few; the message names packages with more.
    """
    pairs = catalogues.pairs(language, "held_out")
    if len(pairs) < count:
        missing = catalogues.missing_packages(language)
        more = f"; apt-get install {' '.join(missing)} brings more, where translations are installed" if missing else ""
        raise InputError(
            f"{language} needs {count:,} held-out sentences, and this machine's message catalogues have {len(pairs):,}"
            f"{more}; or choose fewer --candidates or other --tasks"
        )
    return tuple(random.Random(f"{language}/{seed}").sample(pairs, count))


def functions_of_the_standard_library(name: str, count: int, seed: int) -> tuple[TextPair, ...]:
    """Draws docstrings of held-out modules, each with its function; from no module more than `MOST_PER_MODULE`.

    Args:
        name: Of the task; there is only one.
        count: Number of pairs.
        seed: Decides which pairs.

    Raises:
        InputError: This Python has too few, or lacks the source of its library.
    """
    rng = random.Random(f"{name}/{seed}")
    modules = functions.by_module("held_out").values()
    pairs = [pair for found in modules for pair in rng.sample(found, min(len(found), MOST_PER_MODULE))]
    if len(pairs) < count:
        raise InputError(
            f"functions needs {count:,} held-out functions with docstrings, and this Python's library has "
            f"{len(pairs):,}; choose fewer --candidates, or a Python that has the source of its library"
        )
    return tuple(rng.sample(pairs, count))


def code_words(text: str) -> list[str]:
    """The words that names are made of.

    Example:
        >>> code_words("def readLine(self, max_size=10):")
        ['def', 'read', 'Line', 'self', 'max', 'size', '10']
    """
    return _CODE_WORD.findall(text)


LANGUAGES = Suite(
    name="languages",
    unit="language",
    tasks=_TWENTY,
    others=tuple(sorted(catalogues.LANGUAGES.keys() - set(_TWENTY))),
    candidates=1000,
    metric=f"recall@{RECALL_AT}",
    judge=lambda scores, relevant: recall(scores, relevant, RECALL_AT),
    chance=lambda relevant: min(RECALL_AT, relevant.shape[1]) / relevant.shape[1],
    adapter="retrieval",
    words=str.split,
    draw=translations,
)
"""English sentences search for their translations. The twenty are the languages that both halves have the most of, in
several alphabets."""

FUNCTIONS = Suite(
    name="functions",
    unit="library",
    tasks=("python",),
    others=(),
    candidates=500,
    metric=f"nDCG@{NDCG_AT}",
    judge=lambda scores, relevant: ndcg(scores, relevant, NDCG_AT),
    chance=lambda relevant: chance_ndcg(relevant, NDCG_AT),
    adapter="code",
    words=code_words,
    draw=functions_of_the_standard_library,
)
"""First sentences of docstrings search for their functions."""

SUITES = {suite.name: suite for suite in (LANGUAGES, FUNCTIONS)}
