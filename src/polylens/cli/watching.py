"""What `polylens watch` prints."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from polylens.cli.bars import indexing_bar
from polylens.cli.escaping import shown

if TYPE_CHECKING:
    from polylens.library.library import Library
    from polylens.library.progress import Change, Report, UpdateProgress


class Watching:
    """Prints what `watch` does: one line per change on stdout, the rest on stderr, and on a terminal a progress bar.

    Args:
        one: Whether only one folder is watched, whose name then need not be printed.
    """

    def __init__(self, *, one: bool) -> None:
        self._one = one
        self._known: set[Library] = set()
        self._said: dict[Library, set[str]] = {}
        self._changes: list[Change] = []
        self._bar = ExitStack()
        self._report: Callable[[UpdateProgress], None] | None = None

    def progress(self, library: Library, progress: UpdateProgress) -> None:
        if progress.total_pages and self._report is None:
            self._report = self._bar.enter_context(indexing_bar())
        if self._report is not None:
            self._report(progress)
        if library in self._known:
            self._changes += progress.changes
        if self._report is None:  # a progress bar and printed lines would mix
            self._say_changes(library)

    def updated(self, library: Library, report: Report) -> None:
        self.close()
        self._say_changes(library)
        if library not in self._known:
            self._known.add(library)
            print(f"{self._name(library)}{summary(report)}", file=sys.stderr)
            print(f"watching {library.folder} (Ctrl-C ends it)", file=sys.stderr)
            if report.wordless:
                print(wordless(report), file=sys.stderr)
        self._say_unsearchable(library, report)

    def problem(self, library: Library, error: Exception) -> None:
        self.close()
        self._say_changes(library)
        print(f"{library.folder}: {error}", file=sys.stderr)

    def close(self) -> None:
        """Remove the progress bar."""
        self._report = None
        self._bar.close()

    def _say_changes(self, library: Library) -> None:
        for change in self._changes:
            print(shown(f"{self._name(library)}{change}"), flush=True)
        self._changes = []

    def _say_unsearchable(self, library: Library, report: Report) -> None:
        """Names what is not searchable, but what was named after the update before."""
        from polylens.library.unsearchable import listed

        lines = list(listed(report.passed_over, report.failed, report.partly).lines())
        for line in lines:
            if line not in self._said.get(library, set()):
                print(shown(f"{self._name(library)}{line}"), file=sys.stderr)
        self._said[library] = set(lines)

    def _name(self, library: Library) -> str:
        return "" if self._one else f"{library.folder.name}: "


def unread_in_short(report: Report, *, named: bool) -> str:
    """What of the folder is not searchable, in one line, beside the files that could not be read; "" where all is.

    Args:
        report: What an update reports.
        named: Whether each is named as well.
    """
    from polylens.documents.scan import UNSUPPORTED
    from polylens.library.unsearchable import count_kinds

    kinds = count_kinds(report.passed_over)
    others = sum(reason != UNSUPPORTED for _, reason in report.passed_over)
    partly = len({file for file, _, _ in report.partly})
    said = [
        f"kinds that are not read: {kinds}" if kinds else "",
        f"{others} empty, too large or no file" if others else "",
        f"{partly} read in part" if partly else "",
    ]
    found = "; ".join(filter(None, said))
    return f"not searchable: {found}" + ("" if named else " (--verbose names each)") if found else ""


def wordless(report: Report) -> str:
    """How many pages have words that nothing here can read, in one line."""
    from polylens.documents.ocr.rapid import ADVICE

    pages = f"{report.wordless} page{'s' * (report.wordless != 1)}"
    return f"{pages} without a text: found by their looks, not by words in them; {ADVICE} reads these (--ocr)"


def summary(report: Report) -> str:
    """What an update did, in one line."""
    rate = f", {report.pages / report.seconds:.1f} pages/s" if report.pages and report.seconds else ""
    counts = {
        "indexed": report.indexed,
        "unchanged": report.unchanged,
        "moved": report.moved,
        "removed": report.removed,
        "skipped": report.skipped,
        "failed": len(report.failed),
    }
    files = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    placed = f"; the places of the words added to {report.placed} pages" if report.placed else ""
    return f"files: {files or 'none'}; {report.pages} pages embedded in {report.seconds:.1f} s{rate}{placed}"
