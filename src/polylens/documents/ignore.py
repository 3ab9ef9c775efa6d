"""Which files of a folder are left alone: the patterns of its `.polylensignore`, in the syntax of `.gitignore`.

As git has it: `*.log` anywhere, `/drafts` in the folder itself, `old/` folders only, `!keep.log` takes one back, the
last pattern that fits decides, and what lies in an ignored folder cannot be taken back.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from pathspec import GitIgnoreSpec

from polylens.errors import InputError

IGNORE_FILE = ".polylensignore"


class Ignore:
    """The patterns of one folder.

    Args:
        lines: Of the file.
        source: Its name, for messages.

    Raises:
        InputError: A line is no pattern; the message names it.

    Example:
        >>> ignore = Ignore(["*.log", "!keep.log", "drafts/"])
        >>> [ignore.covers(file) for file in ("a.log", "keep.log", "drafts/keep.log", "a.txt")]
        [True, False, True, False]
    """

    def __init__(self, lines: list[str], source: str = IGNORE_FILE) -> None:
        for number, line in enumerate(lines, start=1):
            _check(line, f"{source}, line {number}")
        self._spec = GitIgnoreSpec.from_lines(lines)

    def covers(self, file: str) -> bool:
        """Is a file left alone, by its own name or by a folder that it is in?

        Args:
            file: Relative, POSIX.
        """
        folders = list(PurePosixPath(file).parents)[-2::-1]  # the outermost first, the folder itself left out
        return any(self.covers_folder(folder.as_posix()) for folder in folders) or self.covers_file(file)

    def covers_file(self, file: str) -> bool:
        """Is a file left alone by its own name? The folders around it are not asked."""
        return self._spec.match_file(file)

    def covers_folder(self, folder: str) -> bool:
        """Is a folder left alone, with all that is in it? Those around it are not asked."""
        return self._spec.match_file(f"{folder}/")


def read_ignore(folder: Path) -> Ignore:
    """The patterns of a folder; none where it has no such file.

    Raises:
        InputError: The file cannot be read, or a line of it is no pattern.
    """
    path = folder / IGNORE_FILE
    try:
        return Ignore(path.read_text(encoding="utf-8-sig").splitlines(), str(path))
    except FileNotFoundError:
        return Ignore([])
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as such") from error


def _check(line: str, place: str) -> None:
    """The library takes some malformed patterns for ones that fit nothing; a person should hear of it."""
    if not line.strip() or line.startswith("#"):
        return
    try:
        [pattern] = GitIgnoreSpec.from_lines([line]).patterns
        reason = "" if pattern.include is not None else "it fits nothing"
    except (ValueError, re.error) as error:
        reason = str(error)
    if reason:
        raise InputError(
            f"{place}: {line!r} is not a pattern as .gitignore has them ({reason}); correct it or remove it"
        )
