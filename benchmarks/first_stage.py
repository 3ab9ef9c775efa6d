"""With a model's own vectors: which share of the best pages by exact MaxSim do the first stages of a search find?

    python benchmarks/first_stage.py [--texts 10000] [--queries 200] [--model nano] [--json FILE]

Texts are the passages of LibreOffice's help in all languages that are installed (Debian's package
libreoffice-help-en-us and its kin), or else the docstrings of Python's standard library; each is a page. A query is six
words in a row of one of them. The dense stage is that of an index without token vectors: 1,024 pages.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import polylens
from polylens.evaluate.machine import processor
from polylens.index.ranking.late import maxsim
from polylens.index.search import CANDIDATES, TEXT_CANDIDATES
from polylens.index.table.schema import FilePages, PageRow, page_table
from polylens.index.table.store import Store
from polylens.lab.corpora import help_pages

TOP = 10
CHARACTERS = 160  # of a text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    rng = random.Random(1)
    found = sorted({text[:CHARACTERS] for text in texts() if len(text.split()) >= 8})
    chosen = rng.sample(found, min(options.texts, len(found)))
    asked = [six_words(rng, text) for text in rng.sample(chosen, min(options.queries, len(chosen)))]
    model = polylens.load(options.model)
    pages, queries = model.embed(chosen, prompt_name="passage"), model.embed(asked, prompt_name="query")
    tokens = [page.multivector for page in pages]
    widths = len(pages[0].dense), tokens[0].shape[1]
    rows = [
        PageRow(i, "text", text, page.dense, page.multivector.astype(np.float16))
        for i, (text, page) in enumerate(zip(chosen, pages, strict=True), start=1)
    ]
    shares: dict[str, list[float]] = {"token vectors": [], "dense vectors": []}
    with (
        tempfile.TemporaryDirectory(prefix="polylens-first-", dir=Path.cwd()) as folder,
        Store.create(Path(folder) / "index", "model", *widths) as store,
    ):
        store.commit([FilePages("texts", "1", 1, 1, page_table(rows, *widths))])
        store.compact(force=True)
        snapshot = store.snapshot()
        for query in queries:
            best = set((np.argsort(-maxsim(query.multivector, tokens))[:TOP] + 1).tolist())
            by_tokens = snapshot.token_candidates(query.multivector, TEXT_CANDIDATES)
            assert by_tokens is not None, "more than 1,024 texts are needed"
            near = snapshot.dense_candidates(query.dense, CANDIDATES)
            for name, stage in (("token vectors", by_tokens.found), ("dense vectors", near)):
                shares[name].append(len(best & {each.page for each in stage}) / TOP)
    result = {
        "texts": len(chosen),
        "vectors per text": round(float(np.mean([len(each) for each in tokens])), 1),
        **{f"share of the best {TOP} by {name}": round(float(np.mean(each)), 3) for name, each in shares.items()},
        "hardware": f"{os.cpu_count()} cores, {processor()}",
    }
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def texts() -> Iterator[str]:
    """What there is to read on this machine."""
    for language in help_pages.installed():
        yield from help_pages.passages(language)
    for path in () if help_pages.installed() else sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" in path.parts:
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and (told := ast.get_docstring(node)):
                yield " ".join(told.split())


def six_words(rng: random.Random, text: str) -> str:
    words = text.split()
    start = rng.randrange(max(1, len(words) - 5))
    return " ".join(words[start : start + 6])


if __name__ == "__main__":
    main()
