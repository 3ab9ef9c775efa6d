"""E-mail: messages (.eml) and mailboxes (.mbox). A message's text comes first, then the pages of its attachments.

RFC 5322, https://www.rfc-editor.org/rfc/rfc5322, and MIME, https://www.rfc-editor.org/rfc/rfc2045.
"""

from __future__ import annotations

import email.header
import email.message
import email.parser
import email.policy
import mimetypes
import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import webencodings

from polylens.documents.document import Document
from polylens.documents.formats.blocks import Block, heading, joined
from polylens.documents.formats.bundle import (
    NO_PAGES,
    Bundle,
    Member,
    OpenFile,
    open_bytes,
    plain_name,
    shown_name,
    state_of,
)
from polylens.documents.formats.encodings import decode
from polylens.documents.formats.passages import Enclosed, Passages, is_worth_a_page
from polylens.documents.formats.webpage import blocks_of
from polylens.documents.splitting import split
from polylens.errors import DocumentError

MAX_MESSAGE = 64 * 1024 * 1024  # bytes per message, attachments included
MAX_MESSAGES = 20_000  # per mailbox
MAX_PARTS = 1_000  # per message
MAX_DEPTH = 200  # parts with parts of their own, per message
MAX_BODY = 4 * 1024 * 1024  # characters per message; the rest is left out
MAX_ATTACHMENTS = 200  # per message
MAX_HEADER = 2_000  # characters per header

_HEADERS = ("From", "To", "Cc", "Date")
_BOUNDARY = re.compile(rb"""\bboundary\s*=\s*(?:"([^"\r\n]{1,200})"|([^\s";]{1,200}))""", re.I)
_NEXT = re.compile(rb"(?:\A|\r?\n\r?\n)From [^\r\n]*\r?\n(?=[!-9;-~]+:|>?From )")
_SIGNATURES = frozenset({"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"})
_SEALED = {
    "application/pkcs7-mime": "S/MIME",
    "application/x-pkcs7-mime": "S/MIME",
    "application/pgp-encrypted": "PGP",
}


@dataclass(frozen=True, slots=True)
class Attached:
    """A file attached to a message."""

    name: str
    data: bytes
    is_inline: bool = False
    """Whether it is part of the text, as a picture in it is."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message, whatever format it came in."""

    subject: str
    headers: Sequence[tuple[str, str]]
    """Name and value of those that are shown."""
    text: Sequence[Block]
    attached: Sequence[Attached]
    left_out: str = ""
    """What of the message is not read, and why."""


def open_mail(path: Path, open_file: OpenFile | None) -> Document:
    """Opens a message (.eml).

    Args:
        path: The file.
        open_file: Opens attachments; None if the message lies inside another file, so that they are listed only.

    Raises:
        DocumentError: The file is too long, or not a message.
    """
    data = read_message(path)
    try:
        letter = parse(data)
    except DocumentError as error:
        raise DocumentError(f"{path.name} {error}") from error
    return open_letter(shown_name(path.name), letter, open_file)


