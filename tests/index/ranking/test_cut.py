"""Which piece of a ranked list a search gives."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from polylens.errors import InputError
from polylens.index.ranking.cut import MAX_UNDER, Cut, Ranked

RANKED = [SimpleNamespace(file=file) for file in "abacbba"]
MATCHES = [0.9, 0.8, 0.6, 0.5, 0.41, 0.3, 0.2]


class TestPieces:
    def test_pieces_make_up_the_whole(self) -> None:
        whole, total = Cut().groups(RANKED, MATCHES, 99)
        assert whole == [[place] for place in range(7)] and total == 7
        pieces = [Cut(offset=offset).groups(RANKED, MATCHES, 3) for offset in (0, 3, 6, 9)]
        assert [group for groups, _ in pieces for group in groups] == whole
        assert {count for _, count in pieces} == {7}

    def test_a_page_that_matches_too_little_has_no_place(self) -> None:
        assert Cut(min_score=0.5).groups(RANKED, MATCHES, 9) == ([[0], [1], [2], [3]], 4)
        assert Cut(min_score=0.5, offset=3).groups(RANKED, MATCHES, 9) == ([[3]], 4)
        assert Cut(min_score=0.95).groups(RANKED, MATCHES, 9) == ([], 0)

    def test_matches_need_not_be_in_the_order_of_the_ranking(self) -> None:
        assert Cut(min_score=0.5).groups(RANKED[:3], [0.1, 0.9, 0.6], 1) == ([[1]], 2)


class TestFiles:
    def test_each_file_has_the_place_of_its_best_page(self) -> None:
        groups, total = Cut(by_file=True, min_score=0.0).groups(RANKED, MATCHES, 9)
        assert groups == [[0, 2, 6], [1, 4, 5], [3]] and total == 3
        assert Cut(by_file=True, min_score=0.0, offset=1).groups(RANKED, MATCHES, 1) == ([[1, 4, 5]], 3)

    def test_without_a_least_match_the_others_need_half_of_the_best(self) -> None:
        assert Cut(by_file=True).groups(RANKED, MATCHES, 9)[0] == [[0, 2], [1, 4], [3]]

    def test_there_are_only_so_many_under_one(self) -> None:
        [[_, *others]], _ = Cut(by_file=True).groups([SimpleNamespace(file="a")] * 40, [0.9] * 40, 5)
        assert others == list(range(1, MAX_UNDER + 1))


@pytest.mark.parametrize("wrong", [{"offset": -1}, {"offset": 1.5}, {"min_score": 1.2}, {"min_score": -0.1}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Cut(**wrong)


class TestRanked:
    def test_the_next_piece(self) -> None:
        assert Ranked("abc", total=7).next(0) == 3
        assert Ranked("abc", total=7).next(4) is None
        assert Ranked(total=7).next(9) is None

    def test_why_it_is_empty(self) -> None:
        assert Ranked("a", total=1, best=0.4, num_pages=9).why_empty() is None
        assert Ranked().why_empty() is None
        assert Ranked(total=3, best=0.4, num_pages=9).why_empty() == "the list ends before this offset, after 3 results"
        assert Ranked(best=0.4, num_pages=1).why_empty() == "nothing fits well: the best of 1 page has a match of 0.40"
