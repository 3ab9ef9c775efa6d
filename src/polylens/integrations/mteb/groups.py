"""The benchmarks of the papers as groups of mteb's tasks, with what was published about two models.

Sources: the technical report of jina-embeddings-v4 (arXiv 2506.18902), its table 3 and the tables A3, A8, A13, A14 and
A16; the release post and the report of jina-clip-v2 (arXiv 2412.08802); mteb's results repository as of 2026-08-20. A
figure is given only where the task is the same and the metric has the same definition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import mteb

from polylens.errors import InputError

V4 = "jina-embeddings-v4"
V4_LATE = "jina-embeddings-v4, multi-vector"
CLIP = "jina-clip-v2"


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Some of mteb's tasks, under one name."""

    title: str
    benchmark: str | None = None
    """mteb's name of a benchmark; None where the tasks are listed."""
    tasks: tuple[str, ...] = ()
    kind: str | None = None
    """Of the benchmark's tasks, those of this type; None is all."""
    metric: str | None = None
    """What is published, if it is not each task's main score."""
    means: dict[str, float] = field(default_factory=dict)
    """Model -> its published mean, in per cent."""
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    """Task -> model -> its published score, in per cent."""
    source: str = ""


def _by_task(names: Sequence[str], **models: Sequence[float]) -> dict[str, dict[str, float]]:
    titles = {"v4": V4, "late": V4_LATE, "clip": CLIP}
    return {
        name: {titles[model]: values[place] for model, values in models.items()} for place, name in enumerate(names)
    }


_VIDORE = tuple(
    f"Vidore{name}Retrieval"
    for name in (
        "ArxivQA",
        "DocVQA",
        "InfoVQA",
        "ShiftProject",
        "SyntheticDocQAAI",
        "SyntheticDocQAEnergy",
        "SyntheticDocQAGovernmentReports",
        "SyntheticDocQAHealthcareIndustry",
        "Tabfquad",
        "Tatdqa",
    )
)
_LONG = (
    "LEMBNarrativeQARetrieval",
    "LEMBNeedleRetrieval",
    "LEMBPasskeyRetrieval",
    "LEMBQMSumRetrieval",
    "LEMBSummScreenFDRetrieval",
    "LEMBWikimQARetrieval",
)
_STS = ("BIOSSES", "SICK-R", "STS12", "STS13", "STS14", "STS15", "STS17", "STS22.v2", "STSBenchmark")
_COIR = (
    "AppsRetrieval",
    "COIRCodeSearchNetRetrieval",
    "CodeFeedbackMT",
    "CodeFeedbackST",
    "CodeSearchNetCCRetrieval",
    "CodeTransOceanContest",
    "CodeTransOceanDL",
    "CosQA",
    "StackOverflowQA",
    "SyntheticText2SQL",
)

