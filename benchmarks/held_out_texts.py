"""How well a model finds texts of words that training never showed, language by language.

    python benchmarks/held_out_texts.py [--model nano] [--texts 60] [--languages en,de,...] [--json FILE]

Each text is a row of forty held-out words, and its query three to six neighbouring ones of them; all texts of a
language compete. Needs no fonts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from pathlib import Path

import numpy as np
from held_out_pages import ranks, rates

import polylens
from polylens.lab.nano.data.examples import transcript, written
from polylens.lab.nano.data.unseen import with_queries
from polylens.lab.synthetic.lexicon import LANGUAGES, sample_text
from polylens.lab.synthetic.rendered import Rendered

NUM_WORDS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="nano", help="a name or a folder")
    parser.add_argument("--texts", type=int, default=60, help="texts per language")
    parser.add_argument("--languages", default=",".join(LANGUAGES), help="comma-separated")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()

    embedder = polylens.load(options.model)
    result: dict[str, object] = {"model": embedder.model_id, "texts per language": options.texts, "seed": options.seed}
    for language in options.languages.split(","):
        texts, queries = make_texts(options.texts, language, options.seed)
        documents = embedder.embed(texts, prompt_name="passage")
        asked = embedder.embed(queries)
        late = embedder.similarity([a.multivector for a in asked], [d.multivector for d in documents])
        dense = embedder.similarity(np.stack([a.dense for a in asked]), np.stack([d.dense for d in documents]))
        result[language] = {"multi-vector": rates(ranks(late)), "dense": rates(ranks(dense))}
    print(json.dumps(result, indent=2, ensure_ascii=False))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def make_texts(count: int, language: str, seed: int) -> tuple[list[str], list[str]]:
    """Texts, each with a query taken from it."""

    def draw(rng: random.Random, language: str) -> Rendered:
        return written(sample_text(rng, language, "held_out", NUM_WORDS), language)

    drawn = list(itertools.islice(with_queries(draw, [language], f"{seed} {language}"), count))
    return [transcript(text) for text, _ in drawn], [query for _, query in drawn]


if __name__ == "__main__":
    main()
