"""The effect of the KL distillation term of the joint loss, between two models that differ in nothing else."""

from __future__ import annotations

from polylens.lab.reproduce.claims import Claim, Section, decide, sentence_for
from polylens.lab.reproduce.late_interaction import dense_ndcg, difference, late_ndcg, mean
from polylens.lab.reproduce.material import UNIFIED, WITHOUT_KL, Study

PUBLISHED = (
    "no figure; the term is to compensate for differences in error distributions, as late scores have much less error"
)
SOURCE = "jina-embeddings-v4, arXiv 2506.18902, equations 5 and 6"
NAME = "Dense vectors distilled from late interaction find more"
HOW = (
    "Left out: this needs two models. `polylens train jina-v4 --data FILE --out runs/with` and the same with "
    "`--kl-weight 0 --out runs/without` make them; then `--model runs/with/1-pairs/model --without-kl "
    "runs/without/1-pairs/model`."
)


def kl_distillation(study: Study) -> Section:
    """The section on the KL distillation term."""
    return Section(
        title="What the KL distillation term adds",
        method="nDCG@5 on the pages above, of two models whose training differs only in the weight of the term.",
        claims=(_compared(study) if WITHOUT_KL in study.readings else _left_out(),),
    )


def _compared(study: Study) -> Claim:
    both = [study.readings[name].pages for name in (UNIFIED, WITHOUT_KL)]
    dense, other_dense = (dense_ndcg(study.tasks, pages) for pages in both)
    late, other_late = (late_ndcg(study.tasks, pages) for pages in both)
    gain = difference(study.tasks, dense, other_dense)
    shows = decide(gain)
    return Claim(
        name=NAME,
        published=PUBLISHED,
        source=SOURCE,
        ours={
            "dense, with": mean(study.tasks, dense),
            "dense, without": mean(study.tasks, other_dense),
            "gain": gain,
            "multi-vector, with": mean(study.tasks, late),
            "multi-vector, without": mean(study.tasks, other_late),
        },
        shows=shows,
        sentence=sentence_for(
            shows,
            "The dense vectors find more with the term.",
            "The dense vectors do not find more with the term.",
            "The interval of the gain contains zero: the effect cannot be judged at this size.",
        ),
    )


def _left_out() -> Claim:
    return Claim(name=NAME, published=PUBLISHED, source=SOURCE, ours={}, shows="left out", sentence=HOW)
