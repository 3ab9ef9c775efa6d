"""What a type checker is told of `Embedder`: each call's result has one type, and never `Any`."""

from __future__ import annotations

import inspect
import re

import pytest
from mypy import api
from tests.support.root import ROOT

from polylens.runtime.embedder import Embedder
from polylens.runtime.options import ImageOptions, MixedOptions, TextOptions

PROGRAM = """
from pathlib import Path
from typing import assert_type
import PIL.Image
import polylens
from polylens.types import FloatArray

embedder = polylens.load("nano")
picture = PIL.Image.new("RGB", (1, 1))
several = bool(input())
Vectors = FloatArray | list[FloatArray]

assert_type(embedder.encode_text("a"), FloatArray)
assert_type(embedder.encode_text(["a", "b"], "retrieval", "query", truncate_dim=8, max_length=9), FloatArray)
assert_type(embedder.encode_text(("a", "b"), ["code", None], return_multivector=False), FloatArray)
assert_type(embedder.encode_text("a", return_multivector=True), FloatArray)
assert_type(embedder.encode_text(["a"], return_multivector=True, batch_size=2), list[FloatArray])
assert_type(embedder.encode_text(["a"], return_multivector=several), Vectors)

assert_type(embedder.encode_image(picture), FloatArray)
assert_type(embedder.encode_image(["a.png", Path("b.png"), b"", picture], max_pixels=784), FloatArray)
assert_type(embedder.encode_image(b"", return_multivector=True, show_progress=True), FloatArray)
assert_type(embedder.encode_image([polylens.Image(picture)], return_multivector=True), list[FloatArray])
assert_type(embedder.encode_image(Path("a.png"), return_multivector=several), Vectors)

assert_type(embedder.encode("a"), FloatArray)
assert_type(embedder.encode(["a", picture], max_length=9, max_pixels=784), FloatArray)
assert_type(embedder.encode(picture, return_multivector=True), FloatArray)
assert_type(embedder.encode(["a", polylens.Image("b.png")], return_multivector=True), list[FloatArray])
assert_type(embedder.encode(["a"], return_multivector=several), Vectors)

assert_type(embedder.similarity(embedder.encode("a"), embedder.encode("b")), FloatArray)
assert_type(embedder.embed(["a"]), list[polylens.Embedding])
"""

FIRST_WRONG = PROGRAM.count("\n") + 1  # its line
WRONG = {
    "embedder.encode_text([picture])": "List item 0 has incompatible type",
    'embedder.encode_text("a", max_pixels=784)': 'Unexpected keyword argument|No overload variant of "encode_text"',
    'embedder.encode_text("a", return_multivector="yes")': "No overload variant",
    "embedder.encode_image(picture, max_length=9)": 'Unexpected keyword argument|No overload variant of "encode_image"',
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy says of the right calls and, after them, the wrong ones."""
    program = tmp_path_factory.mktemp("types") / "program.py"
    program.write_text(PROGRAM + "\n".join(WRONG), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # where `make test` has left its cache, without which this takes half a minute
        patch.setenv("MYPYPATH", str(ROOT / "src"))
        report, trouble, _ = api.run(["--no-error-summary", str(program)])
    assert not trouble
    return report


def test_each_call_has_the_type_it_returns(report: str) -> None:
    lines = re.findall(r"^\S*program\.py:(\d+): ", report, flags=re.MULTILINE)
    assert {int(line) for line in lines} == set(range(FIRST_WRONG, FIRST_WRONG + len(WRONG))), report


def test_what_does_not_run_is_an_error(report: str) -> None:
    for line, expected in enumerate(WRONG.values(), FIRST_WRONG):
        assert re.search(rf"program\.py:{line}: error: .*({expected})", report), report


@pytest.mark.parametrize(
    ("method", "options"),
    [(Embedder.encode_text, TextOptions), (Embedder.encode_image, ImageOptions), (Embedder.encode, MixedOptions)],
)
def test_the_overloads_know_every_option(method: object, options: type) -> None:
    assert callable(method)
    keywords = {name for name, each in inspect.signature(method).parameters.items() if each.kind is each.KEYWORD_ONLY}
    assert set(options.__annotations__) <= set(options.__optional_keys__)  # type: ignore[attr-defined]
    assert keywords == options.__optional_keys__ | {"return_multivector"}  # type: ignore[attr-defined]
