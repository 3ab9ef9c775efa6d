"""Many vectors per page against one, and the unified decoder against two towers, on images of documents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from polylens.evaluate.metrics import Estimate, PerQuery, Scores, bootstrap, bootstrap_ratio, chance_ndcg, ndcg, recall
from polylens.lab.benchmarks.synthetic import K, PageTask
from polylens.lab.reproduce.claims import Claim, Section, decide, sentence_for
from polylens.lab.reproduce.material import DUAL, UNIFIED, CropVectors, PageVectors, Study
from polylens.lab.reproduce.plots import Dots

PAPER = "jina-embeddings-v4, arXiv 2506.18902, table 3"


def late_interaction(study: Study) -> Section:
    """The section on late interaction."""
    late = late_ndcg(study.tasks, study.readings[UNIFIED].pages)
    dense = dense_ndcg(study.tasks, study.readings[UNIFIED].pages)
    ways = {f"{UNIFIED}, multi-vector": late, f"{UNIFIED}, dense": dense}
    claims = [_more_than_one(study.tasks, late, dense)]
    if DUAL in study.readings:
        ways[f"{DUAL}, dense"] = dense_ndcg(study.tasks, study.readings[DUAL].pages)
        claims.append(_unified(study.tasks, dense, ways[f"{DUAL}, dense"]))
        claims.append(_unified_on_crops(study.readings[UNIFIED].crops, study.readings[DUAL].crops))
    return Section(
        title="Multi-vectors against one vector, on visual documents",
        method=f"nDCG@5 on the {len(study.tasks)} tasks of `polylens eval synthetic`, made in the manner of Jina-VDR: "
        f"{len(study.tasks[0].pages)} pages each, found by their images alone. A random order has "
        f"{_chance(study.tasks):.2f}. Recall@5 on crops.",
        claims=tuple(claims),
        plots=(
            Dots(
                title="nDCG@5 by task",
                rows=(*(task.name for task in study.tasks), "mean"),
                series={way: _by_task(study.tasks, values) for way, values in ways.items()},
                low=0.0,
                high=1.0,
            ),
        ),
    )


def late_ndcg(tasks: Sequence[PageTask], pages: Sequence[PageVectors]) -> list[PerQuery]:
    """nDCG@5 of every query of each task, by MaxSim."""
    return [_ndcg(task, found.late) for task, found in zip(tasks, pages, strict=True) if found.late is not None]


def dense_ndcg(tasks: Sequence[PageTask], pages: Sequence[PageVectors]) -> list[PerQuery]:
    """nDCG@5 of every query of each task, by the cosine of dense vectors."""
    return [_ndcg(task, found.dense) for task, found in zip(tasks, pages, strict=True)]


def mean(tasks: Sequence[PageTask], values: Sequence[PerQuery]) -> Estimate:
    """The mean over tasks."""
    return bootstrap(values, [task.about for task in tasks])


def difference(tasks: Sequence[PageTask], values: Sequence[PerQuery], others: Sequence[PerQuery]) -> Estimate:
    """The mean over tasks of the difference between two ways of scoring, query by query."""
    return mean(tasks, [one - other for one, other in zip(values, others, strict=True)])


def _more_than_one(tasks: Sequence[PageTask], late: Sequence[PerQuery], dense: Sequence[PerQuery]) -> Claim:
    ours = {"multi-vector": mean(tasks, late), "dense": mean(tasks, dense), "gain": difference(tasks, late, dense)}
    shows = decide(ours["gain"])
    relative = ""
    if ours["dense"].low > 0:
        ours["gain, relative"] = bootstrap_ratio(
            [one - other for one, other in zip(late, dense, strict=True)], dense, [task.about for task in tasks]
        )
        relative = f", by {ours['gain, relative'].mean * 100:.0f} %"
    sentence = sentence_for(
        shows,
        f"Multi-vectors find more{relative}.",
        "Multi-vectors do not find more here.",
        "The interval of the gain contains zero: the effect cannot be judged at this size.",
    )
    if shows == "yes" and relative and ours["gain, relative"].low > 0.1:
        sentence += (
            " That is more than published. The weaker the dense vectors are, the more can be gained: they reach "
            f"{ours['dense'].mean:.2f} here, a random order {_chance(tasks):.2f}."
        )
    return Claim(
        name="Many vectors per page find more than one",
        published="7-10 % better: 80.55 against 73.98 on Jina-VDR, 90.17 against 84.11 on ViDoRe",
        source="jina-embeddings-v4, its announcement; arXiv 2506.18902, table 3",
        ours=ours,
        shows=shows,
        sentence=sentence,
    )


def _unified(tasks: Sequence[PageTask], dense: Sequence[PerQuery], others: Sequence[PerQuery]) -> Claim:
    gain = difference(tasks, dense, others)
    shows = decide(gain)
    return Claim(
        name="With one vector per page, the unified decoder finds more than two towers",
        published="73.98 against jina-clip-v2's 40.52 on Jina-VDR, 84.11 against 53.61 on ViDoRe",
        source=PAPER,
        ours={UNIFIED: mean(tasks, dense), DUAL: mean(tasks, others), "difference": gain},
        shows=shows,
        sentence=sentence_for(
            shows,
            "It finds more; the two towers see only the middle of a page, shrunk to a square.",
            "It does not find more.",
            "The interval of the difference contains zero: the effect cannot be judged at this size.",
        ),
    )


def _unified_on_crops(unified: CropVectors, dual: CropVectors) -> Claim:
    """The same on small images, where neither a page's size nor the decoder's other training matters."""
    every = np.arange(len(unified.queries))
    own = np.eye(len(every), dtype=bool)
    ours, others = (recall(crops.queries @ crops.images.T, own, K) for crops in (unified, dual))
    gain = bootstrap([ours - others], [every])
    shows = decide(gain)
    return Claim(
        name="From texts to images that both models see whole, the unified decoder finds more",
        published="84.11 against jina-clip-v2's 81.12 on the CLIP benchmark, recall@5",
        source=PAPER,
        ours={UNIFIED: bootstrap([ours], [every]), DUAL: bootstrap([others], [every]), "difference": gain},
        shows=shows,
        sentence=sentence_for(
            shows,
            f"It finds more. A random order has {K / len(every):.2f}.",
            f"It does not find more. A random order has {K / len(every):.2f}.",
            "The interval of the difference contains zero: the effect cannot be judged at this size.",
        ),
    )


def _chance(tasks: Sequence[PageTask]) -> float:
    return sum(chance_ndcg(task.relevant, K) for task in tasks) / len(tasks)


def _ndcg(task: PageTask, scores: Scores) -> PerQuery:
    return ndcg(scores, task.relevant, K)


def _by_task(tasks: Sequence[PageTask], values: Sequence[PerQuery]) -> tuple[Estimate, ...]:
    each = [bootstrap([found], [task.about]) for task, found in zip(tasks, values, strict=True)]
    return (*each, mean(tasks, values))
