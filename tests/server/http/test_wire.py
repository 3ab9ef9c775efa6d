"""Results as JSON: written in pieces, so that the event loop gets its turns, and the same as if written at once."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial
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
from polylens.server.http.wire import EmbeddingType, encoded, multi, quantised, single, to_json, written

TYPES: Sequence[EmbeddingType] = get_args(EmbeddingType)
FLOAT = partial(encoded, kinds=["float"])
ALL = partial(encoded, kinds=TYPES)
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
    rows = [multi(index, np.stack(vectors(size, 8)), FLOAT, ["a", "\u2028"] * size) for index in range(2)]
    return {
        "dense": listed(single(index, vector, FLOAT) for index, vector in enumerate(vectors(size, 8))),
        "of all types": listed(single(index, vector, ALL) for index, vector in enumerate(vectors(size, 8))),
        "multi-vectors": listed(rows),
        "multi-vectors of all types": listed([multi(0, np.stack(vectors(size, 8)), ALL, None)]),
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
        listed(single(index, vector, FLOAT) for index, vector in enumerate(vectors(200, 1_024))),
        listed([multi(0, np.stack(vectors(3_000, 128)), FLOAT, None)]),
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


class TestNumbers:
    """A vector in fewer bits: its values have the range of their type, and its direction is nearly kept."""

    @pytest.mark.parametrize("dtype", ["int8", "uint8"])
    def test_whole_numbers_keep_the_direction(self, dtype: Any) -> None:
        for vector in vectors(8, 256):
            found = quantised(vector, dtype)
            assert found.dtype == np.dtype(dtype)
            values = found.astype(np.float64) - (128 if dtype == "uint8" else 0)
            assert np.abs(values).max() == 127
            cosine = values @ vector / np.linalg.norm(values) / np.linalg.norm(vector)
            assert cosine > 0.9998  # half a step of 127 in values that are 3.5 deviations apart: 1 - 0.00003

    def test_nothing_stays_nothing(self) -> None:
        nothing = np.zeros(16, np.float32)
        assert not quantised(nothing, "int8").any()
        assert (quantised(nothing, "uint8") == 128).all()

    def test_bits_are_offset_and_not_the_twos_complement(self) -> None:
        """As measured at the published service: 50, 193, 128, 255 are -78, 65, 0, 127."""
        measured = {"ubinary": [50, 193, 128, 255], "binary": [-78, 65, 0, 127]}
        bits = np.unpackbits(np.array(measured["ubinary"], np.uint8)).astype(np.float32) - 0.5
        for dtype, values in measured.items():
            assert quantised(bits, dtype).tolist() == values  # type: ignore[arg-type]
            assert to_json(encoded(bits, [dtype])) == orjson.dumps([float(value) for value in values])  # type: ignore[list-item]

    def test_base64_has_the_bytes_of_the_numbers(self) -> None:
        (vector,) = vectors(1, 64)
        for dtype, size in (("float", 256), ("int8", 64), ("uint8", 64), ("binary", 8), ("ubinary", 8)):
            raw = base64.b64decode(written(vector, dtype, as_base64=True))  # type: ignore[arg-type]
            assert len(raw) == size
            kind = {"float": "<f4", "binary": "int8", "ubinary": "uint8"}.get(dtype, dtype)
            assert np.array_equal(np.frombuffer(raw, kind), written(vector, dtype, as_base64=False))  # type: ignore[arg-type]
