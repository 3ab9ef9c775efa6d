"""Messages saved by Outlook (.msg), by python-oxmsg (MIT): as other messages, the text first, then what is attached.

[MS-OXMSG], https://learn.microsoft.com/openspecs/exchange_server_protocols/ms-oxmsg/.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from polylens.documents.document import Document
from polylens.documents.formats.blocks import Block
from polylens.documents.formats.bundle import OpenFile, shown_name
from polylens.documents.formats.mail import MAX_ATTACHMENTS, MAX_MESSAGE, Attached, Letter, open_letter
from polylens.documents.formats.webpage import blocks_of
from polylens.errors import DocumentError

_Value = TypeVar("_Value")

_CONTENT_ID = 0x3712  # PidTagAttachContentId, which pictures in the text have


def open_outlook(path: Path, open_file: OpenFile | None) -> Document:
    """Opens a message.

    Args:
        path: The file.
        open_file: Opens attachments; None if the message lies inside another file, so that they are listed only.

    Raises:
        DocumentError: The file is damaged or too long, or the extra that reads it is not installed.
    """
    if find_spec("oxmsg") is None:
        raise DocumentError(f"{path.name} is a message of Outlook; pip install 'polylens[files]' adds what reads it")
    import oxmsg

    size = path.stat().st_size
    if not size:
        raise DocumentError(f"{path.name} is empty (0 bytes)")
    if size > MAX_MESSAGE:
        raise DocumentError(f"{path.name} is longer than {MAX_MESSAGE // 2**20} MB")
    try:
        message = oxmsg.Message.load(path.read_bytes())
        attachments = message.attachments
    except MemoryError:
        raise
    except Exception as error:  # a fuzzed file makes a parser raise almost anything
        raise DocumentError(f"{path.name} is damaged, or no message of Outlook ({type(error).__name__})") from error
    attached, lost = [], 0
    for number, each in enumerate(attachments[: MAX_ATTACHMENTS + 1], start=1):
        found = _tried(partial(_attached, each, number), None)
        lost += found is None
        attached += [found] if found else []
    left_out = f"{lost} attachments cannot be read: they are messages themselves, or damaged." if lost else ""
    subject = " ".join(shown_name(_tried(lambda: message.subject, "")).split())
    letter = Letter(subject or "(no subject)", _headers(message), _text(message), attached, left_out)
    return open_letter(shown_name(path.name), letter, open_file)


def _headers(message: Any) -> list[tuple[str, str]]:
    date = _tried(lambda: message.sent_date, None)
    found = {
        "From": _tried(lambda: message.sender, "") or "",
        "To": ", ".join(filter(None, (_tried(partial(_person, each), "") for each in _recipients(message)))),
        "Date": date.strftime("%Y-%m-%d %H:%M UTC") if date else "",
    }
    return [(name, shown_name(" ".join(value.split()))) for name, value in found.items() if value]


def _recipients(message: Any) -> tuple[Any, ...]:
    return _tried(lambda: message.recipients, ())[:100]


def _person(recipient: Any) -> str:
    name, address = recipient.name or "", recipient.email_address or ""
    return f"{name} <{address}>" if name and address and name != address else name or address


def _text(message: Any) -> list[Block]:
    """Returns the text: the plain one, which Outlook keeps beside the formatted one."""
    plain = _tried(lambda: message.body, None)
    if plain and plain.strip():
        return [Block(plain.replace("\r\n", "\n").replace("\r", "\n").strip("\x00\n "))]
    page = _tried(lambda: message.html_body, None)
    return _tried(lambda: blocks_of(b"\xef\xbb\xbf" + page.encode("utf-8", "replace")), []) if page else []


def _attached(attachment: Any, number: int) -> Attached | None:
    data = attachment.file_bytes
    if data is None:
        return None
    name = _tried(lambda: attachment.file_name, None) or f"part {number}"
    content_id = _tried(lambda: attachment.properties.str_prop_value(_CONTENT_ID), None)
    return Attached(name, data, is_inline=bool(content_id))


def _tried(read: Callable[[], _Value], otherwise: _Value) -> _Value:
    """Returns what a part of a message says, or something else where that part is damaged."""
    try:
        return read()
    except Exception:  # noqa: BLE001  a fuzzed file makes a parser raise almost anything
        return otherwise