def read_message(path: Path) -> bytes:
    """Returns the bytes of a message or a saved web page, at most one more than `parse_parts` takes.

    Raises:
        DocumentError: The file cannot be opened, or has nothing in it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MESSAGE + 1)
    except OSError as error:
        raise DocumentError(f"{path.name} cannot be opened ({error.strerror})") from error
    if not data.strip():
        raise DocumentError(f"{path.name} is empty ({len(data)} bytes)")
    return data


def open_mailbox(path: Path, open_file: OpenFile | None) -> Document:
    """Opens a mailbox (.mbox), one message after the other.

    Raises:
        DocumentError: The file has no messages.
    """
    try:
        key = state_of(path, open_file is None)
        file = path.open("rb")
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else None
        file.close()  # the map holds the file open
    except OSError as error:
        raise DocumentError(f"{path.name} cannot be opened ({error.strerror})") from error
    if data is None:
        raise DocumentError(f"{path.name} is empty (0 bytes)")
    begins = [match.start() for _, match in zip(range(MAX_MESSAGES + 1), _NEXT.finditer(data), strict=False)]
    if not begins:
        data.close()
        raise DocumentError(f"{path.name} is not a mailbox: no line of it begins a message (From ...)")
    is_cut = len(begins) > MAX_MESSAGES
    spans = list(zip(begins[:MAX_MESSAGES], [*begins[1:], len(data)], strict=False))
    members = [
        Member(name := f"{shown_name(path.name)}/{number}", partial(_open_span, data, span, name, open_file))
        for number, span in enumerate(spans, start=1)
    ]

    def head(reasons: Mapping[str, str]) -> list[str]:
        told = [f"{member.name} {reasons[member.name]}" for member in members if member.name in reasons]
        if is_cut:
            told.append(f"(Only the first {MAX_MESSAGES:,} messages of a mailbox are searched; this one has more.)")
        return list(split("\n".join(told)))

    made = Bundle("document", members, head, key=key, close=data.close)
    if is_cut:
        made.unread[f"the messages after {MAX_MESSAGES:,}"] = f"are left out: {MAX_MESSAGES:,} of a mailbox are read"
    return made


def _open_span(data: mmap.mmap, span: tuple[int, int], name: str, open_file: OpenFile | None) -> Document:
    start, end = span
    message = data[start : min(end, start + MAX_MESSAGE + 100_000)].lstrip(b"\r\n").partition(b"\n")[2]
    return open_letter(name, parse(re.sub(rb"(?m)^>(?=>*From )", b"", message)), open_file)


def open_letter(name: str, letter: Letter, open_file: OpenFile | None) -> Document:
    """Makes a document of a message: its text, then the pages of what is attached, each under the name of both.

    Args:
        name: Where the message lies, as it is shown.
        letter: The message.
        open_file: Opens attachments; None to list them only.
    """
    values = dict(letter.headers)
    sender = f" from {values['From']}" if values.get("From") else ""
    about = f"attached to “{letter.subject}”{sender}" + (f", {values['Date']}" if values.get("Date") else "")
    members: list[Member] = []
    for number, each in enumerate(letter.attached[:MAX_ATTACHMENTS], start=1):
        if each.is_inline and not is_worth_a_page(each.data):
            continue  # the logo of a signature
        label = f"{name}/{shown_name(each.name)}"
        label += f" ({number})" if any(member.name == label for member in members) else ""
        members.append(Member(label, partial(_open_attached, each, open_file), f"{label}\n({about})"))

    def head(reasons: Mapping[str, str]) -> list[str]:
        told = [
            f"{bare} ({reasons[member.name]})" if member.name in reasons else bare
            for member in members
            if (bare := member.name.removeprefix(f"{name}/"))
        ]
        lines = [f"{key}: {value}" for key, value in letter.headers]
        lines += [f"Attached: {'; '.join(told)}"] if told else []
        lines += [f"({letter.left_out})"] if letter.left_out else []
        top = [heading(letter.subject, 1), Block("\n".join(lines))]
        return list(split(joined([*top, *letter.text])[:MAX_BODY]))

    made = Bundle("document", members, head)
    if letter.left_out:
        made.unread[name] = letter.left_out
    return made


def _open_attached(attached: Attached, open_file: OpenFile | None) -> Document:
    from polylens.documents.opening import kind_of

    kind = kind_of(plain_name(attached.name))
    if kind is None:
        raise DocumentError(NO_PAGES)
    if kind == "image" and attached.is_inline:
        return Passages("image", [], [Enclosed(attached.data)])
    return open_bytes(attached.name, attached.data, open_file)


def parse(data: bytes) -> Letter:
    """Parses a message.

    Raises:
        DocumentError: It is too long or too deep, or has no header. The message names no file.

    Example:
        >>> letter = parse(b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\\nFrom: Ana <ana@example.org>\\n\\nHello.")
        >>> letter.subject, letter.text[0].text
        ('Grüße', 'Hello.')
    """
    message, left_out = _parsed(data)
    plain: list[email.message.Message] = []
    pages: list[email.message.Message] = []
    attached: list[Attached] = []
    try:
        for number, part in enumerate(_leaves(message), start=1):
            kind = part.get_content_type()
            if kind in _SEALED and "signed-data" not in str(part.get("Content-Type")):
                left_out = left_out or f"The message is encrypted ({_SEALED[kind]}), so that its text cannot be read."
            elif kind in ("text/plain", "text/html") and not _is_attachment(part):
                (plain if kind == "text/plain" else pages).append(part)
            elif kind not in _SIGNATURES:
                try:
                    attached.append(_attached(part, number))
                except Exception as error:  # noqa: BLE001  whatever is wrong with one, the others are read
                    left_out = left_out or f"Part {number} cannot be read ({type(error).__name__})."
        headers = [(name, value) for name in _HEADERS if (value := header(message, name))]
        return Letter(header(message, "Subject") or "(no subject)", headers, _text(plain, pages), attached, left_out)
    except (DocumentError, MemoryError):
        raise
    except Exception as error:  # a fuzzed message makes a parser raise almost anything
        raise DocumentError(f"cannot be read as a message ({type(error).__name__})") from error


def parse_parts(data: bytes) -> list[email.message.Message]:
    """Parses a message and returns the parts that hold something; a message inside it is one of them.

    Raises:
        DocumentError: It is too long or too deep, or has no header. The message names no file.
    """
    return list(_leaves(_parsed(data)[0]))


def _parsed(data: bytes) -> tuple[email.message.Message, str]:
    """Returns a message and what of it is left out."""
    if len(data) > MAX_MESSAGE:
        raise DocumentError(f"is longer than {MAX_MESSAGE // 2**20} MB")
    data, left_out = _cut(data)
    try:
        message = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(data)
    except RecursionError as error:
        raise DocumentError("has parts in parts without end") from error
    except MemoryError:
        raise
    except Exception as error:  # a fuzzed message makes a parser raise almost anything
        raise DocumentError(f"cannot be read as a message ({type(error).__name__})") from error
    if not message.keys():
        raise DocumentError("is not a message: it does not begin with a header")
    return message, left_out


def _cut(data: bytes) -> tuple[bytes, str]:
    """Cuts a message after as many parts as are read: parsing a million empty ones takes gigabytes."""
    boundaries = {b"--" + (match[1] or match[2]) for match in _BOUNDARY.finditer(data)}
    if not boundaries:
        return data, ""
    if len(boundaries) > MAX_DEPTH:  # each line is compared with the boundaries of all parts around it
        raise DocumentError(f"has more than {MAX_DEPTH} parts that have parts themselves")
    left = MAX_PARTS
    for line in re.finditer(rb"(?m)^--[^\r\n]+", data):
        found = line[0].rstrip()
        if found in boundaries or found.removesuffix(b"--") in boundaries:
            left -= 1
            if left < 0:
                return data[: line.start()], f"Only the first {MAX_PARTS:,} parts of a message are read."
    return data, ""


def _leaves(message: email.message.Message) -> Iterator[email.message.Message]:
    """Yields the parts that hold something. A message inside the message is one of them."""
    if message.get_content_maintype() == "multipart" and message.is_multipart():
        for part in message.get_payload():
            yield from _leaves(part)  # type: ignore[arg-type]
    else:
        yield message


def _is_attachment(part: email.message.Message) -> bool:
    return part.get_content_disposition() == "attachment" or bool(part.get_filename())


def _attached(part: email.message.Message, number: int) -> Attached:
    kind = part.get_content_type()
    name = _words(part.get_filename() or "")
    if not name or plain_name(name) == "file":
        suffix = ".eml" if kind == "message/rfc822" else mimetypes.guess_extension(kind) or ""
        name = f"{name or f'part {number}'}{suffix}"
    inner = part.get_payload()
    if isinstance(inner, list):  # a message, whose payload is a list of one
        inner = inner[0].as_bytes()  # type: ignore[union-attr]
    data = inner if isinstance(inner, bytes) else part.get_payload(decode=True)
    assert isinstance(data, bytes)
    is_inline = part.get_content_maintype() == "image" and part.get_content_disposition() != "attachment"
    return Attached(name, data, is_inline or (bool(part.get("Content-ID")) and kind.startswith("image/")))


def _text(plain: Sequence[email.message.Message], pages: Sequence[email.message.Message]) -> list[Block]:
    """Returns the text: the plain one, unless that says hardly anything beside the formatted one."""
    simple = "\n\n".join(decoded(part).strip() for part in plain)[:MAX_BODY]
    rich = [block for part in pages for block in blocks_of(b"\xef\xbb\xbf" + decoded(part).encode("utf-8", "replace"))]
    length = sum(len(block.text) for block in rich)
    if length > 4 * len(simple.strip()):
        return rich
    return [Block(simple)] if simple.strip() else []


def decoded(part: email.message.Message) -> str:
    """Returns the text of a part, in the character set that it declares as far as that is one."""
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    label = str(part.get_content_charset() or "")
    encoding = None if label == "us-ascii" else webencodings.lookup(label)  # bytes above 127 are none of it
    codec = encoding.codec_info.name if encoding and encoding.name != "replacement" else None
    try:
        return decode(data, declared=codec)
    except DocumentError:  # control characters: what else is in it may be readable
        return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", data.decode(codec or "utf-8", "replace"))


def header(message: email.message.Message, name: str) -> str:
    """Returns a header on one line; "" if there is none."""
    raw = (value for key, value in message.raw_items() if key.lower() == name.lower())
    return _words(str(next(raw, "")))[:MAX_HEADER]


def _words(value: str) -> str:
    """Decodes encoded words, as far as they are right, and makes one line of the header."""
    value = value[:20_000]
    try:
        parts = email.header.decode_header(value)
    except (ValueError, LookupError, email.errors.HeaderParseError):
        parts = [(value, None)]
    written = []
    for part, charset in parts:
        if isinstance(part, str):
            written.append(part)
            continue
        encoding = webencodings.lookup(charset or "utf-8")
        written.append(part.decode(encoding.codec_info.name if encoding else "utf-8", "replace"))
    text = "".join(written)
    if any("\udc80" <= each <= "\udcff" for each in text):  # bytes above 127 that stand in a header as they are
        text = decode(text.encode("utf-8", "surrogateescape"))
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
