"""Held-out pages and queries from which a model's measure of match is fitted, and by which it is judged.

A person's library holds scans, files with a text layer and plain texts, and some of what one looks for is not in it at
all. So each page is embedded by its picture and by its text, of which a library is then given one or both, and a query
is asked in libraries that hold its answer and in libraries that do not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import PIL.Image

from polylens.evaluate.vectors import embed_side
from polylens.lab.benchmarks.synthetic import TASKS, make_task
from polylens.lab.nano.data.examples import transcript
from polylens.lab.nano.data.unseen import with_queries
from polylens.lab.nano.nano_recipe import FIRST_LANGUAGES
from polylens.lab.synthetic.crops import render_page
from polylens.lab.synthetic.rendered import Rendered
from polylens.runtime.embedder import Embedder
from polylens.types import Embedding

BODY_SIDE = (756, 1064)  # pixels of a page of body text, width and height
CROP_SHARE = (0.3, 0.6)  # of each side of a page, shown by a picture that is looked for
_BATCH = 4  # images in memory at once


@dataclass(frozen=True, slots=True)
class SeenPage:
    """A page with the vectors of its picture and of its text."""

    text: str
    picture: Embedding
    words: Embedding


@dataclass(frozen=True, slots=True)
class AskedQuery:
    """A query, by words or by a piece of a page's picture, with the pages that answer it."""

    text: str
    """"" for a picture."""
    embedding: Embedding
    answers: frozenset[int]
    """Numbers of pages of the material, the page that the query was taken from among them."""


@dataclass(frozen=True, slots=True)
class Material:
    """Pages, and queries about them."""

    pages: list[SeenPage]
    queries: list[AskedQuery]
    pictures: list[AskedQuery]

    def halves(self, seed: int) -> tuple[Material, Material]:
        """Two halves without a page in common; a query whose answers are in both is in neither.

        Args:
            seed: Decides which page is in which.
        """
        order = list(range(len(self.pages)))
        random.Random(f"match/{seed}/halves").shuffle(order)
        middle = len(order) // 2
        return self._part(sorted(order[:middle])), self._part(sorted(order[middle:]))

    def _part(self, numbers: Sequence[int]) -> Material:
        places = {number: place for place, number in enumerate(numbers)}

        def kept(queries: Sequence[AskedQuery]) -> list[AskedQuery]:
            inside = [query for query in queries if query.answers <= places.keys()]
            return [replace(query, answers=frozenset(places[each] for each in query.answers)) for query in inside]

        return Material([self.pages[number] for number in numbers], kept(self.queries), kept(self.pictures))


@dataclass(slots=True)
class _Drawn:
    image: PIL.Image.Image
    text: str


def make_material(
    embedder: Embedder, pages: int, seed: int, progress: Callable[[int], None] = lambda _: None
) -> Material:
    """Draws pages of the synthetic benchmark and of body text, and embeds them.

    Args:
        embedder: The model; it must take texts and images.
        pages: Pages of each of the seven kinds of the benchmark, and half as many more of body text for each two kinds.
        seed: Decides everything.
        progress: Called with the number of pages of each batch.

    Raises:
        InputError: The fonts are not installed.
    """
    drawn, texts, answers = _draw(pages, seed)
    rng = random.Random(f"match/{seed}/crops")
    crops = [_crop(rng, each.image) for each in drawn]
    seen = []
    for start in range(0, len(drawn), _BATCH):
        batch = drawn[start : start + _BATCH]
        pictures = embed_side(embedder, [each.image for each in batch], "passage")
        words = embed_side(embedder, [each.text for each in batch], "passage")
        seen += [SeenPage(each.text, *both) for each, *both in zip(batch, pictures, words, strict=True)]
        progress(len(batch))
    asked = embed_side(embedder, texts, "query")
    looked_for = [one for crop in crops for one in embed_side(embedder, [crop], "query")]
    return Material(
        seen,
        [AskedQuery(*each) for each in zip(texts, asked, answers, strict=True)],
        [AskedQuery("", each, frozenset({number})) for number, each in enumerate(looked_for)],
    )


def num_pages(pages: int) -> int:
    """The pages that `make_material` draws for its argument."""
    return pages * len(TASKS) + _num_body(pages)


def _num_body(pages: int) -> int:
    return pages * len(TASKS) // 2


def _draw(pages: int, seed: int) -> tuple[list[_Drawn], list[str], list[frozenset[int]]]:
    """The pages, and the texts of the queries with their answers."""
    drawn: list[_Drawn] = []
    texts: list[str] = []
    answers: list[frozenset[int]] = []
    for name in TASKS:
        task = make_task(name, pages, seed)
        texts += [query.text for query in task.queries]
        answers += [frozenset((row.nonzero()[0] + len(drawn)).tolist()) for row in task.relevant]
        drawn += [_Drawn(PIL.Image.fromarray(each.image), " ".join(each.words)) for each in task.pages]
    for rendered, query in _body(seed, _num_body(pages)):
        texts.append(query)
        answers.append(frozenset({len(drawn)}))
        drawn.append(_Drawn(PIL.Image.fromarray(rendered.image), transcript(rendered)))
    return drawn, texts, answers


def _body(seed: int, count: int) -> Iterator[tuple[Rendered, str]]:
    width, height = BODY_SIDE

    def draw(rng: random.Random, language: str) -> Rendered:
        return render_page(rng, width=width, height=height, split="held_out", language=language)

    languages: Sequence[str] = tuple(dict.fromkeys(FIRST_LANGUAGES))
    for _, each in zip(range(count), with_queries(draw, languages, f"match/{seed}"), strict=False):
        yield each


def _crop(rng: random.Random, image: PIL.Image.Image) -> PIL.Image.Image:
    """A piece of a picture, as one that is cut out on a screen."""
    width, height = (round(side * rng.uniform(*CROP_SHARE)) for side in image.size)
    left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))
