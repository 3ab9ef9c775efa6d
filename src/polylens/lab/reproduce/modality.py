"""The geometry of images and texts in their common space: alignment, modality gap and cone effect, on the crops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from polylens.evaluate.geometry import (
    Figures,
    Weights,
    alignment,
    centroid_distance,
    matching,
    not_matching,
    strangers,
)
from polylens.evaluate.metrics import Estimate, bootstrap_statistic
from polylens.lab.reproduce.claims import Claim, Section, Verdict, decide, sentence_for
from polylens.lab.reproduce.material import DUAL, UNIFIED, CropVectors, Study
from polylens.lab.reproduce.plots import Dots, Histograms

SPACE = "jina-embeddings-v4, arXiv 2506.18902, its analysis of the embedding space"
WITHOUT_DUAL = (
    "Left out: this needs a dual encoder to compare with. `polylens train nano-clip --out runs/nano-clip` makes one, "
    "`--dual runs/nano-clip/model` brings it in."
)
Statistic = Callable[[CropVectors, Weights], Figures]


def modality(study: Study) -> tuple[Section, ...]:
    """The sections on alignment, modality gap and cone effect."""
    crops = {name: study.readings[name].crops for name in (UNIFIED, DUAL) if name in study.readings}
    count = len(crops[UNIFIED].queries)
    on = f"{count} crops of text, held out from training in words and fonts, each with a query taken from it."
    return _alignment(crops, on), _gap(crops, on), _cone(crops, on)


def text_image(crops: CropVectors, weights: Weights) -> Figures:
    """The mean cosine of queries with their images."""
    return alignment(crops.queries, crops.images, weights)


def text_text(crops: CropVectors, weights: Weights) -> Figures:
    """The mean cosine of queries with the texts that they are taken from."""
    return alignment(crops.queries, crops.texts, weights)


def text_other_image(crops: CropVectors, weights: Weights) -> Figures:
    """The mean cosine of queries with the images of others."""
    return strangers(crops.queries, crops.images, weights)


def gap(crops: CropVectors, weights: Weights) -> Figures:
    """The difference between the mean cosine of a query with its text, and with the image of that text; at least 0."""
    return np.abs(text_text(crops, weights) - text_image(crops, weights))


def distance(crops: CropVectors, weights: Weights) -> Figures:
    """The distance between the centroid of the images and that of the same texts."""
    return centroid_distance(crops.images, crops.texts, weights)


def spread(crops: CropVectors, weights: Weights) -> Figures:
    """The mean cosine of queries with their own images, minus that with the images of others."""
    return text_image(crops, weights) - text_other_image(crops, weights)


def _alignment(crops: dict[str, CropVectors], on: str) -> Section:
    rows = {"text with its image": text_image, "text with another image": text_other_image, "text with text": text_text}
    claim = _compared(
        crops,
        text_image,
        name="A unified decoder aligns texts with their images better than two towers",
        published="mean cosine .71 against jina-clip-v2's .38 and OpenAI CLIP's .15 on Flickr30K",
        more=UNIFIED,
        words=("aligns them better", "does not align them better"),
    )
    others = {name: _estimate(text_other_image, each) for name, each in crops.items()}
    claim = replace(
        claim,
        ours={**claim.ours, **{f"{name}, strangers": estimate for name, estimate in others.items()}},
        sentence=f"{claim.sentence} Texts have with images of others already "
        + ", ".join(f"{estimate.mean:.2f} ({name})" for name, estimate in others.items())
        + ".",
    )
    return Section(
        title="Alignment of texts with their images",
        method=f"Mean cosine of matching pairs (Eslami & de Melo 2025), on {on} Read it beside "
        "the row of strangers: what they have too is no alignment.",
        claims=(claim,),
        plots=(
            Dots(
                title="mean cosine",
                rows=tuple(rows),
                series={
                    name: tuple(_estimate(statistic, each) for statistic in rows.values())
                    for name, each in crops.items()
                },
                low=-0.2,
                high=1.0,
            ),
        ),
    )


def _gap(crops: dict[str, CropVectors], on: str) -> Section:
    claims = [
        _compared(
            crops,
            statistic,
            name=name,
            published=published,
            more=DUAL,
            words=("has the smaller gap", "does not have the smaller gap"),
        )
        for name, published, statistic in (
            (
                "In a unified decoder a text is about as near to its image as to a text",
                "no figure: histograms of text-image and text-text pairs, on one another for jina-embeddings-v4, apart "
                "for the two dual encoders",
                gap,
            ),
            (
                "In a unified decoder the centroids of images and texts are nearer to one another",
                "no figure for these models; 0.82 for CLIP (Liang et al. 2022)",
                distance,
            ),
        )
    ]
    return Section(
        title="The modality gap",
        method="The same words once as picture and once as text. First: how much the mean cosine of a query with the "
        f"text and with the picture differ. Second: the distance of the two centroids (Liang et al. 2022). Where "
        f"everything lies in a narrow cone, gaps are small as well: read it beside the cone effect. On {on}",
        claims=tuple(claims),
        plots=tuple(
            Histograms(
                title=f"cosine of matching pairs, {name}",
                series={
                    "text with its image": matching(each.queries, each.images),
                    "text with text": matching(each.queries, each.texts),
                },
            )
            for name, each in crops.items()
        ),
    )


def _cone(crops: dict[str, CropVectors], on: str) -> Section:
    claim = _compared(
        crops,
        spread,
        name="A unified decoder spreads its cosines: pairs that match stand apart from pairs that do not",
        published="no figure: histograms, the widest spread and separate peaks for jina-embeddings-v4",
        more=UNIFIED,
        words=("sets them further apart", "does not set them further apart"),
    )
    cones = {
        "images among themselves": lambda each, weights: strangers(each.images, each.images, weights),
        "texts among themselves": lambda each, weights: strangers(each.texts, each.texts, weights),
        "queries among themselves": lambda each, weights: strangers(each.queries, each.queries, weights),
    }
    found = {name: tuple(_estimate(statistic, each) for statistic in cones.values()) for name, each in crops.items()}
    beside = {f"{name}, {what}": estimate for name in found for what, estimate in zip(cones, found[name], strict=True)}
    claim = replace(claim, ours={**claim.ours, **beside})
    return Section(
        title="The cone effect",
        method="Mean cosine of random pairs within a modality (Liang et al. 2022): 0 where vectors point everywhere, 1 "
        f"where all lie in one narrow cone. And how far matching pairs stand above others, on {on}",
        claims=(claim,),
        plots=(
            Dots(
                title="mean cosine of strangers",
                rows=tuple(cones),
                series=found,
                low=-0.2,
                high=1.0,
            ),
            *(
                Histograms(
                    title=f"cosine of texts with images, {name}",
                    series={
                        "its own": matching(each.queries, each.images),
                        "another": not_matching(each.queries, each.images),
                    },
                )
                for name, each in crops.items()
            ),
        ),
    )


def _compared(
    crops: dict[str, CropVectors],
    statistic: Statistic,
    *,
    name: str,
    published: str,
    more: str,
    words: tuple[str, str],
) -> Claim:
    """A claim that one model has more of something than the other.

    Args:
        crops: Vectors of the unified decoder, and of the two towers where there are any.
        statistic: What is compared.
        name: Of the claim.
        published: What the paper says.
        more: Which of the two is said to have more of it.
        words: What the unified decoder does where the claim holds, and where it does not.
    """
    ours = {each: _estimate(statistic, vectors) for each, vectors in crops.items()}
    shows: Verdict = "left out"
    sentence = WITHOUT_DUAL
    if DUAL in crops:
        first, second = crops[more], crops[DUAL if more == UNIFIED else UNIFIED]
        ours["difference"] = bootstrap_statistic(
            lambda weights: statistic(first, weights) - statistic(second, weights), len(first.queries)
        )
        shows = decide(ours["difference"])
        sentence = sentence_for(
            shows,
            f"It {words[0]}.",
            f"It {words[1]}.",
            "The interval of the difference contains zero: the effect cannot be judged at this size.",
        )
    return Claim(name=name, published=published, source=SPACE, ours=ours, shows=shows, sentence=sentence)


def _estimate(statistic: Statistic, crops: CropVectors) -> Estimate:
    return bootstrap_statistic(lambda weights: statistic(crops, weights), len(crops.queries))
