"""Messages saved by Outlook."""

from __future__ import annotations

import random
import struct
import sys
from pathlib import Path

import pytest
from tests.support import papers
from tests.support.compound import Storage, properties, write_compound
from tests.support.pages import pages_of, reason

from polylens.documents.formats import mail
from polylens.errors import DocumentError

pytest.importorskip("oxmsg", reason="the extra files is not installed: pip install 'polylens[files]'")

TEXT, BYTES, NUMBER, TIME = 0x1F, 0x102, 0x03, 0x40
SENT = 134_220_906_000_000_000  # 2026-05-01 06:30 UTC, in steps of 100 ns since 1601


def attachment(name: str, data: bytes, content_id: str = "") -> Storage:
    values: dict[tuple[int, int], str | bytes | int] = {
        (0x3705, NUMBER): 1,
        (0x3707, TEXT): name,
        (0x3701, BYTES): data,
    }
    if content_id:
        values[0x3712, TEXT] = content_id
    return properties(8, values)


def message(path: Path, *attachments: Storage, **changed: str | bytes) -> Path:
    text = changed.get("text", "The mast arrives on Monday.\r\nBring the crane.")
    values: dict[tuple[int, int], str | bytes | int] = {
        (0x001A, TEXT): "IPM.Note",
        (0x0037, TEXT): "Neuer Mast – Größe",
        (0x0C1A, TEXT): "Åse Nøst",
        (0x0C1F, TEXT): "ase@example.org",
        (0x0039, TIME): SENT,
    }
    if text:
        values[0x1000, TEXT] = text
    if "html" in changed:
        values[0x1013, BYTES] = changed["html"]
        values[0x3FDE, NUMBER] = 65001
    root: Storage = properties(32, values)
    table = root["__properties_version1.0"]
    assert isinstance(table, bytes)
    count = len(attachments)
    root["__properties_version1.0"] = struct.pack("<8x4L8x", 1, count, 1, count) + table[32:]
    root["__nameid_version1.0"] = {"__substg1.0_00020102": b""}
    root["__recip_version1.0_#00000000"] = properties(8, {(0x3001, TEXT): "Harbour", (0x3003, TEXT): "h@example.org"})
    for number, each in enumerate(attachments):
        root[f"__attach_version1.0_#{number:08X}"] = each
    return write_compound(path, root)


def test_text_and_attachments(tmp_path: Path) -> None:
    table = papers.make_xlsx(tmp_path / "l.xlsx").read_bytes()
    logo, picture = papers.picture(1, 30, 30), papers.picture(2)
    parts = (attachment("list.xlsx", table), attachment("logo.png", logo, "a"), attachment("see.png", picture, "b"))
    first, moorings, _, shown = pages_of(message(tmp_path / "a.msg", *parts))
    assert first.text == (
        '# Neuer Mast – Größe\nFrom: "Åse Nøst" <ase@example.org>\nTo: Harbour <h@example.org>\n'
        "Date: 2026-05-01 06:30 UTC\nAttached: list.xlsx; see.png\n\nThe mast arrives on Monday.\nBring the crane."
    )
    assert (
        moorings.text.startswith("a.msg/list.xlsx\n(attached to “Neuer Mast – Größe” from") and moorings.kind == "sheet"
    )
    assert shown.image is not None and shown.image.size == (160, 120)


def test_the_formatted_text_where_there_is_no_other(tmp_path: Path) -> None:
    [page] = pages_of(message(tmp_path / "a.msg", text="", html="<p>The <b>größte</b> mast".encode()))
    assert page.text.endswith("\n\nThe größte mast")


def test_a_bad_attachment_costs_itself_alone(tmp_path: Path) -> None:
    broken = attachment("broken.txt", b"words")
    del broken["__substg1.0_37010102"]
    first, good = pages_of(message(tmp_path / "a.msg", broken, attachment("good.txt", b"words")))
    assert "(1 attachments cannot be read: they are messages themselves, or damaged.)" in first.text
    assert good.text.startswith("a.msg/good.txt")


def test_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.msg"
    path.write_bytes(b"")
    assert reason(path) == "a.msg is empty (0 bytes)"
    path.write_bytes(b"words" * 500)
    assert "is damaged, or no message of Outlook" in reason(path)
    monkeypatch.setattr("polylens.documents.formats.outlook.MAX_MESSAGE", 100)
    assert "is longer than" in reason(path)
    assert mail.MAX_MESSAGE > 100


def test_without_what_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "oxmsg", None)
    assert reason(message(tmp_path / "a.msg")).endswith("pip install 'polylens[files]' adds what reads it")


@pytest.mark.parametrize("seed", range(30))
def test_bytes_changed_and_cut(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = message(tmp_path / "a.msg", attachment("a.txt", b"words " * 900))
    data = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 40)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    if seed % 3 == 0:
        del data[rng.randrange(len(data)) :]
    path.write_bytes(data)
    try:
        pages_of(path)
    except DocumentError as error:
        assert str(error).startswith("a.msg") and "\n" not in str(error)
