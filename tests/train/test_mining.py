"""Hard negatives against a loop over all documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from tests.support import commands, tiny

import polylens
from polylens.errors import InputError
from polylens.train import mining
from polylens.train.mining import mine
from polylens.train.pairs import Pair, Side, read_pairs, write_pairs
from polylens.types import Embedding, Image

WORDS = ["harbour", "winter", "bread", "tower", "salt", "letter", "storm", "light", "oven", "ship", "north", "price"]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> polylens.Embedder:
    return polylens.load(tiny.write(tmp_path_factory.mktemp("base") / "tiny"), dtype="float32", device="cpu")


def slow_maxsim(query: Embedding, document: Embedding) -> float:
    stored = document.multivector.astype("float16").astype("float32")  # as an index keeps them
    return sum(max(float(token @ other) for other in stored) for token in query.multivector)


def slow_mine(pairs: list[Pair], embedder: polylens.Embedder, negatives: int, below: float) -> list[list[Side]]:
    """For each pair all documents by their score, those left out that are right, too near or too many."""

    def embed(side: Side, prompt: str) -> Embedding:
        [one] = embedder.embed([Image(side) if isinstance(side, Path) else side], task="retrieval", prompt_name=prompt)
        return one

    documents = {pair.document: embed(pair.document, "passage") for pair in pairs}
    found = []
    for pair in pairs:
        query = embed(pair.query, "query")
        scores = {document: slow_maxsim(query, embedding) for document, embedding in documents.items()}
        right = {other.document for other in pairs if other.query == pair.query}
        limit = below * scores[pair.document]
        ranked = sorted((d for d in documents if d not in right and scores[d] < limit), key=lambda d: -scores[d])
        found.append([*pair.negatives, *[d for d in ranked if d not in pair.negatives]][:negatives])
    return found


@pytest.mark.parametrize("below", [1.0, 0.9])
def test_they_are_those_of_the_loop(
    embedder: polylens.Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: float
) -> None:
    monkeypatch.setattr(mining, "BATCH_INPUTS", 5)  # three lots
    PIL.Image.new("RGB", (60, 60), "navy").save(tmp_path / "navy.png")
    rows: list[dict[str, Any]] = [
        {"query": q, "document": f"the {d} of {q}"} for q, d in zip(WORDS, WORDS[::-1], strict=True)
    ]
    rows.append({"query": WORDS[0], "document": "another one"})  # two right ones for a query
    rows.append({"query": "blue", "document": {"image": "navy.png"}, "negatives": ["green"]})
    source = read_pairs(write(tmp_path / "pairs.jsonl", rows))
    told: list[tuple[int, int]] = []
    mined = mine(
        source, embedder, task="retrieval", negatives=4, below=below, report=lambda *numbers: told.append(numbers)
    )
    expected = slow_mine(list(source.pairs), embedder, 4, below)
    assert [list(pair.negatives) for pair in mined] == expected
    assert [(pair.query, pair.document) for pair in mined] == [(pair.query, pair.document) for pair in source.pairs]
    assert mined[-1].negatives[0] == "green"
    assert any(expected) and told[-1] == (27, 27)  # 14 documents, 13 queries
    if below < 1:
        assert expected != slow_mine(list(source.pairs), embedder, 4, 1.0), "the limit changed nothing"


def test_scored_pairs_are_refused(embedder: polylens.Embedder, tmp_path: Path) -> None:
    rows = [{"query": "a", "document": "b", "score": 1}, {"query": "c", "document": "d", "score": 2}]
    source = read_pairs(write(tmp_path / "graded.jsonl", rows))
    with pytest.raises(InputError, match="has pairs with scores"):
        mine(source, embedder, task="retrieval", negatives=4, below=0.9, report=lambda *_: None)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    PIL.Image.new("RGB", (60, 60)).save(tmp_path / "in/page.png")
    rows = [
        {"query": {"image": "page.png"}, "document": "Größe", "negatives": ["c", {"image": "page.png"}]},
        {"query": "d", "document": {"image": "page.png"}},
    ]
    pairs = read_pairs(write(tmp_path / "in/pairs.jsonl", rows)).pairs
    write_pairs(tmp_path / "mined.jsonl", pairs)
    again = read_pairs(tmp_path / "mined.jsonl").pairs

    def resolved(side: Side) -> Side:
        return side.resolve() if isinstance(side, Path) else side

    for one, other in zip(pairs, again, strict=True):
        assert list(map(resolved, (one.query, one.document, *one.negatives))) == list(
            map(resolved, (other.query, other.document, *other.negatives))
        )
    with pytest.raises(InputError, match="cannot be written"):
        write_pairs(tmp_path / "missing/mined.jsonl", pairs)


def test_on_the_command_line(tmp_path: Path) -> None:
    base = tiny.write(tmp_path / "tiny")
    rows = [{"query": q, "document": f"the {d}"} for q, d in zip(WORDS, WORDS[::-1], strict=True)]
    data = write(tmp_path / "pairs.jsonl", rows)
    command = ["mine", "--model", str(base), "--data", str(data)]
    out = tmp_path / "mined.jsonl"
    done = commands.polylens(*command, "--out", str(out), "--below", "1")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and done.stdout.startswith(f"{out}: 12 pairs, ")
    assert any(pair.negatives for pair in read_pairs(out).pairs)
