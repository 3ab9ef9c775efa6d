"""Pictures and texts that training never shows, each with a query that is taken from it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence

from polylens.lab.nano.data.examples import pick_query, transcript
from polylens.lab.synthetic.crops import render_crop
from polylens.lab.synthetic.rendered import Crop, Rendered

WORDS = (3, 6)  # fewest and most of a query
CROP_SIDE = 224  # pixels: what nano-clip sees of any picture, and nano of one of this size
CROP_FONT = (15.0, 28.0)  # pixels per em; both recipes have crops in it


def with_queries(
    draw: Callable[[random.Random, str], Rendered], languages: Sequence[str], seed: int | str
) -> Iterator[tuple[Rendered, str]]:
    """An endless stream of what is drawn, with a query of three to six neighbouring held-out words of each.

    Args:
        draw: Makes one of a language; it has to draw from the held-out words.
        languages: Taken in turns.
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
    """An endless stream of held-out crops, small enough for either of nano and nano-clip to read.

    Args:
        languages: Taken in turns.
        seed: Decides everything.

    Raises:
        InputError: No font for a language is installed.
    """

    def draw(rng: random.Random, language: str) -> Rendered:
        size = round(rng.uniform(*CROP_FONT), 1)
        return render_crop(rng, width=CROP_SIDE, height=CROP_SIDE, split="held_out", language=language, font_size=size)

    for drawn, query in with_queries(draw, languages, seed):
        yield Crop(drawn.image, query, transcript(drawn))
