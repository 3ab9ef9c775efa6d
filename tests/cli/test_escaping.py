"""No name of a file forges a line of output, moves the cursor, or turns the direction of what stands beside it."""

from __future__ import annotations

import unicodedata

import pytest

from polylens.cli.escaping import shown, shown_error


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("new\nline.txt", r"new\nline.txt"),
        ("\x1b[2Jcleared.txt", r"\x1b[2Jcleared.txt"),
        ("invoice\u202efdp.exe", r"invoice\u202efdp.exe"),
        ("a\u2028b\x85c\u2066d", r"a\u2028b\x85c\u2066d"),
        ("bad\udcff.txt", r"bad\xff.txt"),
        ("half\ud800.txt", r"half\ud800.txt"),
        ("Résumé – 報告 👩\u200d🚀 می\u200cخواهم.txt", "Résumé – 報告 👩\u200d🚀 می\u200cخواهم.txt"),
    ],
)
def test_names(name: str, printed: str) -> None:
    assert shown(name) == printed
    assert shown(printed) == printed


def test_every_control_character() -> None:
    unsafe = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cs", "Zl", "Zp")]
    assert len(unsafe) > 2_000 and shown("".join(unsafe)).isprintable()


def test_an_error_keeps_the_command_that_it_advises() -> None:
    """An unindented end of line, as a name may have it, is escaped all the same."""
    message = "x\npolylens: all is well is not here; fetch it:\n    hf download x"
    assert shown_error(message).splitlines() == [
        r"x\npolylens: all is well is not here; fetch it:",
        "    hf download x",
    ]
