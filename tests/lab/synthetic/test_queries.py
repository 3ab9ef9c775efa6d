"""Queries name what their page prints, in the way of their kind."""

from __future__ import annotations

import random

import pytest

from polylens.errors import InputError
from polylens.lab.corpora.split import Split
from polylens.lab.synthetic.pages import LAYOUTS, page
from polylens.lab.synthetic.queries import KINDS, ask

SPLITS: tuple[Split, ...] = ("train", "held_out")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_query_names_what_its_page_prints(kind: str, split: Split) -> None:
    for number in range(3):
        try:
            about = page(kind, split, 8, number)
        except InputError as error:
            pytest.skip(str(error))
        terms = {term.key: term for term in about.terms}
        for way in KINDS:
            query = ask(random.Random(number), about, way, split)
            if query is None:
                assert way == "other language"
                continue
            assert query == ask(random.Random(number), about, way, split)
            assert query.needs and query.is_answered_by(about.keys)
            assert "{" not in query.text
            if way == "other language":
                assert query.language not in {term.language for term in about.terms}
                assert not any(terms[key].text.casefold() == query.text.casefold() for key in query.needs)
                continue
            for key in query.needs:
                assert about.prints(terms[key]) and terms[key].text.casefold() in query.text.casefold()


def test_a_page_that_lacks_one_of_the_things_is_no_answer() -> None:
    try:
        about = page("table", "held_out", 8, 0)
    except InputError as error:
        pytest.skip(str(error))
    query = ask(random.Random(1), about, "question", "held_out")
    assert query is not None and len(query.needs) > 1
    for key in query.needs:
        assert not query.is_answered_by(about.keys - {key})


def test_most_pages_with_names_can_be_asked_for_in_another_language() -> None:
    asked = []
    for number in range(8):
        try:
            asked.append(ask(random.Random(number), page("table", "held_out", 9, number), "other language", "held_out"))
        except InputError as error:
            pytest.skip(str(error))
    assert sum(query is not None for query in asked) >= 5
