"""Training batches of pictograms: pictures of things, without text."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence

import torch

from polylens.lab.nano.data.examples import ImageBatch, draw_texts, placeless_batch
from polylens.lab.nano.kits.kit import PixelProcessor
from polylens.lab.synthetic.lexicon import LANGUAGES
from polylens.lab.synthetic.pictograms import Pictogram, flags, picture, things
from polylens.models.protocol import Item

PICTURES = 24  # per batch, in every stage: they are small
WIDTH, HEIGHT = 336, 168  # pixels per picture
MOST = 4  # pictograms per picture
QUERIES = 5  # per picture
_ASKED = ("{}", "{}", "a picture of {}", "show me {}", "{} please", "where is there {}")


def make_pictogram_batch(seed: int, *, processor: PixelProcessor, texts: int, words: tuple[int, int]) -> ImageBatch:
    """Makes a batch of pictures and texts: things with English queries, or flags with queries in all languages.

    No pictogram is on two pictures of a batch.

    Args:
        seed: Decides everything.
        processor: Of the model that is trained.
        texts: Number of further texts, each with a query.
        words: Fewest and most words of a query about a text.

    Raises:
        InputError: The font is not installed.
    """
    rng = random.Random(seed)
    shown = _drawn(rng)
    queries = [_ask(rng, each) for each in shown for _ in range(QUERIES)]
    about_texts, passages = draw_texts(rng, texts, words)
    text = functools.partial(processor.text, task=None, max_length=None)
    items = [text(query, prompt_name="query") for query in (*queries, *(query.text for query in about_texts))]
    return placeless_batch(
        items,
        [_item(rng, each, processor) for each in shown],
        [text(passage, prompt_name="passage") for passage in passages],
        image_of=[number for number in range(PICTURES) for _ in range(QUERIES)],
        passage_of=[*[None] * len(queries), *range(texts)],
    )


def _drawn(rng: random.Random) -> list[list[Pictogram]]:
    """Draws the pictograms of each picture; no pictogram is drawn twice in a batch."""
    pool = list(rng.choice((things, flags))("train"))
    rng.shuffle(pool)
    return [[pool.pop() for _ in range(rng.randint(1, MOST))] for _ in range(PICTURES)]


def _ask(rng: random.Random, shown: Sequence[Pictogram]) -> str:
    """Draws a query that names one or two of the pictograms, in a language that has names for them."""
    chosen = rng.sample(shown, min(len(shown), rng.choice((1, 1, 2))))
    common = set(LANGUAGES).intersection(*(pictogram.names for pictogram in chosen))
    if not common:
        chosen = chosen[:1]
        common = set(chosen[0].names)
    language = rng.choice(sorted(common))
    names = [pictogram.names[language] for pictogram in chosen]
    if language == "en":
        return rng.choice(_ASKED).format(" and ".join(names))
    return " ".join(names)


def _item(rng: random.Random, shown: Sequence[Pictogram], processor: PixelProcessor) -> Item:
    pixels = picture(rng, shown, width=WIDTH, height=HEIGHT)
    return processor.pixels(torch.from_numpy(pixels).permute(2, 0, 1), task=None)
