"""Training batches of documents: tables, charts, forms, scans, pages in many scripts, and queries about them.

The pictures of `examples` have words without meaning and known places of letters. These pages say something, and their
queries are phrased as people phrase them. A query names what only one page of the batch says.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from polylens.lab.nano.data.examples import ImageBatch, draw_texts, placeless_batch
from polylens.lab.nano.kits.kit import PixelProcessor, TrainingKit
from polylens.lab.synthetic.page import SyntheticPage
from polylens.lab.synthetic.pages import alike
from polylens.lab.synthetic.queries import KINDS, Query, ask
from polylens.models.protocol import Item

_SHARES = {
    "table": 2,
    "chart": 2,
    "invoice": 2,
    "slide": 2,
    "code": 2,
    "report": 1,
    "form": 1,
    "receipt": 1,
    "scan": 3,
    "multilingual": 5,  # half of the scripts are on no other kind
}
_SMALLEST = 0.7  # of a page's size


def make_document_batch(
    seed: int,
    *,
    kit: TrainingKit,
    processor: PixelProcessor,
    images: int,
    queries_per_image: int,
    texts: int,
    words: tuple[int, int],
) -> ImageBatch:
    """Makes a batch of pages of one kind in one language, and texts.

    Args:
        seed: Decides everything.
        kit: Of the family that is trained; it takes pictures of any size.
        processor: Of the model that is trained.
        images: Number of pages.
        queries_per_image: Queries per page.
        texts: Number of further texts, in one of all languages, each with a query.
        words: Fewest and most words of a query about a text.
    """
    assert kit.takes_any_size
    rng, side = random.Random(seed), kit.cells(processor).side
    kind = rng.choices(list(_SHARES), weights=list(_SHARES.values()))[0]
    pages = alike(rng, kind, "train", images)
    queries = [ask_for(rng, pages, number) for number in range(images) for _ in range(queries_per_image)]
    text_queries, passages = draw_texts(rng, texts, words)
    wanted = [*(query.text for query in queries), *(query.text for query in text_queries)]
    items = [processor.text(text, task=None, max_length=None, prompt_name="query") for text in wanted]
    return placeless_batch(
        items,
        [_item(rng, page, side, processor) for page in pages],
        [processor.text(text, task=None, max_length=None, prompt_name="passage") for text in passages],
        image_of=[number for number in range(images) for _ in range(queries_per_image)],
        passage_of=[*[None] * len(queries), *range(texts)],
    )


def ask_for(rng: random.Random, pages: Sequence[SyntheticPage], number: int) -> Query:
    """Draws a query of any kind that page `number` answers and no other page does."""
    others = [page.keys for other, page in enumerate(pages) if other != number]
    while True:
        query = ask(rng, pages[number], rng.choice(KINDS), "train")
        if query and not any(map(query.is_answered_by, others)):
            return query


def _item(rng: random.Random, page: SyntheticPage, side: int, processor: PixelProcessor) -> Item:
    """The model's input for a page, at a random size in whole cells at which its small print is still legible."""
    scale = rng.uniform(_SMALLEST, 1.0)
    height, width = (max(side, round(pixels * scale / side) * side) for pixels in page.image.shape[:2])
    image = Image.fromarray(page.image).resize((width, height), Image.Resampling.BICUBIC)
    return processor.pixels(torch.from_numpy(np.array(image)).permute(2, 0, 1), task=None)
