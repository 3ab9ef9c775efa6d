"""The encoding of a text file: its byte order mark, what it declares, what its bytes show, and then what is likeliest.

>>> decode("<?xml version='1.0' encoding='windows-1251'?><лёд/>".encode("cp1251"))[-6:]
'<лёд/>'
"""

from __future__ import annotations

import codecs
import re
from typing import Any

import webencodings

from polylens.errors import DocumentError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNMARKED = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_DECLARATIONS = re.compile(
    rb"""\A\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([\w.:-]+)"""
    rb"""|\A@charset\s+["']([\w.:-]+)["']"""  # a style sheet
    rb"""|\A(?:.*\n)?[ \t\f]*(?:\#|//|%|;|--).*?coding[:=][ \t]*([\w.:-]+)"""  # the first two lines of a source file
    rb"""|^[^%\n]*\\usepackage\[([\w-]+)\]\{inputenc\}"""
    rb"""|^"Content-Type:[^"\n]{0,80}?charset=([\w.:-]+)""",  # a catalogue of translations
    re.I | re.M,
)
_IN_HTML = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]+)""", re.I)
_DECLARED_WITHIN = 1024  # bytes from the beginning, as in web pages
_READ_AS = {
    "utf-16le": "utf-8",  # whoever could read the declaration was not reading UTF-16
    "utf-16be": "utf-8",
    "x-user-defined": "cp1252",
    # The supersets that the standard of web pages decodes them with:
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc-kr": "cp949",
    "big5": "big5hkscs",
}
_OTHER_LABELS = {"latin9": "iso-8859-15", "ansinew": "cp1252", "applemac": "mac-roman", "cp850": "cp850"}

_SAMPLE = 256 * 1024  # bytes that the detection looks at
_FEW_BYTES = 4  # bytes above 127 in a text; fewer tell no encoding from another, and Windows-1252 is the commonest
_GOOD_PER_BAD = 3  # valid sequences of UTF-8 per invalid byte from which on a text is UTF-8 with mistakes
_OLD_CONFIDENCE = 0.2  # of chardet, below which an old encoding is not believed: a few quotation marks look like one
_OLD_MARGIN = 1.05
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_HIGH = bytes(range(128, 256))
_LOW = bytes({*range(9), *range(14, 27), *range(28, 32)})
_PLAIN = 0.05  # share of characters
_PLAIN_CHARS = re.compile(
    "[\\x09-\\x7e\\u3001\\u3002\\u3041-\\u30ff\\uff01-\\uff1f]"
)  # ASCII, Chinese marks and Japanese letters


def decode(data: bytes, name: str = "the file", *, declared: str | None = None) -> str:
    r"""Decodes a text file. Line ends become `\n`; the few control characters that a text may have are left out.

    A byte order mark decides; then what the file declares (XML, HTML, a style sheet, the first lines of a source file);
    then UTF-8, UTF-16 and UTF-32, which their bytes give away; then what `chardet` takes it for. Stray bytes are
    replaced: they do not change the encoding of the rest.

    Args:
        data: The bytes of the file.
        name: Name of the file, for the error message.
        declared: The encoding that something around the file declares, such as the header of a mail. It is stronger
            than what the file itself declares, which a mail program that changed the encoding may have left alone.

    Raises:
        DocumentError: The file is not text: it has too many control characters.

    Example:
        >>> decode("naïve\r\n".encode("latin-1"))
        'naïve\n'
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            text = data.decode(encoding, "replace")
            if text.count("\ufffd") > 0.01 * len(text) + 1 or "\ufffd" in text[:1]:
                raise DocumentError(f"{name} is not text: its mark says {encoding}, but its bytes are not")
            break
    else:
        text = _unmarked(data, known_encoding(declared) or declared_encoding(data))
    text = text.rstrip("\x00\x1a")  # room that was left, and the end of a text in DOS
    nuls, controls = text.count("\x00"), len(_CONTROLS.findall(text))
    if nuls > len(text) / 20 or controls > 0.01 * len(text) + 2:
        raise DocumentError(f"{name} is not text: {controls} of its {len(text)} characters are control characters")
    return _CONTROLS.sub("", text).replace("\r\n", "\n").replace("\r", "\n")


def declared_encoding(data: bytes) -> str | None:
    """Returns Python's name of the encoding that a file declares; None where it declares none that can be used.

    https://html.spec.whatwg.org/#prescan-a-byte-stream-to-determine-its-encoding, https://peps.python.org/pep-0263/.

    Example:
        >>> declared_encoding(b'<?xml version="1.0" encoding="Shift_JIS"?>'), declared_encoding(b"<p>charset=koi8-r")
        ('cp932', None)
    """
    head = data[:_DECLARED_WITHIN]
    found = _DECLARATIONS.search(head) or (_IN_HTML.search(head) if head.lstrip().startswith(b"<") else None)
    return known_encoding(next(filter(None, found.groups()), b"").decode("ascii", "replace")) if found else None


