"""Pictures that say something: pages of help, whose paragraphs are known in other languages too.

Words that no picture of the training may show (`lexicon.is_held_out`) are left out of the text.
"""

from __future__ import annotations

import functools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from polylens.lab.corpora import help_pages
from polylens.lab.corpora.help_pages import HelpPage
from polylens.lab.nano.data.grounding import bare
from polylens.lab.synthetic.lexicon import LANGUAGES, LETTERS, UNSPACED, is_held_out, pieces
from polylens.lab.synthetic.rendered import Rendered
from polylens.lab.synthetic.sheet import Words

_SHOWN = 0.8  # share of a paragraph's words that a picture must show to say what the paragraph says
_ENGLISH = 0.5  # of the meanings; the others are in any further language
_MEANINGS = 12  # most of a picture
_SKIPPED = 48  # most words in a row that were given and are not noted
_LONGEST = 200  # letters of a meaning; a longer one is a paragraph, and nobody asks with a paragraph


@functools.cache
def languages() -> tuple[str, ...]:
    """The languages that have pages here and can be drawn."""
    return tuple(language for language in help_pages.installed() if language in LANGUAGES)


def render_real(rng: random.Random, language: str, render: Callable[[Words], Rendered]) -> Rendered:
    """A picture of real text, with what it says in other languages.

    Args:
        rng: Decides what it says.
        language: One of `languages()`.
        render: Draws a picture of the words it is handed.
    """
    text = _RunningText(rng, language)
    drawn = render(text)
    return replace(drawn, meanings=tuple(_meanings(rng, language, text.shown_by(drawn))))


def cut(text: str, language: str) -> list[str]:
    """The words of a text as a picture shows them, without held-out ones; short pieces in scripts without spaces.

    Example:
        >>> " ".join(cut("Saves the file.", "en"))  # "saves" is held out
        'the file.'
    """
    script = LANGUAGES[language]
    parts = text.split()
    if script in UNSPACED:
        parts = [piece for part in parts for piece in _unspaced(part, script)]
    return [part for part in parts if not bare(part) or not is_held_out(part)]


def _unspaced(text: str, script: str) -> Iterator[str]:
    """Short pieces of letters of a script, each with the signs that follow it, and runs of anything else."""
    inside = LETTERS[script]
    for letters, signs, rest in re.findall(rf"([{inside}]*)([^\w{inside}]*)([^{inside}]*)", text):
        found = list(pieces(letters, script)) if letters else []
        if found:
            found[-1] += signs
        elif signs:
            found.append(signs)
        if rest:
            found.append(rest)
        yield from found


@dataclass(slots=True)
class _RunningText:
    """The words of a page from some paragraph on, then those of further pages."""

    rng: random.Random
    language: str
    _given: list[tuple[HelpPage, str, str]] = field(default_factory=list)
    """(page, id of the paragraph, word) of every word that was given."""

    def __call__(self, count: int) -> list[str]:
        start = len(self._given)
        every = help_pages.pages(self.language, "train")
        while len(self._given) < start + count:
            page = self.rng.choice(every)
            ids = list(page.paragraphs)
            for name in ids[self.rng.randrange(len(ids)) :] if ids else []:
                self._given += [(page, name, word) for word in cut(page.paragraphs[name], self.language)]
                if len(self._given) >= start + 4 * count:
                    break
        # all that was read so far is handed out, so that the next call goes on behind it
        return [word for _, _, word in reversed(self._given[start:])]

    def shown_by(self, drawn: Rendered) -> list[tuple[HelpPage, str]]:
        """The paragraphs most of whose words a picture shows, in order."""
        shown: Counter[tuple[str, str]] = Counter()
        at = 0
        for word in drawn.words:  # a few of the given are not among them: cut by an edge, or too long for a line
            near = range(at, min(len(self._given), at + _SKIPPED))
            place = next((i for i in near if self._given[i][2] == word.text), None)
            if place is not None:
                page, name, _ = self._given[place]
                shown[page.name, name] += 1
                at = place + 1
        sizes = Counter((page.name, name) for page, name, _ in self._given)
        found = {(page.name, name): page for page, name, _ in self._given}
        return [(page, key[1]) for key, page in found.items() if shown[key] >= _SHOWN * sizes[key]]


def _meanings(rng: random.Random, language: str, shown: Sequence[tuple[HelpPage, str]]) -> Iterator[str]:
    others = [other for other in languages() if other not in (language, "en")]
    for page, name in rng.sample(shown, min(len(shown), _MEANINGS)):
        said_in = "en" if language != "en" and (rng.random() < _ENGLISH or not others) else rng.choice(others or ["en"])
        text = _by_name(said_in).get(page.name, {}).get(name, "")
        if text and text != page.paragraphs[name]:
            yield _sentence(rng, text)


@functools.cache
def _by_name(language: str) -> dict[str, dict[str, str]]:
    """Page -> id -> paragraph."""
    return {page.name: page.paragraphs for page in help_pages.pages(language, "train")}


def _sentence(rng: random.Random, text: str) -> str:
    """A text, or one of its sentences where it is long."""
    sentences = [each for each in re.split(r"(?<=[.!?。！？।])\s*", text) if each]
    chosen = text if len(text) <= _LONGEST // 2 else rng.choice(sentences or [text])
    return chosen[:_LONGEST]
