"""Which pages a search looks among. A filter is SQL over the columns, so it holds before anything is ranked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import get_args

from polylens.errors import InputError
from polylens.types import Kind

KINDS: tuple[Kind, ...] = get_args(Kind)

_CODE = re.compile("[a-z]{2,3}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_YEARS = range(1700, 2250)  # nanoseconds in 64 bits reach a little beyond both


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which pages a search looks among: all that are given must hold, and None does not narrow.

    `Filters.of` also takes lists, and dates as text.

    Raises:
        InputError: A kind or a language is unknown, or `since` is after `until`.
    """

    folder: str | None = None
    """Only files below this folder of the library, named as in `Hit.file`."""
    kinds: tuple[Kind, ...] | None = None
    """Only pages of these kinds: "pdf", "image", "text", "document", "slides", "sheet". A picture inside a document is
    an "image"."""
    languages: tuple[str, ...] | None = None
    """Only texts in these languages: ISO 639 codes such as "de" or "zh"."""
    since: date | None = None
    """Only files modified on this day or later, in this machine's time zone."""
    until: date | None = None
    """Only files modified on this day or earlier."""

    def __post_init__(self) -> None:
        for kind in self.kinds or ():
            if kind not in KINDS:
                raise InputError(f"a kind is one of {', '.join(KINDS)}; got {kind!r}")
        for language in self.languages or ():
            if not _CODE.fullmatch(language):
                raise InputError(f"a language is named by its ISO 639 code, such as en, de or zh; got {language!r}")
        if self.since and self.until and self.since > self.until:
            raise InputError(f"since must not be after until, got {self.since} and {self.until}")

    @classmethod
    def of(
        cls,
        folder: str | None = None,
        kinds: Sequence[Kind] | None = None,
        languages: Sequence[str] | None = None,
        since: date | str | None = None,
        until: date | str | None = None,
    ) -> Filters:
        """Filters from values as users give them: dates also as ISO 8601, kinds and languages in any sequence.

        Args: see the attributes.

        Raises:
            InputError: A value cannot be understood, or `since` is after `until`.

        Example:
            >>> Filters.of(languages=["de"], since="2026-11-01").since
            datetime.date(2026, 11, 1)
        """
        return cls(
            folder=folder,
            kinds=None if kinds is None else tuple(kinds),
            languages=None if languages is None else tuple(languages),
            since=_day("since", since),
            until=_day("until", until),
        )

    def sql(self) -> str | None:
        """The filters as an SQL condition on the columns of the index; None where every page passes.

        Example:
            >>> Filters.of("it's", ["pdf"], ["de"]).sql()
            "starts_with(file, 'it''s/') AND kind IN ('pdf') AND language IN ('de')"
        """
        parts = []
        if self.folder:
            parts.append(f"starts_with(file, {quoted(self.folder.strip('/') + '/')})")
        if self.kinds is not None:
            parts.append(is_in("kind", self.kinds))
        if self.languages is not None:
            parts.append(is_in("language", self.languages))
        if self.since:
            parts.append(f"mtime_ns >= {start_of(self.since)}")
        if self.until:
            parts.append(f"mtime_ns < {end_of(self.until)}")
        return " AND ".join(parts) or None

    def alone(self) -> Iterator[Filters]:
        """Each of these filters without the others; the two dates count as one."""
        if self.since or self.until:
            yield Filters(since=self.since, until=self.until)
        if self.folder:
            yield Filters(folder=self.folder)
        if self.kinds is not None:
            yield Filters(kinds=self.kinds)
        if self.languages is not None:
            yield Filters(languages=self.languages)

    def in_words(self) -> str:
        """The filters as a phrase that completes "no page is".

        Example:
            >>> Filters.of("reports", ["pdf", "image"], since="2026-11-01").in_words()
            'in the folder reports, of the kind pdf or image and of a file modified since 2026-11-01'
        """
        parts = []
        if self.folder:
            parts.append(f"in the folder {self.folder}")
        if self.kinds is not None:
            parts.append(f"of the kind {' or '.join(self.kinds)}" if self.kinds else "of no kind")
        if self.languages is not None:
            parts.append(f"in the language {' or '.join(self.languages)}" if self.languages else "in no language")
        days = [f"{name} {day}" for name, day in (("since", self.since), ("until", self.until)) if day]
        if days:
            parts.append(f"of a file modified {' and '.join(days)}")
        *first, last = parts or ["there"]
        return f"{', '.join(first)} and {last}" if first else last


def start_of(day: date) -> int:
    """When a day begins in this machine's time zone, in nanoseconds since 1970, clipped to what 64 bits hold."""
    year = min(max(day.year, _YEARS.start), _YEARS.stop)
    return int(datetime.combine(day if year == day.year else day.replace(year=year, day=1), time()).timestamp()) * 10**9


def end_of(day: date) -> int:
    """When the day after this one begins; see `start_of`."""
    return start_of(day + timedelta(days=1) if day < date.max else day)


def quoted(text: str) -> str:
    """A text as an SQL literal.

    Example:
        >>> quoted("it's")
        "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def is_in(column: str, values: Sequence[str]) -> str:
    """An SQL condition that holds where a column has one of these values.

    Args:
        column: A column's name, or an expression.
        values: The values; without any the condition never holds.

    Example:
        >>> is_in("kind", ["pdf", "text"]), is_in("kind", [])
        ("kind IN ('pdf', 'text')", 'false')
    """
    return f"{column} IN ({', '.join(map(quoted, values))})" if values else "false"


def _day(name: str, value: date | str | None) -> date | None:
    if value is None:
        return None
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:  # the 31st of February
            pass
    elif isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise InputError(f"{name} must be a date such as 2026-11-01, got {str(value)[:40]!r}")
