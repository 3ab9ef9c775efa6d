"""Docstrings and functions: what is asked, what is found, and that the halves share nothing."""

from __future__ import annotations

import textwrap

import pytest

from polylens.lab.corpora import functions
from polylens.lab.corpora.text import TextPair, key

SOURCE = textwrap.dedent('''
    import os

    class Shelf:
        @property
        def width(self):
            """Return the width of the shelf in books.

            Not in metres.
            """
            # an empty shelf has none

            return len(self.books)

        def empty(self):
            """Take every book down again."""

        def burn(self):
            """Nobody should ever do this."""
            raise NotImplementedError

        async def fetch(
            self, name,
        ):
            "Fetch a book by its name."
            book = await self.find(name)
            return book

    def short(): "Say one thing only here"

    def undocumented(x):
        return x
''')


def test_the_pairs_of_a_module() -> None:
    assert list(functions.in_module(SOURCE)) == [
        TextPair(
            "Return the width of the shelf in books.",
            "@property\ndef width(self):\n    # an empty shelf has none\n    return len(self.books)",
        ),
        TextPair(
            "Fetch a book by its name.",
            "async def fetch(\n    self, name,\n):\n    book = await self.find(name)\n    return book",
        ),
    ]
    assert list(functions.in_module("def broken(:")) == []


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        (
            "Return the first of\n    several lines, e.g. this. Then more.",
            "Return the first of several lines, e.g. this.",
        ),
        ("walk(top, down=True) -> Walk a tree of folders", "Walk a tree of folders"),
        ("x.y(z) -- do a thing with it", "do a thing with it"),
        ("D.get(k) -> D[k] if k in D, else d", "D[k] if k in D, else d"),
        ("val -> an object with that value", ""),
        ("Close it now.", ""),
        ("word " * 41, ""),
        ("", ""),
    ],
)
def test_the_question_is_the_first_sentence(docstring: str, expected: str) -> None:
    assert functions.first_sentence(docstring) == expected


def test_the_halves_share_no_module_no_question_and_no_function() -> None:
    train, held_out = functions.by_module("train"), functions.by_module("held_out")
    assert len(functions.pairs("held_out")) > 500 < len(functions.pairs("train"))
    assert not train.keys() & held_out.keys()
    assert all(map(functions.is_held_out_module, held_out)) and not any(map(functions.is_held_out_module, train))
    texts = {
        split: {key(text) for pair in functions.pairs(split) for text in (pair.query, pair.document)}
        for split in ("train", "held_out")
    }
    assert not texts["train"] & texts["held_out"]
    for pair in functions.pairs("held_out"):
        assert key(pair.query) not in key(pair.document)


def test_screenshots_of_code_are_split_as_the_functions_are() -> None:
    code = pytest.importorskip("polylens.lab.synthetic.code", reason="pictures of code need the train extra")
    assert not set(code.modules("train")) & functions.by_module("held_out").keys()
