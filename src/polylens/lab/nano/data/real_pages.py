"""Training batches of pages whose text means something: paragraphs of help pages, with queries in several languages.

A query is some of a page's words, or an English paragraph that says what one of its own says. Pages of a batch are in
one language. Held-out help pages are left out, and so is whatever evaluation asks (`streams.held_out_keys`).
"""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from polylens.errors import InputError
from polylens.lab.corpora import help_pages
from polylens.lab.corpora.streams import held_out_keys
from polylens.lab.corpora.text import key
from polylens.lab.nano.data.examples import ImageBatch, pick_query, placed_batch
from polylens.lab.nano.data.grounding import PlacedQuery
from polylens.lab.nano.kits.kit import PixelProcessor, TrainingKit
from polylens.lab.synthetic.crops import render_page
from polylens.lab.synthetic.lexicon import LANGUAGES, UNSPACED
from polylens.lab.synthetic.rendered import Rendered

_PARAGRAPHS_A_TEXT = 24
_SHOWN = 0.9  # share of a paragraph's words that a page shows of it, if an English query may ask for it
_LETTERS_A_WORD = 4  # where a script has no spaces, a text is drawn in runs of so many letters


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph, and what it says in English."""

    words: tuple[str, ...]
    english: str


def languages() -> tuple[str, ...]:
    """The languages that have help pages here and that pages can be drawn in."""
    return tuple(language for language in help_pages.installed() if language in LANGUAGES)


@functools.cache
def paragraphs(language: str) -> tuple[Paragraph, ...]:
    """The paragraphs of the training pages in order; those that evaluation asks are left out."""
    pairs = help_pages.pairs(language) if language != "en" else ()
    texts = [(pair.document, pair.query) for pair in pairs] or [(text, text) for text in help_pages.texts(language)]
    taught = (each for each in texts if not {key(part) for part in each} & held_out_keys())
    return tuple(Paragraph(tuple(_words(said, language)), english) for said, english in taught)


class Text:
    """Some paragraphs in order, as a source of a sheet's words: a paragraph at a time, again from the first at the end.

    Args:
        found: The paragraphs.
    """

    def __init__(self, found: Sequence[Paragraph]) -> None:
        self.paragraphs = found
        self._next = self._again()

    def __call__(self) -> list[str]:
        return list(next(self._next).words)

    def _again(self) -> Iterator[Paragraph]:
        while True:
            yield from self.paragraphs

    def shown(self, rendered: Rendered) -> list[Paragraph]:
        """The paragraphs that a page shows nearly whole."""
        drawn = Counter(word.text for word in rendered.words)

        def share(words: Sequence[str]) -> float:
            return sum(min(count, drawn[word]) for word, count in Counter(words).items()) / len(words)

        return [each for each in self.paragraphs if share(each.words) >= _SHOWN]


def make_real_batch(
    seed: int,
    *,
    kit: TrainingKit,
    processor: PixelProcessor,
    language: str,
    size: tuple[int, int],
    font_size: tuple[float, float],
    scans: float,
    images: int,
    queries_per_image: int,
    words: tuple[int, int],
) -> ImageBatch:
    """Makes a batch of pages of help in one language.

    Args:
        seed: Decides everything.
        kit: Of the family that is trained.
        processor: Of the model that is trained.
        language: One of `languages`.
        size: Height and width in pixels, multiples of a cell.
        font_size: Smallest and largest of the body, pixels per em.
        scans: Share of the pages that look scanned.
        images: Number of pages.
        queries_per_image: Queries per page; half of them are in English where the page shows enough of its paragraphs.
        words: Fewest and most words of a query that is some of the page's.

    Raises:
        InputError: There are no paragraphs in this language.
    """
    rng = random.Random(seed)
    every = paragraphs(language)
    if len(every) < _PARAGRAPHS_A_TEXT:
        raise InputError(
            f"language must be among {', '.join(languages())}, which have help pages here, got {language!r}"
        )
    rendered: list[Rendered] = []
    queries: list[PlacedQuery] = []
    while len(rendered) < images:
        at = rng.randrange(len(every) - _PARAGRAPHS_A_TEXT + 1)
        text = Text(every[at : at + _PARAGRAPHS_A_TEXT])
        smallest, largest = font_size
        drawn = render_page(
            rng,
            height=size[0],
            width=size[1],
            split="train",
            language=language,
            font_size=round(smallest * (largest / smallest) ** rng.random(), 1),
            scan=rng.random() < scans,
            source=text,
        )
        picked = [pick_query(rng, drawn, words=words) for _ in range(queries_per_image)]
        if None in picked:
            continue
        found = [query for query in picked if query is not None]
        shown = text.shown(drawn)
        for number in range(queries_per_image // 2 if shown else 0):
            found[number] = PlacedQuery(rng.choice(shown).english, [])
        rendered.append(drawn)
        queries += found
    image_of = [number for number in range(images) for _ in range(queries_per_image)]
    return placed_batch(queries, rendered, image_of, kit=kit, processor=processor)


def _words(text: str, language: str) -> list[str]:
    if LANGUAGES[language] not in UNSPACED:
        return text.split()
    solid = "".join(text.split())
    return [solid[at : at + _LETTERS_A_WORD] for at in range(0, len(solid), _LETTERS_A_WORD)]
