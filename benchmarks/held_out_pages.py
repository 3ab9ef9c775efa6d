"""How well a model finds rendered pages whose words and fonts training never showed.

    python benchmarks/held_out_pages.py [--model nano] [--pages 500] [--languages en,de,...] [--pool 2,3] [--json FILE]

Renders pages of held-out words in held-out families of fonts (`polylens.lab.synthetic`: the split is by hash and by
family, and tests hold it), asks one query of three to six neighbouring held-out words from each, and ranks all pages by
MaxSim and by the cosine of the dense vectors, from their pictures alone. Needs the fonts that `.ci/run` installs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

import polylens
from polylens.evaluate.machine import processor
from polylens.index.ranking.pooling import pool_tokens
from polylens.lab.nano.data.unseen import with_queries
from polylens.lab.nano.nano_recipe import FIRST_LANGUAGES
from polylens.lab.synthetic.crops import render_page
from polylens.lab.synthetic.rendered import Rendered
from polylens.runtime.embedder import Embedder
from polylens.types import Embedding


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="nano", help="a name or a folder")
    parser.add_argument("--pages", type=int, default=500)
    parser.add_argument(
        "--languages", default=",".join(dict.fromkeys(FIRST_LANGUAGES)), help="comma-separated; drawn evenly"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--width", type=int, default=1064, help="pixels of a rendered page")
    parser.add_argument("--pool", default="1", help="comma-separated factors of token pooling to compare")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()

    pages, queries = make_pages(options.pages, options.languages.split(","), options.seed, options.width)
    embedder = polylens.load(options.model)
    result = {
        "model": embedder.model_id,
        "pages": options.pages,
        "languages": options.languages,
        "seed": options.seed,
        **measure(embedder, pages, queries, [int(factor) for factor in options.pool.split(",")]),
        "hardware": f"{os.cpu_count()} cores, {processor()}",
        "versions": f"polylens {polylens.__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }
    print(json.dumps(result, indent=2, ensure_ascii=False))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def make_pages(count: int, languages: list[str], seed: int, width: int) -> tuple[list[Rendered], list[str]]:
    """Pages, each with a query taken from it."""
    height = round(width * 2**0.5 / 28) * 28

    def draw(rng: random.Random, language: str) -> Rendered:
        return render_page(rng, width=width, height=height, split="held_out", language=language)

    pages, queries = zip(*itertools.islice(with_queries(draw, languages, seed), count), strict=True)
    return list(pages), list(queries)


def measure(embedder: Embedder, pages: list[Rendered], queries: list[str], pool: list[int]) -> dict[str, Any]:
    """Hit rates with 95 % intervals, nDCG@5, and pages per second."""
    began = time.perf_counter()
    documents = []
    for start in range(0, len(pages), 4):
        images = [PIL.Image.fromarray(page.image) for page in pages[start : start + 4]]
        documents += embedder.embed(images)
        if sys.stderr.isatty():
            print(f"\rembedded {len(documents)} of {len(pages)} pages", end="", file=sys.stderr)
    seconds = time.perf_counter() - began
    asked = embedder.embed(queries)
    late = embedder.similarity([a.multivector for a in asked], [d.multivector for d in documents])
    dense = embedder.similarity(np.stack([a.dense for a in asked]), np.stack([d.dense for d in documents]))
    late_ranks = ranks(late)
    by_language = {
        language: rates([rank for rank, page in zip(late_ranks, pages, strict=True) if page.language == language])
        for language in sorted({page.language for page in pages})
    }
    peers = [sum(other.language == page.language for other in pages) for page in pages]
    return {
        "hit@5 if only the language were known": round(float(np.mean([min(1.0, 5 / count) for count in peers])), 4),
        "multi-vector": rates(late_ranks),
        **{
            f"multi-vector, one in {factor}": pooled_rates(embedder, asked, documents, factor)
            for factor in pool
            if factor > 1
        },
        "dense": rates(ranks(dense)),
        "multi-vector by language": by_language,
        "pages/s": round(len(pages) / seconds, 2),
        "tokens per page": round(float(np.mean([d.num_tokens for d in documents]))),
    }


def pooled_rates(embedder: Embedder, asked: list[Embedding], documents: list[Embedding], factor: int) -> dict[str, Any]:
    """The rates of an index made with `--pool`, in half precision."""
    began = time.perf_counter()
    pooled = [pool_tokens(document.multivector, factor).astype(np.float16) for document in documents]
    seconds = (time.perf_counter() - began) / len(documents)
    late = embedder.similarity([query.multivector for query in asked], [tokens.astype(np.float32) for tokens in pooled])
    return {**rates(ranks(late)), "seconds per page to pool": round(seconds, 3)}


def ranks(scores: np.ndarray) -> list[int]:
    """Rank of each query's own page, from 1; equal scores count against it."""
    own = np.diagonal(scores)[:, None]
    return [int(rank) for rank in (scores >= own).sum(axis=1)]


def rates(ranks: list[int]) -> dict[str, Any]:
    hit = float(np.mean([rank <= 5 for rank in ranks]))
    spread = 1.96 * math.sqrt(hit * (1 - hit) / len(ranks))
    return {
        "hit@1": round(float(np.mean([rank == 1 for rank in ranks])), 4),
        "hit@5": round(hit, 4),
        "hit@5, 95 % interval": [round(max(0.0, hit - spread), 4), round(min(1.0, hit + spread), 4)],
        "nDCG@5": round(float(np.mean([1 / math.log2(rank + 1) if rank <= 5 else 0.0 for rank in ranks])), 4),
    }


if __name__ == "__main__":
    main()
