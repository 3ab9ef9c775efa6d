"""A synthetic page: its image, and everything that it says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from polylens.lab.synthetic.names import Name, spell


@dataclass(frozen=True, slots=True)
class Box:
    """A run of text and where it is drawn, in pixels."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box, slack: float = 1.0) -> bool:
        """Whether two boxes share more than a rim of `slack` pixels."""
        return (
            min(self.right, other.right) - max(self.left, other.left) > slack
            and min(self.bottom, other.bottom) - max(self.top, other.top) > slack
        )


@dataclass(frozen=True, slots=True)
class Term:
    """Something a page names: a country, a year, what is measured, an amount."""

    text: str
    """As printed."""
    key: str
    """The identity of the thing, the same in any language."""
    language: str = ""
    """The language it is printed in; "" for numbers, which are the same in all languages."""
    name: Name | None = None
    """Its name in CLDR, where it can be said in another language."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement of a page: the labels that lead to a value, and the value."""

    about: tuple[Term, ...]
    value: Term


@dataclass(frozen=True, slots=True)
class SyntheticPage:
    """The image of a page, and everything that it says."""

    kind: str
    language: str
    """The main language, which is also that of most queries about the page."""
    look: str
    """What one sees, in English, such as "pie chart"."""
    design: str
    """The choices that its layout drew; a design belongs to one split."""
    title: tuple[Term, ...]
    facts: tuple[Fact, ...]
    image: npt.NDArray[np.uint8]
    """`[height, width, 3]`, RGB."""
    words: tuple[str, ...]
    """As drawn, in reading order."""
    boxes: tuple[Box, ...]
    """Every run of text; for a scan, before it was scanned."""
    summary: Term | None = None
    """A sentence on the page that summarises it, such as the first sentence of a docstring."""

    def prints(self, term: Term) -> bool:
        """Whether a term is printed on the page in its own spelling."""
        return any(term.text in box.text for box in self.boxes)

    @property
    def terms(self) -> tuple[Term, ...]:
        """Everything that the page names, without duplicates."""
        every = [*self.title, *(term for fact in self.facts for term in (*fact.about, fact.value))]
        every += [self.summary] if self.summary else []
        return tuple({term.key: term for term in every}.values())

    @property
    def keys(self) -> frozenset[str]:
        """The keys of all terms: what the page says, independent of language."""
        return frozenset(term.key for term in self.terms)


def name_term(name: Name, language: str) -> Term:
    """The term for a name of CLDR, spelled in a language that has it."""
    text = spell(name, language)
    assert text is not None, f"{language} has no name for {name.key}"
    return Term(text, name.key, language, name)


def word_term(text: str, language: str) -> Term:
    """The term for a word or a few words of a language."""
    return Term(text, f"word:{language}:{text.casefold()}", language)


def number_term(text: str) -> Term:
    """The term for a number, a date or a code."""
    return Term(text, f"number:{text}")


def is_tidy(boxes: tuple[Box, ...], width: int, height: int) -> bool:
    """Whether no run of text overlaps another or leaves the page."""
    inside = all(b.left >= 0 and b.top >= 0 and b.right <= width and b.bottom <= height for b in boxes)
    return inside and not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
