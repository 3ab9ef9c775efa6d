r"""Content lines, which calendars and contacts are written in: `NAME;PARAMETER=value:value`, long ones folded.

RFC 5545, section 3.1, https://www.rfc-editor.org/rfc/rfc5545; RFC 6350, section 3, https://www.rfc-editor.org/rfc/rfc6350.
"""

from __future__ import annotations

import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import webencodings

_LINE = re.compile(r'(?P<name>[\w.-]{1,200})(?P<parameters>(?:;(?:"[^"\n]*"|[^":\n])*)?):(?P<value>.*)', re.S)
_PARAMETER = re.compile(r';([\w-]{1,100})(?:=("[^"]*"|[^;"]*))?')
_ESCAPED = re.compile(r"\\(.)", re.S)


@dataclass(frozen=True, slots=True)
class ContentLine:
    """One property."""

    name: str
    """In capitals, without the group that a contact may put before it."""
    value: str
    """As it is written, with its escapes."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Values by names in capitals. One without a name, as in version 2.1 of contacts, has the value ""."""

    @property
    def text(self) -> str:
        """The value as text."""
        return unescaped(self.value)

    @property
    def fields(self) -> list[str]:
        """The parts of a structured value, such as a name or an address."""
        return [unescaped(part) for part in re.split(r"(?<!\\);", self.value)]


def read_lines(text: str) -> Iterator[ContentLine]:
    r"""Reads the properties of a file, in order. Lines that are none are left out.

    Example:
        >>> [line] = read_lines("item1.TEL;TYPE=\"work\";PREF:+47 55\n  12 34\n")
        >>> line.name, line.parameters, line.text
        ('TEL', {'TYPE': 'work', 'PREF': ''}, '+47 55 12 34')
    """
    for line in _unfolded(text):
        match = _LINE.fullmatch(line)
        if match:
            found = _PARAMETER.findall(match["parameters"])
            parameters = {name.upper(): value.strip('"') for name, value in found}
            value = _unquoted(match["value"], parameters)
            yield ContentLine(match["name"].rpartition(".")[2].upper(), value, parameters)


def _unfolded(text: str) -> Iterator[str]:
    """Joins folded lines: a line that begins with a blank goes on, and so does a quoted-printable one after `=`."""
    open_line: list[str] = []
    is_soft = False
    for line in text.split("\n"):
        if is_soft:
            open_line.append("\n" + line)
        elif line[:1] in (" ", "\t") and open_line:
            open_line.append(line[1:])
        else:
            if open_line:
                yield "".join(open_line)
            open_line = [line]
        is_soft = line.endswith("=") and "QUOTED-PRINTABLE" in open_line[0].partition(":")[0].upper()
    if open_line:
        yield "".join(open_line)


def _unquoted(value: str, parameters: dict[str, str]) -> str:
    if "QUOTED-PRINTABLE" not in (parameters.get("ENCODING", "").upper(), *parameters):
        return value.replace("\n", "")
    encoding = webencodings.lookup(parameters.get("CHARSET", "utf-8"))
    data = quopri.decodestring(value.encode("utf-8", "replace"))
    return data.decode(encoding.codec_info.name if encoding else "utf-8", "replace").replace("\r\n", "\n")


def unescaped(value: str) -> str:
    r"""Returns the text that a value stands for.

    Example:
        >>> unescaped(r"Bergen\, Norway\nQuay 4")
        'Bergen, Norway\nQuay 4'
    """
    return _ESCAPED.sub(lambda match: "\n" if match[1] in "nN" else match[1], value)
