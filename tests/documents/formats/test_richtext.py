"""Rich text: charsets, Unicode, what is not text, pictures, and hostile files."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.support import papers
from tests.support.pages import pages_of, reason, text_of

from polylens.documents.formats import richtext
from polylens.errors import DocumentError


def write(path: Path, body: str | bytes, head: str = r"\ansi\ansicpg1252\deff0{\fonttbl{\f0\fswiss Arial;}}") -> Path:
    data = body if isinstance(body, bytes) else body.encode("latin-1")
    path.write_bytes(b"{\\rtf1" + head.encode() + data + b"}")
    return path


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (r"\pard One line.\par Another\line half.\par", "One line.\n\nAnother\nhalf."),
        (r"a\b bold\b0  c\{d\}\\e\~f\_g\-h", "abold c{d}\\e\u00a0f\u2011gh"),
        (r"Gr\'fc\'dfe \endash  \ldblquote na\'efve\rdblquote", "Grüße – “naïve”"),
        (r"\uc1\u1051?\u1077?\u1076? {\uc2\u28023??\u22025\'b1\'f3} \u-10179?\u-8704?", "Лед 海嘉 😀"),
        (r"\trowd a\cell b\cell\row c\cell d\cell\row", "a | b\nc | d"),
        (r"text{\*\generator Word}{\info{\author Me}}{\stylesheet{Normal;}}{\*\unknown never} end", "text end"),
        (r"{\field{\*\fldinst{HYPERLINK 'http://a'}}{\fldrslt{the link}}}", "the link"),
        (r"body{\footnote the note}{\header top}{\*\shpinst{\shptxt in a box}}", "body\n\nthe note\n\ntop\n\nin a box"),
        (r"a\bin5 {}\}{b", "ab"),
        ("raw \xfcber", "raw über"),
        (r"one\u8232 ?two", "one\u2028two"),
    ],
)
def test_text(tmp_path: Path, body: str, text: str) -> None:
    assert text_of(write(tmp_path / "a.rtf", body)) == text


@pytest.mark.parametrize(
    ("head", "encoding", "text"),
    [
        (r"\ansi\ansicpg1251", "cp1251", "Ледовая"),
        (r"\ansi\ansicpg932", "cp932", "津波避難"),
        (r"\ansi\ansicpg65001", "utf-8", "Größe"),
        (r"\mac ", "mac_roman", "Größe"),
        (r"\ansi\ansicpg1252{\fonttbl{\f0\fcharset0 A;}{\f3\fnil\fcharset204 B;}}\f3 ", "cp1251", "Ледовая"),
        (r"\ansi\ansicpg1252\deff1{\fonttbl{\f1\fcharset161 A;}}", "cp1253", "Κύμα"),
        (r"\ansi\ansicpg0", "cp1252", "Größe"),
    ],
)
def test_charsets(tmp_path: Path, head: str, encoding: str, text: str) -> None:
    coded = "".join(f"\\'{byte:02x}" for byte in text.encode(encoding))
    assert text_of(write(tmp_path / "a.rtf", coded, head)) == text
    assert text_of(write(tmp_path / "b.rtf", text.encode(encoding).replace(b"\\", b"\\\\"), head)) == text


def test_pictures_are_pages(tmp_path: Path) -> None:
    digits = papers.picture(1).hex()
    lines = "\n".join(digits[at : at + 128] for at in range(0, len(digits), 128))
    body = (
        r"a{\*\shppict{\pict\pngblip\picw4233{\*\blipuid 0011}"
        + "\n"
        + lines
        + r"}}{\nonshppict{\pict\wmetafile8 01}}b"
    )
    text, picture = pages_of(write(tmp_path / "a.rtf", body))
    assert text.text == "ab"
    assert picture.image is not None and picture.image.size == (160, 120)


def test_what_is_no_rtf(tmp_path: Path) -> None:
    (tmp_path / "a.rtf").write_bytes(b"")
    assert reason(tmp_path / "a.rtf") == "a.rtf is empty (0 bytes)"
    (tmp_path / "a.rtf").write_bytes(b"just words")
    assert r"does not begin with {\rtf" in reason(tmp_path / "a.rtf")


class TestHostile:
    @pytest.mark.parametrize(
        "body",
        [
            "{" * 500_000,
            "}" * 500_000,
            r"{\field{\*\fldinst{HYPERLINK " * 30_000,
            r"{\fonttbl" + r"\f1\fcharset0" * 60_000,
            r"\u1" * 200_000,
            r"\bin999999999 ",
            r"\bin-5 ",
            r"\uc999999999\u5 " + "x" * 50,
            r"\'" * 200_000,
            r"{\pict\pngblip " + "0" * 500_000,
            "\\",
        ],
    )
    def test_it_ends(self, tmp_path: Path, body: str) -> None:
        pages_of(write(tmp_path / "a.rtf", body))

    def test_a_long_text_is_cut(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(richtext, "MAX_TEXT", 5_000)
        assert 5_000 <= len(text_of(write(tmp_path / "a.rtf", r"some words\par " * 5_000))) < 8_000

    @pytest.mark.parametrize("seed", range(40))
    def test_bytes_changed_and_cut(self, tmp_path: Path, seed: int) -> None:
        rng = random.Random(seed)
        body = r"{\b One} Gr\'fc\u1051? {\*\x{y}}\par{\pict\pngblip 89504e47}{\fonttbl{\f0\fcharset204 A;}}\f0 \'e0" * 9
        data = bytearray(write(tmp_path / "a.rtf", body).read_bytes())
        for _ in range(rng.randint(1, 40)):
            data[rng.randrange(6, len(data))] = rng.randrange(256)
        if seed % 3 == 0:
            del data[rng.randrange(len(data)) :]
        (tmp_path / "a.rtf").write_bytes(data)
        try:
            pages_of(tmp_path / "a.rtf")
        except DocumentError as error:
            assert str(error).startswith("a.rtf") and "\n" not in str(error)
