"""Held-out pictures and texts, each with a query taken from it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence

from polylens.lab.nano.data.examples import pick_query, transcript
from polylens.lab.synthetic.crops import render_crop
from polylens.lab.synthetic.rendered import Crop, Rendered

WORDS = (3, 6)  # fewest and most per query
CROP_SIDE = 224  # pixels: the size in which nano-clip sees any picture
CROP_FONT = (15.0, 28.0)  # pixels per em; crops of both recipes have such sizes


def with_queries(
    draw: Callable[[random.Random, str], Rendered], languages: Sequence[str], seed: int | str
) -> Iterator[tuple[Rendered, str]]:
    """An endless stream of drawn pictures, each with a query of three to six neighbouring held-out words.

    Args:
        draw: Draws one picture in a language, from the held-out words.
        languages: Used in turn.
        seed: Decides everything.
    """
    rng = random.Random(seed)
    for language in itertools.cycle(languages):
        query = None
        while query is None:
            drawn = draw(rng, language)
            query = pick_query(rng, drawn, words=WORDS, held_out=True)
        yield drawn, query.text


def crops(languages: Sequence[str], seed: int) -> Iterator[Crop]:
    """An endless stream of held-out crops, small enough for both nano and nano-clip to read.

    Args:
        languages: Used in turn.
        seed: Decides everything.

    Raises:
        InputError: No font for a language is installed.
    """

    def draw(rng: random.Random, language: str) -> Rendered:
        size = round(rng.uniform(*CROP_FONT), 1)
        return render_crop(rng, width=CROP_SIDE, height=CROP_SIDE, split="held_out", language=language, font_size=size)

    for drawn, query in with_queries(draw, languages, seed):
        yield Crop(drawn.image, query, transcript(drawn))
