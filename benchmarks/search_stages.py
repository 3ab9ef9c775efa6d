"""What each stage of a search contributes: dense vectors, full text, late interaction, and all of them fused.

    python benchmarks/search_stages.py [--model nano] [--pages 100] [--seed 1]

Renders pages of held-out words in held-out fonts (see held_out_pages.py). Every other page of a language is a scan,
without a text layer; the others are embedded by picture and text, as a library does, and their text is given to
LanceDB. Each page is then asked for by three to six neighbouring words of it: as they stand there, with a slip of the
keyboard in each, and with other endings. Prints a table in Markdown, with 95 % intervals from a bootstrap over the
pages (the three queries of a page are drawn together).

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
from polylens.index.full_text import count_words
from polylens.index.fusion import fuse, share
from polylens.index.search import maxsim
from polylens.index.store import FilePages, PageRow, Snapshot, Store, page_table
from polylens.runtime.embedder import Embedder
from polylens.train.data.examples import transcript
from polylens.types import Embedding
from polylens.updating import MAX_EMBEDDED_CHARS, join

LANGUAGES = ["en", "de", "fr", "es", "pl", "sv", "ru", "el"]
WIDTH = 1064  # pixels of a page, as nano was trained with
KINDS = ("as written", "with slips", "other endings")
SHOWN = 5
RRF = 60  # Cormack, Clarke and Buettcher 2009
RESAMPLES = 2_000

ENDINGS = {"ru": ("ов", "ами", "а"), "el": ("ς", "ων", "α")}
LATIN_ENDINGS = ("s", "en", "er", "a", "e")

Scores = npt.NDArray[np.float64]  # [pages]; -inf where a stage did not find one


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="nano", help="a name or a folder")
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    pages, asked = make_pages(options.pages, LANGUAGES, options.seed, WIDTH)
    scans = np.array([position // len(LANGUAGES) % 2 == 1 for position in range(len(pages))])
    texts = ["" if scan else transcript(page) for page, scan in zip(pages, scans, strict=True)]
    embedder = polylens.load(options.model)
    documents = embed_pages(embedder, [PIL.Image.fromarray(page.image) for page in pages], texts)
    rng = random.Random(options.seed)
    spoilt = [(q, slips(rng, q), endings(rng, q, p.language)) for q, p in zip(asked, pages, strict=True)]
    queries = [query for three in spoilt for query in three]

    with tempfile.TemporaryDirectory() as folder, Store.create(folder, "", len(documents[0].dense), 1) as store:
        store.commit([as_file(*page) for page in zip(range(len(pages)), texts, documents, strict=True)])
        store.compact()
        ranks = rank_all(store.snapshot(), embedder.embed(queries), queries, documents, texts)
    print_table(ranks, scans)
    print(
        f"\n{len(pages)} pages, {scans.sum()} of them scans; {embedder.model_id}; {os.cpu_count()} cores, {processor()}"
    )
    packages = ", ".join(f"{name} {version(name)}" for name in ("polylens", "lancedb"))
    print(f"{packages}, torch {torch.__version__}, Python {platform.python_version()}")


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


def rank_all(
    snapshot: Snapshot,
    asked: Sequence[Embedding],
    queries: Sequence[str],
    documents: Sequence[Embedding],
    texts: Sequence[str],
) -> dict[str, npt.NDArray[np.float64]]:
    """Mode -> rank of the page that each query was taken from, `[pages, kinds]`; inf where it was not found."""
    ranks: dict[str, list[float]] = {}
    for position, (query, embedding) in enumerate(zip(queries, asked, strict=True)):
        for mode, scores in score(snapshot, query, embedding, documents, texts).items():
            ranks.setdefault(mode, []).append(rank(scores, position // len(KINDS)))
    return {mode: np.reshape(found, (-1, len(KINDS))) for mode, found in ranks.items()}


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


def rank(scores: Scores, own: int) -> float:
    """From 1; equal scores count against it."""
    return float((scores >= scores[own]).sum()) if np.isfinite(scores[own]) else np.inf


def print_table(ranks: dict[str, npt.NDArray[np.float64]], scans: npt.NDArray[np.bool_]) -> None:
    columns = [f"{kind}, {page}" for page in ("text", "scan") for kind in KINDS]
    print(f"| ranked by | nDCG@{SHOWN} | hit@1 | " + " | ".join(columns) + " |")
    print("|---" * (3 + len(columns)) + "|")
    gained = {mode: np.where(found <= SHOWN, 1 / np.log2(found + 1), 0) for mode, found in ranks.items()}
    for mode, gains in gained.items():
        parts = [gains[rows, kind].mean() for rows in (~scans, scans) for kind in range(len(KINDS))]
        cells = [with_interval(gains), with_interval(ranks[mode] == 1), *(f"{part:.2f}" for part in parts)]
        print(f"| {mode} | " + " | ".join(cells) + " |")
    print(f"\nnDCG@{SHOWN}, fused less late, page by page: {with_interval(gained['fused'] - gained['late'])}")


def with_interval(values: npt.NDArray[np.float64] | npt.NDArray[np.bool_]) -> str:
    """The mean, and what 95 % of the resamples of the pages give."""
    pages = values.mean(axis=1)
    drawn = np.random.default_rng(0).integers(len(pages), size=(RESAMPLES, len(pages)))
    low, high = np.percentile(pages[drawn].mean(axis=1), [2.5, 97.5])
    return f"{pages.mean():.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
