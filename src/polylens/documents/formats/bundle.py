"""Files that hold other files: archives, messages with attachments, and mailboxes.

A member that cannot be read costs itself alone: its name stands among the contents, with the reason.
"""

from __future__ import annotations

import bisect
import itertools
import tempfile
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from polylens.documents.bounds import MAX_PAGES
from polylens.documents.document import Document
from polylens.errors import DocumentError
from polylens.types import Kind, Page

MAX_NAME = 200  # characters of a member's name that are shown

NO_PAGES = "is of a kind that has no pages"

_REMEMBERED = 16  # files whose layout is kept in memory

OpenFile = Callable[[Path], Document]
"""Opens a file that lies inside another."""


@dataclass(frozen=True, slots=True)
class Member:
    """One part of a bundle: a file in an archive, an attachment, or a message of a mailbox."""

    name: str
    """Where it lies, as it is shown: `archive.zip/inner/path`."""
    open: Callable[[], Document]
    """Opens it, or raises DocumentError."""
    title: str = ""
    """What stands above the text of each of its pages; "" for nothing."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Watches over the opening of members: one of them may end the process that reads them."""

    begin: Callable[[str], None]
    """Called with the name of each member before it is opened."""
    left_out: Mapping[str, str]
    """The reason why a member is not opened, by its name."""


_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Lets it watch over all bundles that the block opens."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


class Layout(NamedTuple):
    """What is found out by opening each member once."""

    counts: list[int]
    """Number of pages of each member."""
    reasons: dict[str, str]
    """Why a member has none, by its name, and why a part of a member is not read, by the names of both."""


