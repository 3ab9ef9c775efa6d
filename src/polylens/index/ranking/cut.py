"""A piece of a ranked list: how far down it begins, how good a page must be, one place per page or per file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from polylens.errors import InputError

T = TypeVar("T")

MAX_UNDER = 10
"""Most further pages that are shown under the best one of a file."""

LEAST_SHARE = 0.5
"""Of the match of a file's best page, that a further page needs where no `min_score` is given."""


class Placed(Protocol):
    """Something that was found in a file."""

    @property
    def file(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A piece of a ranked list.

    Raises:
        InputError: The offset is negative, or `min_score` is not between 0 and 1.
    """

    offset: int = 0
    """Places of the list that come before this piece."""
    min_score: float | None = None
    """The match that a page must have at least; None for any."""
    by_file: bool = False
    """Whether a file has one place, that of its best page."""
    without: tuple[str, int] | None = None
    """File and number of a page that is left out."""

    def __post_init__(self) -> None:
        if not isinstance(self.offset, int) or isinstance(self.offset, bool) or self.offset < 0:
            raise InputError(f"offset must be a whole number from 0, got {self.offset!r}")
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise InputError(f"min_score must be between 0 and 1, got {self.min_score!r}")

    def groups(self, ranked: Sequence[Placed], matches: Sequence[float], top: int) -> tuple[list[list[int]], int]:
        """The pages of this piece.

        Args:
            ranked: All pages, best first.
            matches: The match of each.
            top: Most places of the piece.

        Returns:
            For each place the number in `ranked` of its page, followed by those of the further pages of its file, at
            most `MAX_UNDER`; there are none unless `by_file`. The places of the whole list.

        Example:
            >>> from types import SimpleNamespace
            >>> ranked = [SimpleNamespace(file=file) for file in ("a", "b", "a", "c")]
            >>> Cut(by_file=True).groups(ranked, [0.9, 0.6, 0.5, 0.1], top=2)
            ([[0, 2], [1]], 3)
        """
        good = [index for index in range(len(ranked)) if self.min_score is None or matches[index] >= self.min_score]
        if not self.by_file:
            return [[index] for index in good[self.offset : self.offset + top]], len(good)
        files: dict[str, list[int]] = {}
        for index in good:
            files.setdefault(ranked[index].file, []).append(index)
        groups = list(files.values())
        return [self._group(group, matches) for group in groups[self.offset : self.offset + top]], len(groups)

    def _group(self, group: list[int], matches: Sequence[float]) -> list[int]:
        first, *others = group
        least = LEAST_SHARE * matches[first] if self.min_score is None else self.min_score
        return [first, *[index for index in others if matches[index] >= least][:MAX_UNDER]]


class Ranked(list[T]):
    """What a search found, best first: a piece of a list that may be longer.

    Args:
        hits: The pages, or where each file has one place the best page of each.
        total: Places of the whole list.
        best: The best match of any page that was ranked, whether it is in the list or below `min_score`; None where the
            search ranked none.
        num_pages: Pages that were looked among.
    """

    def __init__(
        self, hits: Iterable[T] = (), *, total: int = 0, best: float | None = None, num_pages: int = 0
    ) -> None:
        super().__init__(hits)
        self.total, self.best, self.num_pages = total, best, num_pages

    def next(self, offset: int) -> int | None:
        """The offset of the next piece; None where the list ends with this one, which began at `offset`."""
        return offset + len(self) if self and offset + len(self) < self.total else None

    def why_empty(self) -> str | None:
        """Why there is nothing in this piece, although pages were ranked; None where another reason holds.

        Example:
            >>> Ranked(best=0.123, num_pages=120).why_empty()
            'nothing fits well: the best of 120 pages has a match of 0.12'
        """
        if self or self.best is None:
            return None
        if self.total:
            return f"the list ends before this offset, after {self.total} result{'s' * (self.total != 1)}"
        pages = f"{self.num_pages} pages" if self.num_pages != 1 else "1 page"
        return f"nothing fits well: the best of {pages} has a match of {self.best:.2f}"
