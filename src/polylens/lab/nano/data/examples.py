"""Training batches: pictures of text, queries about them, and where each query token's letters are drawn.

A batch depends on its seed alone, so a resumed run sees the same batches.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from polylens.lab.nano.data.grounding import READING_POINTS, PlacedQuery, bare, letter_grid, without_opening
from polylens.lab.nano.kits.kit import Cells, PixelProcessor, TrainingKit
from polylens.lab.synthetic.lexicon import LANGUAGES, UNSPACED, is_held_out, sample_text
from polylens.lab.synthetic.rendered import PlacedWord, Rendered
from polylens.models.protocol import Item

_FOREIGN = 0.4  # of the queries about a picture that has meanings
_NO_PIXELS = np.zeros((0, 0, 3), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Queries, and the pictures and texts they are taken from."""

    queries: list[Item]
    images: list[Item]
    passages: list[Item]
    image_of: list[int]
    """The picture that each of the first queries is about; the others are about texts."""
    passage_of: list[int | None]
    """The passage that each query is about, where there is one."""
    here: Tensor
    """`[query tokens, cells]` bool: where the token's letters are drawn. Without late interaction `[queries, cells]`:
    where the query's words are. It has no columns where that is unknown."""
    same: Tensor
    """Of the same shape: where the token's whole word, or the query's words, are drawn, here or anywhere else."""
    letters: Tensor
    """`[patches, READING_POINTS]`: see `letter_grid`; it has no rows where letters are unknown."""
    transcribed: Tensor
    """`[places, 2]`: (token of the first passages, cell) of each cell where a token of the first passages, the
    transcripts of the first pictures, is drawn. It has no rows where that is unknown."""


def pick_query(
    rng: random.Random, rendered: Rendered, *, words: tuple[int, int], held_out: bool = False
) -> PlacedQuery | None:
    """Draws neighbouring words of a picture as a query: without punctuation, often without capitals.

    Args:
        rng: Decides.
        rendered: The picture.
        words: Fewest and most words.
        held_out: Whether to take only words that training never shows.

    Returns:
        None where the picture has no such run of words.
    """
    least, most = words
    placed = rendered.words
    usable = [bool(bare(word.text)) and (not held_out or is_held_out(bare(word.text))) for word in placed]
    count = min(rng.randint(least, most), len(placed))
    starts = [i for i in range(len(placed) - count + 1) if all(usable[i : i + count])]
    if not starts or count < 1:
        return None
    start = rng.choice(starts)
    joiner = "" if LANGUAGES[rendered.language] in UNSPACED else " "
    lower = rng.random() < 0.5
    text, spans = "", []
    for index in range(start, start + count):
        word = bare(placed[index].text)
        word = word.lower() if lower else word
        text += joiner if text else ""
        spans.append((len(text), len(text) + len(word), index))
        text += word
    return PlacedQuery(text, spans)


def written(words: Sequence[str], language: str) -> Rendered:
    """A text in the form of a picture: its words in reading order, drawn nowhere."""
    return Rendered(_NO_PIXELS, [PlacedWord(word, 0, 0, 0, 0, False, ()) for word in words], language)


def transcript(rendered: Rendered) -> str:
    """All words of a picture in reading order."""
    return placed_transcript(rendered).text


def placed_transcript(rendered: Rendered) -> PlacedQuery:
    """All words of a picture in reading order, each without the punctuation around it placed where it is drawn."""
    joiner = "" if LANGUAGES[rendered.language] in UNSPACED else " "
    text, spans = "", []
    for index, word in enumerate(rendered.words):
        text += joiner if text else ""
        start = len(text) + len(word.text) - len(without_opening(word.text))
        if bare(word.text):
            spans.append((start, start + len(bare(word.text)), index))
        text += word.text
    return PlacedQuery(text, spans)


