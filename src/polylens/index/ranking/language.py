"""The language of a page's text, to filter by, from py3langid: it knows 139 languages and needs no network.

Lui & Baldwin 2012, https://aclanthology.org/P12-3005.
"""

from __future__ import annotations

from functools import cache
from typing import Any

UNTOLD = ""
"""Stored for a page whose language cannot be determined: no text, a few words, figures."""

MIN_CHARS = 16  # fewer are a name or a number more often than a sentence
MAX_CHARS = 2_000  # of a page that are read; 0.3 ms
MIN_CONFIDENCE = 0.5  # every page of the samples has 0.88 and more, a heading of two words 0.1 to 0.5

_NO_LANGUAGE = "zxx"  # as ISO 639 has it, for program code and the like


def language_of(text: str) -> str:
    """The language of a text as its ISO 639 code, or `UNTOLD` where that would be a guess.

    Args:
        text: The text of a page. Its first 2,000 characters are read; fewer than 16 do not suffice.

    Example:
        >>> language_of("Wer im Hafen arbeitet, trägt auf dem Steg eine Schwimmweste.")
        'de'
        >>> language_of("2024-0417: 12.50, 14.30, 17.00")
        ''
    """
    text = text[:MAX_CHARS].strip()
    if len(text) < MIN_CHARS:
        return UNTOLD
    code, confidence = _identifier().classify(text)
    return str(code) if confidence >= MIN_CONFIDENCE and code != _NO_LANGUAGE else UNTOLD


@cache
def _identifier() -> Any:
    """The identifier, loaded with the first text that needs it: half a second, 100 MB. Searching needs none."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
