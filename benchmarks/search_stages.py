"""What each stage of a search contributes: dense vectors, full text, late interaction, and all of them fused.

    python benchmarks/search_stages.py [--model nano] [--of words|synthetic] [--pages 100] [--seed 1]

`words` renders pages of held-out words in held-out fonts (see held_out_pages.py) and asks for each by three to six
neighbouring words of it: as they stand there, with a slip of the keyboard in each, and with other endings. `synthetic`
makes one library of the pages of `polylens eval synthetic`, as many of each task, and asks its queries.

Every other page is a scan, without a text layer (of the task "scan" all are); the others are embedded by picture and
text, as a library does, and their text is given to LanceDB. Prints a table in Markdown, with 95 % intervals from a
bootstrap over the pages (the queries about a page are drawn together).

Two rows are candidates cut short, as they are in a library of ten times as many pages as the dense vectors hand over:
what the words add by merely naming candidates for late interaction.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch

sys.path.insert(0, str(Path(__file__).parent))

from held_out_pages import make_pages

import polylens
from polylens.evaluate.machine import processor
from polylens.evaluate.metrics import PerQuery, Relevance, bootstrap, ndcg, recall
from polylens.index.ranking.full_text import count_words
from polylens.index.ranking.fusion import fuse, share
from polylens.index.ranking.late import maxsim
from polylens.index.table.schema import FilePages, PageRow, page_table
from polylens.index.table.snapshot import Snapshot
from polylens.index.table.store import Store
from polylens.lab.benchmarks.synthetic import TASKS, make_task
from polylens.lab.nano.data.examples import transcript
from polylens.lab.reproduce.claims import figure
from polylens.library.page_embedding import MAX_EMBEDDED_CHARS, join
from polylens.runtime.embedder import Embedder
from polylens.types import Embedding

LANGUAGES = ["en", "de", "fr", "es", "pl", "sv", "ru", "el"]
WIDTH = 1064  # pixels per page, as in nano's training
SHOWN = 5
RRF = 60  # Cormack, Clarke and Buettcher 2009

ENDINGS = {"ru": ("ов", "ами", "а"), "el": ("ς", "ων", "α")}
LATIN_ENDINGS = ("s", "en", "er", "a", "e")

Scores = npt.NDArray[np.float64]  # of pages, -inf where a stage did not find one; of one query or a row a query


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what is right."""

    text: str
    kind: str
    about: int  # the page it was made from
    right: frozenset[int]  # pages that answer it


@dataclass(frozen=True, slots=True)
class Material:
    """A library and what it is asked."""

    images: list[PIL.Image.Image]
    texts: list[str]  # "" of a scan
    questions: list[Question]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="nano", help="a name or a folder")
    parser.add_argument("--of", choices=("words", "synthetic"), default="words", help="kind of pages")
    parser.add_argument("--pages", type=int, default=100, help="in total, or per task of the synthetic benchmark")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    material = {"words": of_words, "synthetic": of_tasks}[options.of](options.pages, options.seed)
    embedder = polylens.load(options.model)
    documents = embed_pages(embedder, material.images, material.texts)
    queries = [question.text for question in material.questions]
    with tempfile.TemporaryDirectory() as folder, Store.create(folder, "", len(documents[0].dense), 1) as store:
        store.commit([as_file(*page) for page in zip(range(len(documents)), material.texts, documents, strict=True)])
        store.compact()
        scores = score_all(store.snapshot(), embedder.embed(queries), queries, documents, material.texts)
    print_table(scores, material)
    scans = material.texts.count("")
    print(
        f"\n{len(documents)} pages, {scans} of them scans; {embedder.model_id}; {os.cpu_count()} cores, {processor()}"
    )
    packages = ", ".join(f"{name} {version(name)}" for name in ("polylens", "lancedb"))
    print(f"{packages}, torch {torch.__version__}, Python {platform.python_version()}")


