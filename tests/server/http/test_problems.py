"""Errors as response bodies: what they repeat of a request does not grow with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polylens.errors import FieldError
from polylens.server.http.problems import SHOWN, Problem, published
from polylens.server.http.wire import to_json


class Counted(str):
    """A text that counts how often any of its kind is shown, or compared for sorting."""

    looks = 0

    def __repr__(self) -> str:
        Counted.looks += 1
        return super().__repr__()

    def __lt__(self, other: str) -> bool:
        Counted.looks += 1
        return super().__lt__(other)


def shown(value: Any) -> str:
    """What the body of a problem repeats of a value."""
    body = published(Problem.of(FieldError("is wrong", "input", value), "an id"), as_openai=False)
    return str(json.loads(to_json(body))["errors"][0]["input"])


TEXTS = [Counted(number) for number in range(10_000)]


@pytest.mark.parametrize(
    "value",
    [
        TEXTS,
        [TEXTS, TEXTS],
        dict.fromkeys(reversed(TEXTS)),
        {"data": [{"text": each} for each in TEXTS]},
        {str(each): TEXTS for each in TEXTS},
    ],
    ids=["a list", "lists", "an object", "objects in a list", "lists in an object"],
)
def test_a_large_value_costs_what_a_small_one_costs(value: Any) -> None:
    Counted.looks = 0
    assert len(shown(value)) <= SHOWN
    assert Counted.looks < 100


def test_a_small_value_is_shown_as_it_is_and_a_long_text_by_its_start() -> None:
    for value in (None, 7, "7", [1, "a"], {"b": [1.5, True], "a": {}}):
        assert shown(value) == repr(value)
    assert shown("xy" * 10**6) == repr("xy" * SHOWN)[:SHOWN]