def known_encoding(label: str | None) -> str | None:
    """Returns Python's name of an encoding by the name that a file or mail gives it; None if no text is in such a one.

    Example:
        >>> [known_encoding(label) for label in ("gb2312", "latin1", "ibm866", "rot13", "made-up")]
        ['gb18030', 'cp1252', 'cp866', None, None]
    """
    if not label:
        return None
    encoding = webencodings.lookup(label)
    if encoding is not None:
        # "replacement" stands for encodings that no browser decodes.
        python = encoding.codec_info.name if encoding.name != "replacement" else None
        return _READ_AS.get(encoding.name, python)
    label = _OTHER_LABELS.get(label.lower(), label)
    try:
        codec = codecs.lookup(label)
    except (LookupError, ValueError):
        return None
    is_text = getattr(codec, "_is_text_encoding", False) and codec.name.replace("-", "_") not in _NO_CHARSETS
    return codec.name if is_text and _is_stateless(codec.name) else None


_NO_CHARSETS = frozenset({"idna", "punycode", "raw_unicode_escape", "unicode_escape", "undefined", "mbcs", "oem"})


def _is_stateless(encoding: str) -> bool:
    """Returns whether ASCII is read as ASCII, as in anything that could declare its encoding in ASCII."""
    return b"<a 1>+~{".decode(encoding, "replace") == "<a 1>+~{"


def _unmarked(data: bytes, declared: str | None) -> str:
    for encoding in [declared, "utf-8"] if declared else ["utf-8"]:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == "utf-8" and (other := _stateful(data) or (_has_many_controls(data) and _wide(data))):
            return data.decode(other, "replace")
        return text
    if wide := _wide(data):
        return data.decode(wide, "replace")
    if _is_utf8_with_mistakes(data):
        return data.decode("utf-8", _STRAY)
    if declared and declared != "utf-8" and _fits(data, declared):
        return data.decode(declared, "replace")
    return _detected(data)


def _fits(data: bytes, encoding: str) -> bool:
    """Returns whether few of the bytes that are not ASCII are invalid."""
    return data.decode(encoding, "replace").count("\ufffd") <= max(1, _num_high(data) // 4)


def _num_high(data: bytes) -> int:
    return len(data) - len(data.translate(None, _HIGH))


def _has_many_controls(data: bytes) -> bool:
    sample = data[:_SAMPLE]
    return len(sample) - len(sample.translate(None, _LOW)) > len(sample) / 5


def _wide(data: bytes) -> str | None:
    """Returns UTF-16 or UTF-32 where the bytes are text in it, without a mark; None where they are not."""
    sample = data[: min(_SAMPLE, len(data) // 2 * 2)]
    plain = {encoding: _plainness(sample, encoding) for encoding in _UNMARKED}
    best = max(plain, key=lambda encoding: plain[encoding])
    return best if plain[best] >= _PLAIN else None


def _plainness(data: bytes, encoding: str) -> float:
    """Returns the share of characters that any text has, and that bytes in the wrong order are not; or 0."""
    decoder = codecs.getincrementaldecoder(encoding)()  # which leaves out a character that is cut at the end
    try:
        text = decoder.decode(data)
    except UnicodeDecodeError:
        return 0
    if not text or _CONTROLS.search(text) or sum(not (c.isprintable() or c.isspace()) for c in text) > len(text) // 50:
        return 0
    return len(_PLAIN_CHARS.findall(text)) / len(text)


def _stateful(data: bytes) -> str | None:
    """Returns the encoding of a text that changes its set of characters by escape sequences; None for any other."""
    if b"\x1b$" not in data:
        return None
    import chardet

    found = chardet.detect(data[:_SAMPLE])["encoding"]
    return found if found and found.lower().startswith("iso-2022") else None


def _is_utf8_with_mistakes(data: bytes) -> bool:
    first = _NOT_ASCII.search(data)
    start = first.start() if first else 0
    sample = data[start : start + _SAMPLE]
    text = sample.decode("utf-8", "replace")
    bad = text.count("\ufffd") - sample.count("\ufffd".encode())
    good = len(text) - bad - (len(sample) - _num_high(sample))  # characters of several bytes
    return good >= (_GOOD_PER_BAD * bad if bad > 1 else 1)


def _of_stray(error: UnicodeError) -> tuple[str, int]:
    """Replaces what is not UTF-8 in a text that otherwise is. A single byte is likely of Windows-1252."""
    assert isinstance(error, UnicodeDecodeError)
    stray = error.object[error.start : error.end]
    is_letter = len(stray) == 1 and stray[0] >= 0xA0
    return (stray.decode("latin-1") if is_letter else "\ufffd"), error.end


_STRAY = "polylens.stray"
codecs.register_error(_STRAY, _of_stray)


def _guesses(data: bytes) -> tuple[Any, Any]:
    """Returns what chardet takes a text for: of the encodings of web pages, and of those of DOS and Macintosh too."""
    import chardet  # half a second, which texts in UTF-8 need not wait for

    eras = chardet.EncodingEra
    modern = chardet.detect(data, encoding_era=eras.MODERN_WEB | eras.LEGACY_ISO)
    return modern, chardet.detect(data, encoding_era=eras.ALL & ~eras.MAINFRAME)


def _detected(data: bytes) -> str:
    sample = data[:_SAMPLE]
    if _num_high(sample) >= _FEW_BYTES:
        modern, old = _guesses(sample)
        is_old = old["confidence"] > max(_OLD_CONFIDENCE, _OLD_MARGIN * modern["confidence"])
        encoding = known_encoding((old if is_old else modern)["encoding"])
        if encoding and _fits(data, encoding):
            return data.decode(encoding, "replace")
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")