def of_words(count: int, seed: int) -> Material:
    """Pages of words, each asked for by some of its own, right and wrong."""
    pages, asked = make_pages(count, LANGUAGES, seed, WIDTH)
    texts = ["" if number // len(LANGUAGES) % 2 else transcript(page) for number, page in enumerate(pages)]
    rng = random.Random(seed)
    questions = []
    for number, (page, query) in enumerate(zip(pages, asked, strict=True)):
        where = "text" if texts[number] else "scan"
        spoilt = {"with slips": slips(rng, query), "other endings": endings(rng, query, page.language)}
        for kind, text in {"as written": query, **spoilt}.items():
            questions.append(Question(text, f"{kind}, {where}", number, frozenset({number})))
    return Material([PIL.Image.fromarray(page.image) for page in pages], texts, questions)


def of_tasks(count: int, seed: int) -> Material:
    """The pages of all tasks of the synthetic benchmark; right is every page that says all that a query names."""
    images, texts, keys, asked = [], [], [], []
    for name in TASKS:
        task = make_task(name, count, seed)
        asked += [(query, len(images) + page) for query, page in zip(task.queries, task.about.tolist(), strict=True)]
        for number, page in enumerate(task.pages):
            images.append(PIL.Image.fromarray(page.image))
            is_scan = name == "scan" or number % 2 == 1
            texts.append("" if is_scan else "\n".join(box.text for box in page.boxes))
            keys.append(page.keys)
    questions = [
        Question(
            query.text,
            f"{query.kind}, {'text' if texts[about] else 'scan'}",
            about,
            frozenset(number for number, said in enumerate(keys) if query.is_answered_by(said)),
        )
        for query, about in asked
    ]
    return Material(images, texts, questions)


def slips(rng: random.Random, query: str) -> str:
    """Each word of four letters or more with two of its letters swapped, one lost, or one replaced."""

    def slip(word: str) -> str:
        if len(word) < 4:
            return word
        at = rng.randrange(1, len(word) - 2)
        middle = rng.choice((word[at + 1] + word[at], word[at + 1], rng.choice(word) + word[at + 1]))
        return word[:at] + middle + word[at + 2 :]

    return " ".join(map(slip, query.split()))


def endings(rng: random.Random, query: str, language: str) -> str:
    """Each word of four letters or more without its last one or two, or with an ending of the language behind it."""

    def inflect(word: str) -> str:
        if len(word) < 4:
            return word
        if len(word) > 4 and rng.random() < 0.5:
            return word[: -rng.choice((1, 2))]
        return word + rng.choice(ENDINGS.get(language, LATIN_ENDINGS))

    return " ".join(map(inflect, query.split()))


def embed_pages(embedder: Embedder, images: Sequence[PIL.Image.Image], texts: Sequence[str]) -> list[Embedding]:
    """Each page by its picture, and by its text where it has one, as `Library` does it."""
    seen: list[Embedding] = []
    for start in range(0, len(images), 4):
        seen += embedder.embed(images[start : start + 4], task="retrieval", prompt_name="passage")
        if sys.stderr.isatty():
            print(f"\rembedded {len(seen)} of {len(images)} pages", end="", file=sys.stderr)
    there = [text[:MAX_EMBEDDED_CHARS] for text in texts if text]
    read = iter(embedder.embed(there, task="retrieval", prompt_name="passage"))
    joined = [join([image, next(read)]) if text else image for image, text in zip(seen, texts, strict=True)]
    return [Embedding(page.dense, page.multivector.astype(np.float16)) for page in joined]  # as it is stored


def as_file(number: int, text: str, document: Embedding) -> FilePages:
    """A page as the index takes it, its multi-vector left out: that one is compared in memory."""
    rows = page_table([PageRow(1, "pdf", text, document.dense, np.zeros((0, 1), np.float16))], len(document.dense), 1)
    return FilePages(str(number), "", 0, 0, rows)


def score_all(
    snapshot: Snapshot,
    asked: Sequence[Embedding],
    queries: Sequence[str],
    documents: Sequence[Embedding],
    texts: Sequence[str],
) -> dict[str, Scores]:
    """Mode -> score of each page for each query, `[queries, pages]`."""
    rows: dict[str, list[Scores]] = {}
    for query, embedding in zip(queries, asked, strict=True):
        for mode, scores in score(snapshot, query, embedding, documents, texts).items():
            rows.setdefault(mode, []).append(scores)
    return {mode: np.stack(found) for mode, found in rows.items()}


def score(
    snapshot: Snapshot, query: str, embedding: Embedding, documents: Sequence[Embedding], texts: Sequence[str]
) -> dict[str, Scores]:
    """Mode -> score of each page."""
    everything = len(documents)
    dense, text = np.full(everything, -np.inf), np.full(everything, -np.inf)
    for page in snapshot.dense_candidates(embedding.dense, everything):
        dense[int(page.file)] = page.dense_score
    for page in snapshot.text_candidates(query, everything):
        text[int(page.file)] = page.text_score
    late = maxsim(embedding.multivector, [page.multivector for page in documents]) / np.float32(embedding.num_tokens)
    has_words = np.isfinite(text)
    shares = share(np.where(has_words, text, 0).tolist(), count_words(query), everything)
    fused = fuse(late, shares, np.array([bool(each) for each in texts]), best_text=float(shares.max()))
    near = dense >= np.sort(dense)[-(everything // 10)]
    return {
        "dense": dense,
        "text": text,
        "late, of a tenth by dense": np.where(near, late, -np.inf),
        "late, of that and of words": np.where(near | has_words, late, -np.inf),
        "late": late.astype(np.float64),
        "ranks of late and text": reciprocal(late) + reciprocal(text),
        "fused": fused.astype(np.float64),
    }


def reciprocal(scores: Scores | npt.NDArray[np.float32]) -> Scores:
    """Reciprocal rank, as fusion by ranks adds them up; 0 where a page was not found."""
    places = np.empty(len(scores))
    places[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return np.where(np.isfinite(scores), 1 / (RRF + places), 0)


def print_table(scores: dict[str, Scores], material: Material) -> None:
    relevant: Relevance = np.zeros((len(material.questions), len(material.images)), dtype=bool)
    for row, question in enumerate(material.questions):
        relevant[row, list(question.right)] = True
    about = np.array([question.about for question in material.questions])
    kinds = np.array([question.kind for question in material.questions])
    columns = sorted(set(kinds.tolist()), key=lambda kind: (kind.endswith("scan"), kinds.tolist().index(kind)))

    def with_interval(values: PerQuery) -> str:
        return figure(bootstrap([values], [about]))

    print(f"| ranked by | nDCG@{SHOWN} | hit@1 | " + " | ".join(columns) + " |")
    print("|---" * (3 + len(columns)) + "|")
    gains = {mode: ndcg(found, relevant, SHOWN) for mode, found in scores.items()}
    for mode, found in scores.items():
        first = (recall(found, relevant, 1) > 0).astype(np.float64)
        parts = [f"{gains[mode][kinds == column].mean():.2f}" for column in columns]
        print(f"| {mode} | " + " | ".join([with_interval(gains[mode]), with_interval(first), *parts]) + " |")
    print(f"\nnDCG@{SHOWN}, fused less late, query by query: {with_interval(gains['fused'] - gains['late'])}")


if __name__ == "__main__":
    main()