class Bundle(Document):
    """A document whose pages are those of its members, in their order.

    Args:
        kind: The kind of pages that are no member's.
        members: The members. Each is opened once to count its pages, and again when one of them is read.
        head: Makes the pages that come first, from the reasons for which members could not be opened.
        key: Identifies the state of the file. A file of the same state is not counted again.
        close: Closes the file.
    """

    def __init__(
        self,
        kind: Kind,
        members: Sequence[Member],
        head: Callable[[Mapping[str, str]], Sequence[str]] = lambda _reasons: (),
        *,
        key: Hashable = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.kind = kind
        self._members = members
        self._close = close
        self._open: tuple[int, Document] | None = None
        layout = _layout(members, key)
        self.unread = _summary(layout.reasons)
        self._head = head(layout.reasons)
        self._ends = list(itertools.accumulate(layout.counts, initial=len(self._head)))

    @property
    def num_pages(self) -> int:
        return self._ends[-1]

    def page(self, number: int) -> Page:
        return self._page(number, is_drawn=True)

    def undrawn(self, number: int) -> Page:
        return self._page(number, is_drawn=False)

    def _page(self, number: int, *, is_drawn: bool) -> Page:
        if number <= len(self._head):
            return Page(number, None, self._head[number - 1])
        index = bisect.bisect_left(self._ends, number) - 1
        member = self._members[index]
        try:
            document = self._member(index)
            read = document.page if is_drawn else document.undrawn
            page = read(number - self._ends[index])
        except DocumentError as error:  # it could be opened, and this page of it cannot be read
            if not is_drawn:
                raise
            self.unread[f"{member.name}, page {number - self._ends[index]}"] = str(error)
            return Page(number, None, f"{member.name} {error}")
        kind = page.kind or ("image" if page.image is not None and document.kind != "pdf" else document.kind)
        text = "\n".join(filter(None, (member.title, page.text)))
        return replace(page, number=number, text=text, kind=kind)

    def _member(self, index: int) -> Document:
        if self._open is None or self._open[0] != index:
            self._close_member()
            self._open = index, self._members[index].open()
        return self._open[1]

    def _close_member(self) -> None:
        if self._open:
            self._open[1].close()
        self._open = None

    def close(self) -> None:
        self._close_member()
        self._close()


_layouts: OrderedDict[Hashable, Layout] = OrderedDict()
_layouts_lock = threading.Lock()


def _layout(members: Sequence[Member], key: Hashable) -> Layout:
    """Counts the pages of all members, or recalls them: a page of a large archive is asked for again and again."""
    with _layouts_lock:
        if key is not None and key in _layouts:
            _layouts.move_to_end(key)
            return _layouts[key]
    left = MAX_PAGES
    layout = Layout([], {})
    watch = _watch.get()
    for member in members:
        count = 0
        try:
            if not left:
                raise DocumentError(f"is left out, because the file has more than {MAX_PAGES:,} pages")
            if watch and member.name in watch.left_out:
                raise DocumentError(watch.left_out[member.name])
            if watch:
                watch.begin(member.name)
            with member.open() as document:
                count = min(document.num_pages, left)
                if count < document.num_pages:
                    layout.reasons[member.name] = f"is cut, because the file has more than {MAX_PAGES:,} pages"
                for part, reason in document.unread.items():
                    layout.reasons[part if part.startswith(member.name) else f"{member.name}, {part}"] = reason
        except DocumentError as error:
            layout.reasons[member.name] = str(error)
        except MemoryError:
            layout.reasons[member.name] = "needs more memory than a file may take"
        layout.counts.append(count)
        left -= count
    with _layouts_lock:
        if key is not None:
            _layouts[key] = layout
            while len(_layouts) > _REMEMBERED:
                _layouts.popitem(last=False)
    return layout


def _summary(reasons: Mapping[str, str]) -> dict[str, str]:
    """Returns the reasons, those of kinds without pages together: an archive may hold thousands of such files."""
    told = {name: reason for name, reason in reasons.items() if reason != NO_PAGES}
    others = [
        PurePosixPath(name).suffix or "without a suffix" for name, reason in reasons.items() if reason == NO_PAGES
    ]
    if others:
        kinds = ", ".join(f"{shown_name(kind)} {count}" for kind, count in Counter(others).most_common(10))
        told[f"files of kinds that have no pages ({kinds})"] = f"{len(others)} are left out"
    return told


def state_of(path: Path, *more: Hashable) -> Hashable:
    """Returns what identifies a file and its state, as the key of a bundle."""
    status = path.stat()
    return (str(path.absolute()), status.st_size, status.st_mtime_ns, status.st_ino, *more)


class _Unpacked(Document):
    """A document in a file of its own, which goes when it is closed."""

    def __init__(self, inner: Document, folder: tempfile.TemporaryDirectory[str], name: str) -> None:
        self.kind = inner.kind
        self.unread = inner.unread
        self._inner, self._folder, self._name = inner, folder, name

    @property
    def num_pages(self) -> int:
        return self._inner.num_pages

    def page(self, number: int) -> Page:
        try:
            return self._inner.page(number)
        except DocumentError as error:
            raise _without_name(error, self._name) from error

    def undrawn(self, number: int) -> Page:
        return self._inner.undrawn(number)

    def close(self) -> None:
        self._inner.close()
        self._folder.cleanup()


def open_bytes(name: str, data: bytes, open_file: OpenFile | None) -> Document:
    """Opens a file that lies inside another by the reader of its kind. The file itself is written to a private folder.

    Args:
        name: Its name, of which only the suffix is used: no name in an archive ever becomes a path.
        data: Its content.
        open_file: Opens it by its path; None where the file around it lies inside another itself.

    Raises:
        DocumentError: It cannot be opened; the message does not begin with its name.
    """
    if open_file is None:
        raise DocumentError("is not searched, because it lies in a file inside another; unpack that first")
    folder = tempfile.TemporaryDirectory(prefix="polylens-")
    path = Path(folder.name) / plain_name(name)
    try:
        path.write_bytes(data)
        return _Unpacked(open_file(path), folder, path.name)
    except DocumentError as error:
        folder.cleanup()
        raise _without_name(error, path.name) from error
    except BaseException:
        folder.cleanup()
        raise


def _without_name(error: DocumentError, name: str) -> DocumentError:
    return DocumentError(str(error).removeprefix(name).removeprefix(":").strip())


def plain_name(name: str) -> str:
    """Returns a name that is safe on any disk and tells the same kind.

    Example:
        >>> [plain_name(name) for name in ("../../Ärger.PDF", "LICENSE", "a.p\\nng", "x" * 999)]
        ['file.pdf', 'LICENSE', 'file', 'file']
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    suffix = PurePosixPath(last).suffix.lower()
    if suffix:
        return f"file{suffix}" if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 10 else "file"
    return last if last.isalpha() and last.isascii() and len(last) <= 20 else "file"


def shown_name(name: str) -> str:
    r"""Makes a name from inside a file fit to be shown: on one line, of bounded length, without hidden characters.

    Example:
        >>> print(shown_name("a\nb\u202e.txt"), shown_name("a" * 300)[98:104])
        a\nb\u202e.txt aa…aaa
    """
    cut = name if len(name) <= MAX_NAME else f"{name[: MAX_NAME // 2]}…{name[-MAX_NAME // 2 + 1 :]}"
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in cut)