GROUPS: dict[str, Group] = {
    "jina-vdr": Group(
        title="Jina-VDR",
        benchmark="JinaVDR",
        means={V4: 73.98, V4_LATE: 80.55, CLIP: 40.52},
        source="report of jina-embeddings-v4, table 3",
    ),
    "vidore-v1": Group(
        title="ViDoRe v1",
        benchmark="ViDoRe(v1)",
        means={V4: 84.11, V4_LATE: 90.17, CLIP: 53.61},
        scores=_by_task(
            _VIDORE,
            v4=(83.57, 50.54, 87.85, 84.07, 97.16, 91.66, 91.48, 94.92, 94.48, 65.35),
            late=(88.95, 59.98, 93.57, 92.35, 99.26, 96.76, 96.95, 98.39, 95.13, 80.34),
            clip=(68.33, 27.62, 60.60, 34.12, 66.55, 64.69, 67.47, 68.38, 46.89, 31.43),
        ),
        source="report of jina-embeddings-v4, tables 3 and A3",
    ),
    "vidore-v2": Group(
        title="ViDoRe v2",
        benchmark="ViDoRe(v2)",
        means={V4_LATE: 58.23, CLIP: 26.94},
        source="mteb's results, 2026-08-20",
    ),
    "vidore-v3": Group(
        title="ViDoRe v3",
        benchmark="ViDoRe(v3)",
        means={V4_LATE: 49.61},
        source="mteb's results, 2026-08-20: the eight public tasks, without Nuclear and Telecom",
    ),
    "image-text": Group(
        title="Images and captions (MIEB)",
        tasks=(
            "Flickr30kI2TRetrieval",
            "Flickr30kT2IRetrieval",
            "MSCOCOI2TRetrieval",
            "MSCOCOT2IRetrieval",
            "XFlickr30kCoT2IRetrieval",
            "XM3600T2IRetrieval",
        ),
        metric="hit_rate_at_5",
        scores={
            "Flickr30kI2TRetrieval": {CLIP: 98.0},
            "Flickr30kT2IRetrieval": {CLIP: 89.84, V4: 91.36},
            "MSCOCOI2TRetrieval": {CLIP: 81.46},
            "MSCOCOT2IRetrieval": {CLIP: 68.35, V4: 76.18},
            "XM3600T2IRetrieval": {CLIP: 81.43, V4: 79.42},
        },
        source="report of jina-clip-v2; report of jina-embeddings-v4, table A8: recall@5 as CLIP's papers count it",
    ),
    "mmteb": Group(title="MMTEB", benchmark="MTEB(Multilingual, v2)"),
    "mmteb-retrieval": Group(
        title="MMTEB, retrieval",
        benchmark="MTEB(Multilingual, v2)",
        kind="Retrieval",
        means={V4: 66.49},
        source="report of jina-embeddings-v4, table 3",
    ),
    "mteb-en": Group(title="MTEB English", benchmark="MTEB(eng, v2)"),
    "mteb-en-retrieval": Group(
        title="MTEB English, retrieval",
        benchmark="MTEB(eng, v2)",
        kind="Retrieval",
        means={V4: 55.97},
        source="report of jina-embeddings-v4, table 3",
    ),
    "sts": Group(
        title="STS English",
        tasks=_STS,
        means={V4: 85.89},
        scores=_by_task(_STS, v4=(89.21, 89.23, 83.50, 88.61, 84.77, 89.69, 88.71, 70.71, 88.58)),
        source="report of jina-embeddings-v4, table A14",
    ),
    "sts-multilingual": Group(
        title="STS multilingual",
        benchmark="MTEB(Multilingual, v2)",
        kind="STS",
        means={V4: 72.70},
        source="report of jina-embeddings-v4, table 3",
    ),
    "coir": Group(
        title="CoIR",
        benchmark="CoIR",
        means={V4: 71.59},
        scores=_by_task(_COIR, v4=(76.08, 84.05, 70.60, 85.06, 83.69, 89.34, 44.19, 31.48, 93.45, 70.45)),
        source="report of jina-embeddings-v4, tables 3 and A16; its mean leaves COIRCodeSearchNetRetrieval out",
    ),
    "code": Group(title="MTEB code", benchmark="MTEB(Code, v1)"),
    "long": Group(
        title="LongEmbed",
        benchmark="LongEmbed",
        means={V4: 67.11},
        scores=_by_task(_LONG, v4=(57.52, 51.75, 65.50, 46.49, 96.30, 85.08)),
        source="report of jina-embeddings-v4, table A13",
    ),
}
"""The groups by the names that `polylens eval mteb --tasks` takes."""


def tasks_of(names: Sequence[str]) -> dict[str, list[Any]]:
    """The tasks that names stand for.

    Args:
        names: Each the name of one of `GROUPS`, of a benchmark of mteb, or of a task of mteb.

    Returns:
        Title -> tasks, in the order of the names; single tasks stand together under "tasks".

    Raises:
        InputError: There is no such name.
    """
    found: dict[str, list[Any]] = {}
    for name in names:
        if name in GROUPS:
            found[name] = _group_tasks(GROUPS[name])
        elif (benchmark := _known(mteb.get_benchmark, name)) is not None:
            found[name] = list(benchmark.tasks)
        elif (task := _known(mteb.get_task, name)) is not None:
            found.setdefault("tasks", []).append(task)
        else:
            raise InputError(
                f"--tasks must be some of {', '.join(GROUPS)}, or names of mteb's benchmarks or tasks, got {name!r}"
            )
    return found


def _group_tasks(group: Group) -> list[Any]:
    tasks = mteb.get_benchmark(group.benchmark).tasks if group.benchmark else mteb.get_tasks(tasks=list(group.tasks))
    return [task for task in tasks if group.kind in (None, task.metadata.type)]


def _known(get: Callable[[str], Any], name: str) -> Any:
    """What mteb has under a name; None where it has nothing. It says so by KeyError, with a guess at what was meant."""
    try:
        return get(name)
    except (KeyError, ValueError):
        return None
