"""Which files of a folder are ignored: the patterns of its `.polylensignore`, in the syntax of `.gitignore`.

The rules are git's: `*.log` matches anywhere, `/drafts` in the folder itself, `old/` folders only; `!keep.log` includes
a file again; the last pattern that matches decides; files in an ignored folder cannot be included again.
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
        lines: The lines of the file.
        source: Name of the file, for messages.

    Raises:
        InputError: A line is not a valid pattern; the message quotes it.

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
        """Returns whether a file is ignored, by its own name or by that of a folder it is in.

        Args:
            file: Path relative to the folder, with `/`.
        """
        folders = list(PurePosixPath(file).parents)[-2::-1]  # the outermost first, the folder itself left out
        return any(self.covers_folder(folder.as_posix()) for folder in folders) or self.covers_file(file)

    def covers_file(self, file: str) -> bool:
        """Returns whether a file is ignored by its own name; the folders around it are not considered."""
        return self._spec.match_file(file)

    def covers_folder(self, folder: str) -> bool:
        """Returns whether a folder is ignored, with all files in it; the folders around it are not considered."""
        return self._spec.match_file(f"{folder}/")


def read_ignore(folder: Path) -> Ignore:
    """Reads the patterns of a folder; there are none if it has no such file.

    Raises:
        InputError: The file cannot be read, or a line of it is not a valid pattern.
    """
    path = folder / IGNORE_FILE
    try:
        return Ignore(path.read_text(encoding="utf-8-sig").splitlines(), str(path))
    except FileNotFoundError:
        return Ignore([])
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error


def _check(line: str, place: str) -> None:
    """Refuses malformed patterns, some of which pathspec accepts as patterns that match nothing."""
    if not line.strip() or line.startswith("#"):
        return
    try:
        [pattern] = GitIgnoreSpec.from_lines([line]).patterns
        reason = "" if pattern.include is not None else "it matches nothing"
    except (ValueError, re.error) as error:
        reason = str(error)
    if reason:
        raise InputError(f"{place}: {line!r} is not a valid .gitignore pattern ({reason}); correct it or remove it")
