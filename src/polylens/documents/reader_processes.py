"""Files that other processes read, within bounds. They are started as they are needed, and kept for the next file.

A reader is a large program that takes any bytes. Where one needs more memory or time than `Bounds` gives it, or
crashes, that costs the page or the file that it was at; another process reads on. What a process sends is checked: it
may have been taken over by what it read.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, cast, get_args

import PIL.Image

from polylens.documents.bounds import MAX_PAGE_CHARS, MAX_PAGES, Bounds
from polylens.documents.document import MAX_PIXELS, Document
from polylens.documents.opening import is_plain_text, open_document
from polylens.documents.reader_child import Child, Ended
from polylens.errors import DocumentError
from polylens.types import Box, Kind, Page, Word

MOST_PROCESSES = 8
MAX_LEFT_OUT = 5  # files inside a file that may end their process, before the whole is given up


class Readers:
    """A few processes that read files; close them, or use a `with` statement.

    Args:
        count: The most processes at a time.
        bounds: What each may take.
        keeps_words: Whether a page whose picture takes too much comes as its words alone.
    """

    def __init__(self, count: int, bounds: Bounds | None = None, *, keeps_words: bool = True) -> None:
        self.count = count
        self.keeps_words = keeps_words
        self.is_closed = False
        self.bounds = bounds or Bounds()
        self._children = [Child(self.bounds) for _ in range(count)]
        self._free = list(self._children)
        self._changed = threading.Condition()
        self._keys = itertools.count()

    def open(self, path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Document:
        """Opens a file as `open_document` does, which has the arguments and errors.

        Its pages may be read from several threads, as many at once as there are processes. `unread` also has what went
        beyond the bounds.
        """
        path = Path(path)
        # A process would add nothing: a short plain text is bounded by its size, and read by a few lines of Python.
        if sys.platform == "win32" or is_plain_text(path):
            return open_document(path, max_pixels=max_pixels)
        return _Bounded(self, path, max_pixels, next(self._keys))

    def take(self, key: int) -> Child:
        """Waits for a process, at best the one that has the file of this key open; `put` gives it back."""
        with self._changed:
            self._changed.wait_for(lambda: self._free)
            child = min(self._free, key=lambda each: (each.key != key, each.key is not None, not each.is_running))
            self._free.remove(child)
            if child.key != key:
                child.key = None  # whoever closes that file does not mean this process any more
            return child

    def put(self, child: Child) -> None:
        with self._changed:
            self._free.append(child)
            self._changed.notify()

    def forget(self, key: int) -> None:
        """Closes a file; a process that is still busy with it is ended."""
        with self._changed:
            free = [child for child in self._free if child.key == key]
            for child in self._children:
                if child in free:
                    self._free.remove(child)
                elif child.key == key:
                    child.kill()
        for child in free:
            child.close_file()
            self.put(child)

    def close(self) -> None:
        """Ends the processes, from any thread; may be called again."""
        self.is_closed = True
        for child in self._children:
            child.kill()
        with self._changed:
            for child in self._free:
                child.end()

    def __enter__(self) -> Readers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@functools.cache
def readers() -> Readers:
    """Returns the processes that all of this program shares. Those that nobody asks anything for a minute end."""
    shared = Readers(min(MOST_PROCESSES, max(1, (os.cpu_count() or 1) // 4)))
    atexit.register(shared.close)
    return shared


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=readers.cache_clear)  # the processes answer one program only


class _Bounded(Document):
    """A file that is open in another process, or in several."""

    def __init__(self, readers: Readers, path: Path, max_pixels: int, key: int) -> None:
        self._readers, self._path, self._max_pixels, self._key = readers, path, max_pixels, key
        self._lock = threading.Lock()
        self._left_out: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._failed: dict[int, str] = {}
        self._slow_seconds = 0.0
        self._is_closed = False
        try:
            answer = self._ask(None)[0]
        except Ended as ended:
            self.close()
            raise DocumentError(f"{path.name} {ended.reason}") from ended
        kind, num_pages = answer.get("kind"), answer.get("num_pages")
        if kind not in get_args(Kind) or not isinstance(num_pages, int) or not 0 <= num_pages <= MAX_PAGES:
            raise DocumentError(f"{path.name} made its reader send nonsense")
        self.kind = cast(Kind, kind)
        self._num_pages = num_pages

    @property
    def num_pages(self) -> int:
        return self._num_pages

    @property
    def unread(self) -> dict[str, str]:
        with self._lock:
            return {**self._told, **_ranges(self._failed)}

    def page(self, number: int) -> Page:
        if number in self._failed:
            raise DocumentError(self._failed[number])
        bounds = self._readers.bounds
        if self._slow_seconds > bounds.slow_seconds:
            raise self._error(number, f"is given up: the pages before it took {bounds.slow_seconds:g} s too long")
        try:
            return self._page(number, is_drawn=True)
        except Ended as ended:
            self._is_slow(bounds.page_seconds)
            page = self._words_of(number) if self._readers.keeps_words else None
            if page is None:
                raise self._error(number, ended.reason) from ended
            with self._lock:
                self._told[f"the picture of page {number}"] = ended.reason
            return page

    def _words_of(self, number: int) -> Page | None:
        """Returns a page without its picture; None where that takes too much, too, or says nothing."""
        try:
            return self._page(number, is_drawn=False)
        except (Ended, DocumentError):
            return None

    def page_or_none(self, number: int) -> Page | None:
        try:
            return self.page(number)
        except DocumentError as error:
            with self._lock:
                self._failed[number] = str(error)
            return None

    def close(self) -> None:
        self._is_closed = True
        self._readers.forget(self._key)

    def _error(self, number: int, reason: str) -> DocumentError:
        return DocumentError(f"{self._path.name}: page {number} {reason}")

    def _is_slow(self, seconds: float) -> None:
        with self._lock:
            self._slow_seconds += max(0.0, seconds - 1.0)

    def _page(self, number: int, *, is_drawn: bool) -> Page:
        answer, image = self._ask({"page": number, "is_drawn": is_drawn})
        seconds = answer.get("seconds")
        self._is_slow(seconds if isinstance(seconds, float) else 0.0)
        return _checked_page(number, answer, image)

    def _ask(self, request: Mapping[str, Any] | None) -> tuple[dict[str, Any], PIL.Image.Image | None]:
        """Asks a process about the file, which is opened there first if it is not; None only opens it.

        Raises:
            DocumentError: The answer says what is wrong.
            Ended: The process ended instead of answering.
        """
        child = self._readers.take(self._key)
        try:
            try:
                answer, image = self._asked(child, request)
            except Ended as ended:
                if not ended.is_idle:
                    raise
                answer, image = self._asked(child, request)
        finally:
            self._readers.put(child)
        self._require_sense(answer)
        return answer, image

    def _asked(self, child: Child, request: Mapping[str, Any] | None) -> tuple[dict[str, Any], PIL.Image.Image | None]:
        answer = self._opened_in(child) if child.key != self._key else {}
        return (answer, None) if request is None else child.ask(request)

    def _opened_in(self, child: Child) -> dict[str, Any]:
        """Opens the file, as often as a file inside it ends the process, and without that one from then on."""
        request = {"open": str(self._path.absolute()), "max_pixels": self._max_pixels}
        while True:
            if self._is_closed or self._readers.is_closed:
                raise DocumentError(f"{self._path.name} is closed")
            child.key = self._key
            try:
                answer, _ = child.ask({**request, "left_out": self._left_out})
                self._require_sense(answer)
                return answer
            except DocumentError:
                child.key = None
                raise
            except Ended as ended:
                if not ended.member or ended.member in self._left_out or len(self._left_out) >= MAX_LEFT_OUT:
                    raise
                self._left_out[ended.member] = ended.reason

    def _require_sense(self, answer: Mapping[str, Any]) -> None:
        if isinstance(error := answer.get("error"), str):
            raise DocumentError(error)
        unread = answer.get("unread")
        if isinstance(unread, dict):
            with self._lock:
                self._told |= {part: reason for part, reason in unread.items() if isinstance(reason, str)}


def _checked_page(number: int, answer: Mapping[str, Any], image: PIL.Image.Image | None) -> Page:
    """Makes a page of an answer, whose picture is checked already."""
    text, kind, words = answer.get("text"), answer.get("kind"), answer.get("words")
    try:
        if not isinstance(text, str) or len(text) > MAX_PAGE_CHARS or not isinstance(words, list):
            raise ValueError(f"a page whose text is a {type(text).__name__}")
        if kind is not None and kind not in get_args(Kind):
            raise ValueError(f"a page of the kind {kind}")
        found = tuple(Word(str(word), Box(*map(float, box))) for word, *box in words)
    except (TypeError, ValueError) as error:
        raise DocumentError(f"page {number} made its reader send nonsense") from error
    return Page(number, image, text, kind, found)


def _ranges(failed: Mapping[int, str]) -> dict[str, str]:
    """Returns the reasons of pages that failed; those of pages in a row that failed alike together.

    Example:
        >>> _ranges({2: "a.pdf: page 2 is broken", 4: "no", 5: "a.pdf: page 5 is slow", 6: "a.pdf: page 6 is slow"})
        {'page 2': 'is broken', 'page 4': 'no', 'pages 5 to 6': 'is slow'}
    """
    reasons = [(n, said.partition(f"page {n} ")[2] or said) for n, said in sorted(failed.items())]
    found: dict[str, str] = {}
    for _, group in itertools.groupby(enumerate(reasons), key=lambda one: (one[1][0] - one[0], one[1][1])):
        rows = [row for _, row in group]
        first, last = rows[0][0], rows[-1][0]
        found[f"page {first}" if first == last else f"pages {first} to {last}"] = rows[0][1]
    return found
