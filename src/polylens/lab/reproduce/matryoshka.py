"""The share of nDCG that truncated dense vectors keep: on texts, on images, and between the two.

Shapes: Q queries, D documents, E embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polylens.evaluate.metrics import Estimate, PerQuery, Relevance, bootstrap, bootstrap_ratio, chance_ndcg, ndcg
from polylens.lab.benchmarks.synthetic import K, PageTask
from polylens.lab.reproduce.claims import Claim, Section, decide, sentence_for
from polylens.lab.reproduce.material import DUAL, UNIFIED, Reading, Study
from polylens.lab.reproduce.plots import Lines
from polylens.types import FloatArray

CUTS = (1, 2, 4, 8, 16)  # divisors of the width: all of it, a half, ...
SOURCE = "jina-clip-v2, its announcement"
QUARTER = {
    "text": "over 99 %",
    "text to image": "over 99 %; 67.43 of 68.35 on COCO (arXiv 2412.08802, table 23)",
    "image to text": "over 99 %; 80.70 of 81.46 on COCO (arXiv 2412.08802, table 23)",
    "image": "over 99 %",
}
SIXTEENTH = {"text to image": 0.90, "image to text": 0.93}
"""The published share of each search."""


@dataclass(frozen=True, slots=True)
class Search:
    """Vectors that search for others."""

    queries: FloatArray
    """`[Q, E]`, unit rows."""
    documents: FloatArray
    """`[D, E]`, unit rows."""
    relevant: Relevance
    """`[Q, D]`"""
    itself: bool = False
    """Whether both sides are the same, so that each vector's match with itself is left out."""

    def ndcg(self, dim: int) -> PerQuery:
        """nDCG@5 of each query by the first `dim` components, `[Q]`."""
        scores = cut(self.queries, dim) @ cut(self.documents, dim).T
        if self.itself:
            others = ~np.eye(len(scores), dtype=bool)
            shape = (len(scores), len(scores) - 1)
            return ndcg(scores[others].reshape(shape), self.relevant[others].reshape(shape), K)
        return ndcg(scores, self.relevant, K)

    @property
    def chance(self) -> float:
        """nDCG@5 of a random order."""
        return chance_ndcg(self.relevant, K)


@dataclass(frozen=True, slots=True)
class Curve:
    """The share of its nDCG@5 that a search keeps at each width."""

    dims: tuple[int, ...]
    """From the whole width down."""
    kept: tuple[Estimate, ...]
    full: Estimate
    """nDCG@5 at the whole width."""
    chance: float

    @property
    def finds(self) -> bool:
        """Whether the whole vectors find more than a random order, so that there is something to keep."""
        return self.full.low > self.chance


def matryoshka(study: Study) -> Section:
    """The section on Matryoshka vectors."""
    models = [name for name in (UNIFIED, DUAL) if name in study.readings]
    curves = {model: curves_of(study.tasks, study.readings[model]) for model in models}
    claims = [
        claim
        for model in models
        for claim in (
            *(_quarter(model, search, curve) for search, curve in curves[model].items()),
            *(_sixteenth(model, search, curves[model][search]) for search in SIXTEENTH),
        )
    ]
    return Section(
        title="Truncated vectors (Matryoshka)",
        method="Share of nDCG@5 that is kept when vectors are cut and brought back to unit length. Text: a query finds "
        "the text that it is taken from. Text to image: it finds the picture of that text; image to text: the picture "
        "finds the text. Image: a page's picture finds pictures of pages of its kind, the nearest to the published "
        "classification of pictures.",
        claims=tuple(claims),
        plots=tuple(
            Lines(
                title=f"share of nDCG@5 kept, {model}, by width",
                dims=next(iter(curves[model].values())).dims,
                trained=study.readings[model].matryoshka_dims,
                series={
                    search: tuple(each.mean for each in curve.kept)
                    for search, curve in curves[model].items()
                    if curve.finds
                },
            )
            for model in models
        ),
    )


def cut(vectors: FloatArray, dim: int) -> FloatArray:
    """The first components of each vector, normalised again.

    Kusupati et al. 2022, https://arxiv.org/abs/2205.13147.

    Args:
        vectors: `[N, E]`.
        dim: Number of components that are kept, at most E.

    Example:
        >>> cut(np.array([[0.6, 0.0, 0.8]], dtype=np.float32), 2)
        array([[1., 0.]], dtype=float32)
    """
    kept = vectors[:, :dim]
    return kept / np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), 1e-12)


def curves_of(tasks: Sequence[PageTask], reading: Reading) -> dict[str, Curve]:
    """The curve of each search: within texts, within images, and between the two."""
    crops = reading.crops
    own = np.eye(len(crops.queries), dtype=bool)
    pages = np.concatenate([each.pages for each in reading.pages])
    kind = np.repeat(np.arange(len(tasks)), [len(task.pages) for task in tasks])
    searches = {
        "text": Search(crops.queries, crops.texts, own),
        "text to image": Search(crops.queries, crops.images, own),
        "image to text": Search(crops.images, crops.texts, own),
        "image": Search(pages, pages, kind[:, None] == kind[None, :], itself=True),
    }
    return {name: curve(search) for name, search in searches.items()}


def curve(search: Search) -> Curve:
    """The curve of a search over the widths of `CUTS`."""
    width = search.queries.shape[1]
    dims = tuple(width // part for part in CUTS)
    every = np.arange(len(search.queries))
    whole = search.ndcg(width)
    full = bootstrap([whole], [every])
    if full.low <= 0:
        return Curve(dims, (Estimate(1.0, 1.0, 1.0),) * len(dims), full, search.chance)
    kept = tuple(bootstrap_ratio([search.ndcg(dim)], [whole], [every]) for dim in dims)
    return Curve(dims, kept, full, search.chance)


def _quarter(model: str, search: str, found: Curve) -> Claim:
    return _keeps(
        f"{model}, {search}: a quarter of the components keeps over 99 %",
        QUARTER[search],
        found,
        CUTS.index(4),
        0.99,
    )


def _sixteenth(model: str, search: str, found: Curve) -> Claim:
    bar = SIXTEENTH[search]
    return _keeps(
        f"{model}, {search}: a sixteenth of the components keeps {_percent(bar)}",
        f"{_percent(bar)} at 64 of 1024",
        found,
        CUTS.index(16),
        bar,
    )


def _keeps(name: str, published: str, found: Curve, at: int, bar: float) -> Claim:
    full, kept, dim = found.full, found.kept[at], found.dims[at]
    if not found.finds:
        return Claim(
            name=name,
            published=published,
            source=SOURCE,
            ours={"nDCG@5, whole": full},
            shows="unclear",
            sentence=f"The whole vectors do not find more than a random order ({found.chance:.3f}), so there is "
            "nothing to keep.",
        )
    shows = decide(kept, bar)
    return Claim(
        name=name,
        published=published,
        source=SOURCE,
        ours={f"kept at {dim} of {found.dims[0]}": kept, "nDCG@5, whole": full},
        shows=shows,
        sentence=sentence_for(
            shows,
            f"{_percent(kept.mean)} is kept.",
            f"Only {_percent(kept.mean)} is kept.",
            f"{_percent(kept.mean)} is kept; the interval contains {_percent(bar)}, so more pages are needed to tell.",
        ),
    )


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"
