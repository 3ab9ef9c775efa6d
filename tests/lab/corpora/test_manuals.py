"""Manual pages: what is read of them, and what is left out."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from polylens.lab.corpora import catalogues, functions, manuals
from polylens.lab.corpora.text import TextPair, key

PAGE = r"""
.\" Written long ago \- by somebody.
.TH KEEL 1 "2021-05-01"
.SH NAME
keel, \fBkeelson\fR \- lay the keel
of a ship
.SH SYNOPSIS
.B keel
.RI [ options ]
.SH DESCRIPTION
.PP
Too short to say much.
.PP
The \fIkeel\fP is laid first, as
.BR shipyard (7)
says; \-\-length gives its
.I length in metres
and \(aqoak\(aq its wood.\" a note
.TP
.B \-v
Tells more and more and more of what it is doing while it is doing what it does.
"""


def write(folder: Path, name: str, text: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text))


def page(about: str, more: str = "") -> bytes:
    passage = f"This describes at some length {about}, and it goes on for a while {more}."
    return f".SH NAME\nit \\- {about}\n.SH DESCRIPTION\n{passage}\n".encode()


@pytest.fixture(autouse=True)
def nothing_held_out(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(catalogues, "held_out_keys", lambda: frozenset({key("what is held out")}))
    manuals.pairs.cache_clear()
    yield
    manuals.pairs.cache_clear()


def test_a_page_is_read_without_its_macros() -> None:
    assert manuals.in_page(PAGE) == TextPair(
        "lay the keel of a ship",
        "The keel is laid first, as shipyard(7) says; --length gives its length in metres and 'oak' its wood.",
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".Dd May 1\n.Sh NAME\n.Nm keel\n.Nd lay the keel of a ship\n",  # other macros
        PAGE.replace("lay the keel\nof a ship", "keels"),
        PAGE.replace("lay the keel", r"lay the k\('eel"),
        PAGE.partition(".SH DESCRIPTION")[0],
    ],
)
def test_what_is_no_page_or_says_too_little(text: str) -> None:
    assert manuals.in_page(text) is None


def test_pages_of_all_languages_none_twice_and_none_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manuals, "MOST_OF_A_KIND", 2)
    write(tmp_path, "man1/anchor.1.gz", page("drop the anchor"))
    write(tmp_path, "man8/anchor.8.gz", page("Drop the anchor!", "longer"))
    write(
        tmp_path, "man1/echo.1.gz", f".SH NAME\necho \\- {'say it again ' * 6}.\n.PP\n{'Say it again ' * 6}.".encode()
    )
    write(tmp_path, "man1/secret.1.gz", page("what is held out"))
    write(tmp_path, "de/man1/anker.1.gz", page("den Anker werfen"))
    for number in range(4):
        write(tmp_path, f"man1/rope-{number}.1.gz", page(f"make a knot of kind {'abcd'[number]}"))
    write(tmp_path, "man1/old.1.gz", page("drehe das Schiff").decode().replace("drehe", "drühe").encode("latin-1"))
    (tmp_path / "man1" / "broken.1.gz").write_bytes(b"\x1f\x8b\x08")
    (tmp_path / "man1" / "alias.1.gz").symlink_to("anchor.1.gz")
    asked = [pair.query for pair in manuals.pairs(tmp_path)]
    assert asked == ["den Anker werfen", "drop the anchor", "make a knot of kind a", "make a knot of kind b"]


def test_the_pages_installed_here_say_nothing_that_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = manuals.pairs()
    if not found:
        pytest.skip("this machine has no manual pages")
    said = {key(text) for pair in found for text in (pair.query, pair.document)}
    assert len(said) == 2 * len(found)
    assert not said & (catalogues.held_out_keys() | functions.held_out_keys())
