"""Results as JSON: written in pieces, so that the event loop gets its turns, and the same as if written at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import orjson
import pytest
from tests.support.root import ROOT
from tokenizers import Tokenizer

from polylens.server.endpoints.classify import _row
from polylens.server.endpoints.segment import segment
from polylens.server.endpoints.segmenter.tokenizers import OffsetTokenizer
from polylens.server.http import wire
from polylens.server.http.wire import EmbeddingType, multi, single, to_json

TYPES: Sequence[EmbeddingType] = get_args(EmbeddingType)
BYTES_PER_NUMBER = 40  # more than any number takes, with the names and brackets around it


def at_once(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def vectors(count: int, dim: int) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    return list(np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32))


def listed(rows: Sequence[Any]) -> dict[str, Any]:
    return {"model": "nano", "object": "list", "usage": {"total_tokens": 3}, "data": list(rows)}


def classified(inputs: int, labels: int) -> dict[str, Any]:
    groups = {group: [f"{group} {number}" for number in range(labels)] for group in ("color", "größe")}
    return listed(_row(index, dict(zip(groups, vectors(2, labels), strict=True)), groups) for index in range(inputs))


def segmented(sentences: int, *, return_chunks: bool) -> dict[str, Any]:
    tokenizer = Tokenizer.from_file(str(ROOT / "src/polylens/assets/nano/tokenizer.json"))
    content = "Ein größeres Boot. " * sentences
    return segment(content, OffsetTokenizer("nano", tokenizer), return_tokens=True, return_chunks=return_chunks)


def results(size: int) -> dict[str, Any]:
    """Every kind of result, larger with the size."""
    ranked = [{"index": 1, "relevance_score": 0.5, "document": {"text": 'a "b"\n' * size}}] * size
    rows = [multi(index, np.stack(vectors(size, 8)), ["float"], ["a", "\u2028"] * size) for index in range(2)]
    return {
        "dense": listed(single(index, vector, ["float"]) for index, vector in enumerate(vectors(size, 8))),
        "of all types": listed(single(index, vector, TYPES) for index, vector in enumerate(vectors(size, 8))),
        "multi-vectors": listed(rows),
        "multi-vectors of all types": listed([multi(0, np.stack(vectors(size, 8)), TYPES, None)]),
        "a ranking": {"results": ranked},
        "SageMaker's form": {"data": [{"results": ranked}], "parameters": {}},
        "a classification": classified(size, size),
        "tokens": segmented(size, return_chunks=False),
        "chunks": segmented(size, return_chunks=True),
        "a list": [None, True, 1, 1.5, "", [], {}, [[]], {"": {}}, {1: [2, (3, 4)]}] * size,
        "empty": {"results": [], "facets": {}},
    }


@pytest.mark.parametrize("piece", [1, 2, 7, 100, wire.PIECE])
@pytest.mark.parametrize("name", results(1))
def test_it_is_the_same_as_written_at_once(name: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "PIECE", piece)
    for size in (1, 2, 9):
        assert to_json(results(size)[name]) == at_once(results(size)[name])


@pytest.mark.parametrize(
    "value",
    [
        listed(single(index, vector, ["float"]) for index, vector in enumerate(vectors(200, 1_024))),
        listed([multi(0, np.stack(vectors(3_000, 128)), ["float"], None)]),
        classified(20, 2_000),
        segmented(5_000, return_chunks=False),
        segmented(5_000, return_chunks=True),
    ],
    ids=["dense", "multi-vectors", "a classification", "tokens", "chunks"],
)
def test_no_piece_is_large(value: Any) -> None:
    """While a piece is written, no other thread runs."""
    pieces = list(wire._pieces(value))
    assert max(map(len, pieces)) <= wire.PIECE * BYTES_PER_NUMBER < sum(map(len, pieces))
    assert b"".join(pieces) == at_once(value)
