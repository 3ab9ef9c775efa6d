"""Calendars and contacts: what is read of them, folded, escaped, quoted and damaged."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest
from tests.support import papers
from tests.support.pages import pages_of, reason, text_of

from polylens.documents.formats.contentlines import read_lines
from polylens.errors import DocumentError


def write(path: Path, text: str | bytes, newline: str = "\r\n") -> Path:
    data = text if isinstance(text, bytes) else text.replace("\n", newline).encode()
    path.write_bytes(data)
    return path


CALENDAR = """BEGIN:VCALENDAR
VERSION:2.0
X-WR-CALNAME:Harbour
BEGIN:VTIMEZONE
TZID:Europe/Oslo
BEGIN:STANDARD
DTSTART:19701025T030000
END:STANDARD
END:VTIMEZONE
BEGIN:VEVENT
SUMMARY:Mast arrives\\, at last
DTSTART;TZID=Europe/Oslo:20260501T083000
DTEND:20260501T100000Z
LOCATION:Quay 4
ORGANIZER;CN="Åse: Nøst":mailto:ase@example.org
ATTENDEE;CN=pilot@example.org:MAILTO:pilot@example.org
DESCRIPTION:Bring the crane.\\nAnd a very lo
 ng rope.
RRULE:FREQ=WEEKLY
BEGIN:VALARM
DESCRIPTION:Reminder
END:VALARM
END:VEVENT
BEGIN:VTODO
SUMMARY:Paint
DUE;VALUE=DATE:20260601
END:VTODO
END:VCALENDAR
"""


def test_a_calendar(tmp_path: Path) -> None:
    assert text_of(write(tmp_path / "a.ics", CALENDAR)) == (
        "# Harbour\n\n## Mast arrives, at last\nFrom: 2026-05-01 08:30 Europe/Oslo\nTo: 2026-05-01 10:00 UTC\n"
        "Where: Quay 4\nOrganizer: Åse: Nøst <ase@example.org>\nWith: pilot@example.org\nRepeats: FREQ=WEEKLY\n\n"
        "Bring the crane.\nAnd a very long rope.\n\n## Paint\nDue: 2026-06-01"
    )
    assert text_of(write(tmp_path / "b.ics", CALENDAR, "\n")) == text_of(tmp_path / "a.ics")


def test_what_is_no_calendar(tmp_path: Path) -> None:
    assert "is not a calendar" in reason(write(tmp_path / "a.ics", "words"))
    assert pages_of(write(tmp_path / "b.ics", "BEGIN:VCALENDAR\nEND:VCALENDAR")) == []


def test_cut_and_nested_calendars(tmp_path: Path) -> None:
    assert "# A" in text_of(write(tmp_path / "a.ics", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:A"))
    two = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:A\nBEGIN:VEVENT\nSUMMARY:B\nEND:VEVENT"
    assert text_of(write(tmp_path / "b.ics", two)) == "## A\n\n## B"
    deep = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:A\n" + "BEGIN:X\n" * 100_000 + "END:VEVENT\n"
    assert text_of(write(tmp_path / "c.ics", deep)) == "## A"


CARDS = """BEGIN:VCARD
VERSION:3.0
N:Nøst;Åse;;Dr.;
FN:Dr. Åse Nøst
ORG:Harbour Authority;Pilots
item1.EMAIL;type=INTERNET:ase@example.org
TEL;TYPE="work,voice":+47 55 12 34
ADR:;;Quay 4\\, gate 2;Bergen;;5003;Norway
NOTE:Knows the tides.\\nCall first.
END:VCARD
BEGIN:VCARD
VERSION:2.1
N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:Gr=C3=BCn;J=C3=
=B6rg
TEL;HOME;VOICE:55 99
END:VCARD
BEGIN:VCARD
TEL:112
END:VCARD
"""


def test_contacts(tmp_path: Path) -> None:
    assert text_of(write(tmp_path / "a.vcf", CARDS)) == (
        "## Dr. Åse Nøst\nOrganization: Harbour Authority, Pilots\nE-mail: ase@example.org\nTelephone: +47 55 12 34\n"
        "Address: Quay 4, gate 2, Bergen, 5003, Norway\nNote: Knows the tides. Call first.\n\n"
        "## Jörg Grün\nTelephone: 55 99\n\n## (no name)\nTelephone: 112"
    )


def test_portraits_are_pages(tmp_path: Path) -> None:
    digits = base64.b64encode(papers.picture(1)).decode()
    folded = "\n ".join(digits[at : at + 70] for at in range(0, len(digits), 70))
    old = f"BEGIN:VCARD\nFN:Åse\nPHOTO;ENCODING=b;TYPE=PNG:{folded}\nEND:VCARD\n"
    new = (
        f"BEGIN:VCARD\nFN:Jörg\nPHOTO:data:image/png;base64,{base64.b64encode(papers.picture(2)).decode()}\nEND:VCARD\n"
    )
    linked = "BEGIN:VCARD\nFN:Ida\nPHOTO:http://192.0.2.1/a.png\nEND:VCARD\n"
    _, *portraits = pages_of(write(tmp_path / "a.vcf", old + new + linked))
    assert [page.text for page in portraits] == ["Åse", "Jörg"] and all(page.image for page in portraits)


def test_no_contacts(tmp_path: Path) -> None:
    assert "has no contacts" in reason(write(tmp_path / "a.vcf", "words"))


@pytest.mark.parametrize(
    "line", ["A" * 10**6, "N;" * 10**5 + ":x", 'N;A="' * 10**5, "N;A=" + '"' * 10**5 + ":x", ":" * 10**6]
)
def test_long_lines_are_read_in_one_pass(line: str) -> None:
    assert len(list(read_lines(f"{line}\nFN:x"))) >= 1


@pytest.mark.parametrize("seed", range(20))
def test_bytes_changed_and_cut(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / ("a.ics" if seed % 2 else "a.vcf")
    data = bytearray(write(path, CALENDAR if seed % 2 else CARDS).read_bytes())
    for _ in range(rng.randint(1, 40)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    if seed % 3 == 0:
        del data[rng.randrange(len(data)) :]
    path.write_bytes(data)
    try:
        pages_of(path)
    except DocumentError as error:
        assert str(error).startswith(path.name) and "\n" not in str(error)
