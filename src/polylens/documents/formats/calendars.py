"""Calendars (.ics): passages of their events, tasks and journal entries.

iCalendar, RFC 5545, https://www.rfc-editor.org/rfc/rfc5545.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from polylens.documents.document import Document
from polylens.documents.formats.blocks import Block, heading, joined
from polylens.documents.formats.contentlines import ContentLine, read_lines
from polylens.documents.formats.encodings import decode
from polylens.documents.formats.passages import Passages
from polylens.documents.formats.text import read_bytes
from polylens.documents.splitting import split
from polylens.errors import DocumentError

_ENTRIES = ("VEVENT", "VTODO", "VJOURNAL")
_LABELS = {
    "DTSTART": "From", "DTEND": "To", "DUE": "Due", "DURATION": "Lasts", "RRULE": "Repeats", "LOCATION": "Where",
    "ORGANIZER": "Organizer", "ATTENDEE": "With", "CATEGORIES": "Categories", "STATUS": "Status", "URL": "Link",
}  # fmt: skip
_TIMES = frozenset({"DTSTART", "DTEND", "DUE"})
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?")


def open_calendar(path: Path) -> Document:
    """Opens a calendar.

    Raises:
        DocumentError: The file is too long, or not a calendar.
    """
    text = decode(read_bytes(path), path.name, declared="utf-8")
    if "BEGIN:VCALENDAR" not in text.upper():
        raise DocumentError(f"{path.name} is not a calendar: it has no BEGIN:VCALENDAR")
    return Passages("document", split(joined(_blocks(text))))


def _blocks(text: str) -> Iterator[Block]:
    entry: list[ContentLine] | None = None
    depth = 0  # of what lies in the entry, such as its alarms
    for line in read_lines(text):
        kind = line.value.strip().upper()
        if line.name == "BEGIN" and entry is None:
            entry = [] if kind in _ENTRIES else None
            depth = 0
        elif entry is None:
            if line.name == "X-WR-CALNAME":
                yield heading(line.text, 1)
        elif line.name in ("BEGIN", "END") and kind not in _ENTRIES:
            depth += 1 if line.name == "BEGIN" else -1
        elif line.name == "END" or line.name == "BEGIN":  # the latter where an end is missing
            yield from _entry(entry)
            entry = [] if line.name == "BEGIN" else None
        elif depth <= 0:
            entry.append(line)
    if entry:
        yield from _entry(entry)


def _entry(lines: Sequence[ContentLine]) -> Iterator[Block]:
    """Yields an event: its title, when and where it is and with whom, and what is written about it."""
    titles = [line.text for line in lines if line.name == "SUMMARY"]
    yield heading(titles[0] if titles else "(no title)", 2)
    told = [f"{_LABELS[line.name]}: {' '.join(_value(line).split())}" for line in lines if line.name in _LABELS]
    yield Block("\n".join(dict.fromkeys(told)))
    for line in lines:
        if line.name in ("DESCRIPTION", "COMMENT"):
            yield Block(line.text.strip())


def _value(line: ContentLine) -> str:
    if line.name in _TIMES:
        return _time(line)
    if line.name in ("ORGANIZER", "ATTENDEE"):
        address = re.sub(r"(?i)^mailto:", "", line.value)
        name = line.parameters.get("CN", "")
        return f"{name} <{address}>" if name and name != address else address
    return line.text


def _time(line: ContentLine) -> str:
    """Writes a time as people do, with its zone.

    Example:
        >>> _time(ContentLine("DTSTART", "20260501T083000", {"TZID": "Europe/Oslo"}))
        '2026-05-01 08:30 Europe/Oslo'
    """
    match = _TIME.fullmatch(line.value.strip())
    if not match:
        return line.text
    year, month, day, hour, minute, _, universal = match.groups()
    zone = "UTC" if universal else line.parameters.get("TZID", "")
    return f"{year}-{month}-{day}" + (f" {hour}:{minute} {zone}".rstrip() if hour else "")
