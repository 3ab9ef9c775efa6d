"""Rich Text Format (.rtf): passages of the text, then one page per picture.

Rich Text Format Specification 1.9.1, Microsoft 2008. One pass over the file, without recursion.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, replace
from pathlib import Path

from polylens.documents.document import Document
from polylens.documents.formats.archive import MAX_PICTURE
from polylens.documents.formats.passages import MAX_PICTURES, Enclosed, Passages
from polylens.documents.formats.text import read_bytes
from polylens.documents.splitting import split
from polylens.errors import DocumentError

MAX_TEXT = 8 * 1024 * 1024  # characters; the rest of a longer text is left out

_MAX_DEPTH = 10_000  # groups in groups
_TOKEN = re.compile(
    rb"\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,10})? ?"
    rb"|\\'(?P<hex>[0-9a-fA-F]{2})|\\(?P<symbol>[^a-zA-Z'])|(?P<brace>[{}])|(?P<text>[^\\{}\r\n]+)|\\'?|[\r\n]+",
    re.S,
)
_UNSEEN = frozenset(
    "fonttbl colortbl stylesheet info listtable listoverridetable rsidtbl generator fldinst datafield themedata "  # noqa: SIM905
    "colorschememapping latentstyles datastore xmlnstbl pgptbl filetbl revtbl nonshppict objdata object bkmkstart "
    "bkmkend pntext pntxta pntxtb listtext mmathPr wgrffmtfilter template sn ffname ffdeftext ffformat formfield "
    "atrfstart atrfend atnid atnref annotation atnauthor atndate private panose falt shpinst sp background do".split()
)
_SEEN = frozenset("shptxt footnote header footer headerl headerr headerf footerl footerr footerf".split())  # noqa: SIM905
_APART = frozenset("par sect page footnote header footer shptxt".split())  # noqa: SIM905
_SIGNS = {
    "line": "\n", "tab": "\t", "cell": " | ", "nestcell": " | ", "row": "\n", "nestrow": "\n", "emdash": "—",
    "endash": "–", "emspace": " ", "enspace": " ", "qmspace": " ", "bullet": "•", "lquote": "‘", "rquote": "’",
    "ldblquote": "“", "rdblquote": "”",
}  # fmt: skip
_SYMBOLS = {"~": "\u00a0", "_": "\u2011", "{": "{", "}": "}", "\\": "\\", "\n": "\n\n", "\r": "\n\n"}
_CHARSETS = {
    0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gbk", 136: "cp950", 161: "cp1253",
    162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874",
    238: "cp1250", 255: "cp437",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _State:
    """What a group inherits from the one around it."""

    is_hidden: bool = False
    font: int = -1
    is_font_table: bool = False
    picture: str = ""
    """The format of the picture whose digits the group holds; "" if it is none."""
    fallback: int = 1
    """Number of characters after each Unicode character, for programs that do not know those."""


def open_rtf(path: Path) -> Document:
    """Opens a text.

    Raises:
        DocumentError: The file is too long, or not RTF.
    """
    data = read_bytes(path)
    start = data[:1024].find(rb"{\rtf")
    if start < 0:
        said = "is empty (0 bytes)" if not data else r"is not RTF: it does not begin with {\rtf"
        raise DocumentError(f"{path.name} {said}")
    reader = _Reader(data[start:])
    text = re.sub(r"[ \t|]+(?=\n|\Z)", "", reader.text())
    made = Passages("document", split(re.sub(r"\n{3,}", "\n\n", text).strip()), reader.pictures)
    if reader.is_cut:
        made.unread["the text"] = f"is read up to {MAX_TEXT:,} characters"
    return made


class _Reader:
    """One pass over the bytes of a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._state = _State()
        self._stack: list[_State] = []
        self._fonts: dict[int, str] = {}
        self._default_font = -1
        self._encoding = "cp1252"
        self._bytes = bytearray()  # in the encoding of the font, not decoded yet
        self._units: list[int] = []  # UTF-16, not decoded yet
        self._written: list[str] = []
        self._skip = 0  # characters that repeat a Unicode character
        self._digits: list[bytes] = []
        self.pictures: list[Enclosed] = []
        self.is_cut = False

    def text(self) -> str:
        """Reads the file and returns its text; `pictures` is filled on the way."""
        length, position = 0, 0
        while position < len(self._data) and length < MAX_TEXT:
            match = _TOKEN.match(self._data, position)
            assert match is not None  # any byte is one of the tokens
            position = match.end()
            kind = match.lastgroup
            if kind == "number" or kind == "word":
                position += self._word(match["word"].decode(), match["number"])
            elif kind == "brace":
                if not self._brace(match["brace"] == b"{"):
                    break
            elif kind == "text":
                length += len(match["text"])
                self._plain(match["text"])
            elif kind == "hex":
                length += 1
                self._plain(bytes([int(match["hex"], 16)]))
            elif kind == "symbol":
                self._symbol(match["symbol"].decode("latin-1"))
        self._flush()
        self.is_cut = length >= MAX_TEXT
        return "".join(self._written)

    def _brace(self, opens: bool) -> bool:
        """Opens or closes a group; returns whether the document goes on."""
        self._flush()
        self._skip = 0
        if opens:
            if len(self._stack) >= _MAX_DEPTH:
                return False
            self._stack.append(self._state)
            return True
        if self._digits:
            self._keep_picture()
        if self._stack:
            self._state = self._stack.pop()
        return bool(self._stack)

    def _word(self, word: str, number: bytes | None) -> int:
        """Obeys a control word; returns the number of bytes after it that are no RTF."""
        value = int(number) if number else None
        if word == "bin":
            return min(max(value or 0, 0), len(self._data))
        if word in ("u", "uc"):
            self._unicode(word, value)
            return 0
        self._flush()
        self._skip = 0
        state = self._state
        if word in _UNSEEN:
            self._state = replace(state, is_hidden=True, is_font_table=word == "fonttbl")
        elif word == "pict":
            self._state = replace(state, is_hidden=True, picture="pict")
        elif word in ("pngblip", "jpegblip") and state.picture:
            self._state = replace(state, picture=word)
        elif word in _SEEN:
            self._state = replace(state, is_hidden=False)
        elif word == "f":
            self._state = replace(state, font=-1 if value is None else value)
        elif word == "fcharset" and state.is_font_table and state.font not in self._fonts:
            self._fonts[state.font] = _CHARSETS.get(value or 0, "cp1252")
        elif word == "deff":
            self._default_font = -1 if value is None else value
        elif word == "ansicpg":
            self._encoding = _codec(f"cp{value}") or self._encoding
        elif word in ("mac", "pc"):
            self._encoding = "mac_roman" if word == "mac" else "cp437"
        if not self._state.is_hidden:
            self._written.append("\n\n" if word in _APART else _SIGNS.get(word, ""))
        return 0

    def _unicode(self, word: str, value: int | None) -> None:
        if value is None:
            return
        if word == "uc":
            self._state = replace(self._state, fallback=min(max(value, 0), 10))
            return
        self._decode()
        self._skip = self._state.fallback
        if not self._state.is_hidden:
            self._units.append(value % 65536)

    def _symbol(self, symbol: str) -> None:
        if symbol == "*":  # a group that programs may ignore; those that are read say so by their name
            self._flush()
            self._state = replace(self._state, is_hidden=True)
        elif self._skip:
            self._skip -= 1
        elif not self._state.is_hidden and symbol in _SYMBOLS:
            self._flush()
            self._written.append(_SYMBOLS[symbol])

    def _plain(self, data: bytes) -> None:
        if self._skip:
            left, data = data, data[self._skip :]
            self._skip = max(0, self._skip - len(left))
        state = self._state
        if state.picture in ("pngblip", "jpegblip") and data:
            self._digits.append(data)
        elif not state.is_hidden and data:
            self._flush_units()
            self._bytes += data

    def _keep_picture(self) -> None:
        digits, self._digits = re.sub(rb"[^0-9a-fA-F]", b"", b"".join(self._digits)), []
        if len(digits) <= 2 * MAX_PICTURE and len(self.pictures) < MAX_PICTURES:
            self.pictures.append(Enclosed(bytes.fromhex(digits[: len(digits) // 2 * 2].decode())))

    def _decode(self) -> None:
        if self._bytes:
            font = self._state.font if self._state.font >= 0 else self._default_font
            encoding = self._fonts.get(font, self._encoding)
            if encoding == "cp1252":  # the charset of most fonts, which means that of the document
                encoding = self._encoding
            self._written.append(self._bytes.decode(encoding, "replace"))
            self._bytes.clear()

    def _flush_units(self) -> None:
        if self._units:
            packed = b"".join(unit.to_bytes(2, "little") for unit in self._units)
            self._written.append(packed.decode("utf-16-le", "replace"))
            self._units.clear()

    def _flush(self) -> None:
        self._decode()
        self._flush_units()


def _codec(name: str) -> str | None:
    try:
        codec = codecs.lookup(name)
        b"a".decode(codec.name)  # a codec of another sort raises
    except (LookupError, ValueError):
        return None
    return codec.name
