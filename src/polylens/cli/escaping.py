"""How the name of a file is shown: a name cannot forge a line of output, nor change what stands beside it."""

from __future__ import annotations

import unicodedata

_ESCAPED = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, halves of characters, ends of lines and paragraphs
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def shown(text: str) -> str:
    r"""Escapes control characters, ends of lines, and marks that turn the direction of what follows.

    Args:
        text: A name, or a line that has names in it. Bytes of a name that are not UTF-8 are escaped as `\xff`.

    Example:
        >>> print(shown("new\nline.txt"), shown("invoice\u202efdp.exe"), shown("Résumé – 報告.txt"))
        new\nline.txt invoice\u202efdp.exe Résumé – 報告.txt
    """
    return "".join(map(_shown, text)) if not (text.isascii() and text.isprintable()) else text


def shown_error(message: str) -> str:
    r"""Escapes a message like `shown`, but keeps the ends of lines before an indented command.

    A name in the message may have such an end of line in it, too; what follows is indented, so it is no line of ours.

    Example:
        >>> print(shown_error("fetch it:\n    hf download x\nforged"))
        fetch it:
            hf download x\nforged
    """
    return "\n    ".join(map(shown, message.split("\n    ")))


def _shown(char: str) -> str:
    if unicodedata.category(char) not in _ESCAPED and char not in _DIRECTIONS:
        return char
    if "\udc80" <= char <= "\udcff":  # how Python holds a byte that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape", "backslashreplace").decode()