def make_batch(
    seed: int,
    *,
    kit: TrainingKit,
    processor: PixelProcessor,
    render: Callable[[random.Random], Rendered],
    images: int,
    queries_per_image: int,
    transcripts: int,
    texts: int,
    words: tuple[int, int],
) -> ImageBatch:
    """Makes a batch of pictures and texts, and queries about them.

    Args:
        seed: Decides everything.
        kit: Of the family that is trained.
        processor: Of the model that is trained.
        render: Draws one picture; its sides are multiples of a cell.
        images: Number of pictures.
        queries_per_image: Queries per picture; they cost little beside the picture itself.
        transcripts: Number of pictures whose words are also among the documents as a text.
        texts: Number of further texts, in one of all languages, each with a query.
        words: Fewest and most words per query.
    """
    rng = random.Random(seed)
    rendered: list[Rendered] = []
    queries: list[PlacedQuery] = []
    while len(rendered) < images:
        drawn = render(rng)
        picked = [pick_query(rng, drawn, words=words) for _ in range(queries_per_image)]
        if None not in picked:
            rendered.append(drawn)
            queries += _some_meanings(rng, drawn, [query for query in picked if query is not None])
    image_of = [i for i in range(images) for _ in range(queries_per_image)]
    told = [placed_transcript(each) for each in rendered[:transcripts]]
    about_texts, written_texts = draw_texts(rng, texts, words)
    queries += about_texts
    passages = [*(each.text for each in told), *written_texts]
    text = functools.partial(processor.text, task=None, max_length=None)
    items = [text(query.text, prompt_name="query") for query in queries]
    here, same = kit.ground(queries, rendered, image_of, processor, "query")
    transcribed, _ = kit.ground(told, rendered, range(transcripts), processor, "passage")
    return ImageBatch(
        queries=items,
        images=[picture_item(each, processor) for each in rendered],
        passages=[text(passage, prompt_name="passage") for passage in passages],
        image_of=image_of,
        passage_of=[*(i if i < transcripts else None for i in image_of), *range(transcripts, transcripts + texts)],
        here=here,
        same=same,
        letters=_letters(rendered, kit.cells(processor)),
        transcribed=transcribed.nonzero(),
    )


def _some_meanings(rng: random.Random, drawn: Rendered, queries: list[PlacedQuery]) -> list[PlacedQuery]:
    """Queries about a picture, a part of them in other languages than the picture's where it has meanings."""
    count = min(len(drawn.meanings), round(_FOREIGN * len(queries)))
    foreign = [PlacedQuery(text, []) for text in rng.sample(drawn.meanings, count)]
    return [*foreign, *queries[count:]]


def placeless_batch(
    queries: list[Item],
    images: list[Item],
    passages: list[Item],
    *,
    image_of: list[int],
    passage_of: list[int | None],
) -> ImageBatch:
    """A batch without places: where words and letters are drawn is unknown. Arguments are fields of `ImageBatch`."""
    nowhere = torch.zeros(sum(item.num_tokens for item in queries), 0, dtype=torch.bool)
    letters = torch.zeros(0, READING_POINTS, dtype=torch.long)
    return ImageBatch(
        queries,
        images,
        passages,
        image_of,
        passage_of,
        here=nowhere,
        same=nowhere,
        letters=letters,
        transcribed=torch.zeros(0, 2, dtype=torch.long),
    )


def draw_texts(rng: random.Random, count: int, words: tuple[int, int]) -> tuple[list[PlacedQuery], list[str]]:
    """Draws texts in one of all languages, each with a query of `words` words (fewest, most)."""
    language = rng.choice(tuple(LANGUAGES))
    queries: list[PlacedQuery] = []
    passages: list[str] = []
    while len(queries) < count:
        text_row = written(sample_text(rng, language, "train", rng.randint(8, 60)), language)
        query = pick_query(rng, text_row, words=words)
        if query is not None:
            queries.append(query)
            passages.append(transcript(text_row))
    return queries, passages


def make_reading_batch(
    seed: int,
    *,
    kit: TrainingKit,
    processor: PixelProcessor,
    render: Callable[[random.Random], Rendered],
    images: int,
) -> ImageBatch:
    """Makes a batch of pictures and their letters, without queries. Arguments are those of `make_batch`."""
    rng = random.Random(seed)
    rendered = [render(rng) for _ in range(images)]
    none = torch.zeros(0, 0, dtype=torch.bool)
    return ImageBatch(
        queries=[],
        images=[picture_item(each, processor) for each in rendered],
        passages=[],
        image_of=[],
        passage_of=[],
        here=none,
        same=none,
        letters=_letters(rendered, kit.cells(processor)),
        transcribed=torch.zeros(0, 2, dtype=torch.long),
    )


def picture_item(rendered: Rendered, processor: PixelProcessor) -> Item:
    """The model's input for a picture."""
    return processor.pixels(torch.from_numpy(rendered.image).permute(2, 0, 1), task=None)


def _letters(rendered: Sequence[Rendered], cells: Cells) -> Tensor:
    """`ImageBatch.letters` of the pictures."""
    none = np.zeros((0, READING_POINTS), dtype=np.int64)
    return torch.from_numpy(np.concatenate([none, *(letter_grid(each, cells.patch, cells.merge) for each in rendered)]))
