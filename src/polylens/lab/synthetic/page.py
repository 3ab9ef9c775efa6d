"""What a made page is: a picture, and everything it says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from polylens.lab.synthetic.names import Name, spell


@dataclass(frozen=True, slots=True)
class Box:
    """A run of text where it is drawn, in pixels."""

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
    """The same for the same thing in any language."""
    language: str = ""
    """That it is printed in; "" where it is the same in all, as numbers are."""
    name: Name | None = None
    """What it is in CLDR, where it can be said in another language."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What a page says about something: the labels that lead to a value, and the value."""

    about: tuple[Term, ...]
    value: Term


@dataclass(frozen=True, slots=True)
class SyntheticPage:
    """A picture of a page, and everything it says."""

    kind: str
    language: str
    """The main one: in which it is asked about, unless it is asked about in another."""
    look: str
    """What one sees, in English: "pie chart"."""
    design: str
    """Which choices its layout drew; a design belongs to one split."""
    title: tuple[Term, ...]
    facts: tuple[Fact, ...]
    image: npt.NDArray[np.uint8]
    """`[height, width, 3]`, RGB."""
    words: tuple[str, ...]
    """As drawn, in reading order."""
    boxes: tuple[Box, ...]
    """Every run of text; of a scan as it was before it was scanned."""
    summary: Term | None = None
    """A sentence on the page that says what it is about, such as the first of a docstring."""

    def prints(self, term: Term) -> bool:
        """Whether a term stands on the page as it is spelled."""
        return any(term.text in box.text for box in self.boxes)

    @property
    def terms(self) -> tuple[Term, ...]:
        """All that the page names, each once."""
        every = [*self.title, *(term for fact in self.facts for term in (*fact.about, fact.value))]
        every += [self.summary] if self.summary else []
        return tuple({term.key: term for term in every}.values())

    @property
    def keys(self) -> frozenset[str]:
        """What the page says, in no language."""
        return frozenset(term.key for term in self.terms)


def name_term(name: Name, language: str) -> Term:
    """A name of CLDR as a term, spelled in a language that has it."""
    text = spell(name, language)
    assert text is not None, f"{language} has no name for {name.key}"
    return Term(text, name.key, language, name)


def word_term(text: str, language: str) -> Term:
    """A word or a few words of a language as a term."""
    return Term(text, f"word:{language}:{text.casefold()}", language)


def number_term(text: str) -> Term:
    """A number, a date or a code as a term."""
    return Term(text, f"number:{text}")


def is_tidy(boxes: tuple[Box, ...], width: int, height: int) -> bool:
    """Whether no run of text overlaps another or runs out of the page."""
    inside = all(b.left >= 0 and b.top >= 0 and b.right <= width and b.bottom <= height for b in boxes)
    return inside and not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
