"""Files read by other processes: the same pages, and what exceeds a bound costs its page or its file alone."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.support import papers
from tests.support.fakes import FakeEmbedder
from tests.support.papers import make_image, make_pdf
from tests.support.waiting import until

from polylens.documents import bounds, open_document, reader_child, reader_processes
from polylens.documents.bounds import GB, Bounds, within
from polylens.documents.reader_process import LENGTH
from polylens.documents.reader_processes import Readers, readers
from polylens.errors import DocumentError
from polylens.library.reading import pages_ahead

DOES = """
import json, os, signal, sys, time
from polylens.documents import reader_process
page = reader_process._Reader._page
def does(self, number, *, is_drawn):
    answer, image = page(self, number, is_drawn=is_drawn)
    if "bad" in answer["text"] and (is_drawn or {always}):
        {what}
    return answer, image
reader_process._Reader._page = does
reader_process.main(*sys.argv[1:])
"""
CRASH = "os.kill(os.getpid(), signal.SIGSEGV)"


@pytest.fixture
def does(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Processes that do something at a page with the word "bad"."""

    def replace(what: str, *, always: bool = True) -> None:
        code = DOES.format(what=what, always=always)
        monkeypatch.setattr(reader_child, "COMMAND", (sys.executable, "-P", "-c", code))

    return replace


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a few lines of Python where the process was."""

    def replace(code: str) -> None:
        file = tmp_path / "child.py"  # a command line may not have all that some send
        file.write_text(code)
        monkeypatch.setattr(reader_child, "COMMAND", (sys.executable, "-I", "-S", str(file)))

    return replace


def read(path: Path, **changes: float) -> tuple[list[str], dict[str, str]]:
    with Readers(1, Bounds(**changes)) as pool, pool.open(path) as document:  # type: ignore[arg-type]
        return [page.text for page in document], document.unread


class TestTheSame:
    def test_pages(self, tmp_path: Path) -> None:
        make_pdf(tmp_path / "ünïcode \n.pdf", "one", "two", "three")
        [path] = tmp_path.iterdir()
        with Readers(2) as pool, open_document(path) as ours, pool.open(path) as theirs:
            assert (theirs.kind, theirs.num_pages) == ("pdf", 3)
            with ThreadPoolExecutor(3) as threads:
                found = list(threads.map(theirs.page, (3, 1, 2)))
            for page in found:
                expected = ours.page(page.number)
                assert (page.number, page.text, page.words) == (expected.number, expected.text, expected.words)
                assert page.image is not None and np.array_equal(np.asarray(page.image), np.asarray(expected.image))

    def test_every_kind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reader_child, "STRIP", 5_000)  # the pictures come in several
        papers.make_docx(tmp_path / "a.docx")
        papers.make_pptx(tmp_path / "a.pptx")
        papers.make_xlsx(tmp_path / "a.xlsx")
        make_image(tmp_path / "a.png", "red")
        papers.pack(tmp_path / "a.zip", {"inner.pdf": papers_pdf(tmp_path), "note.txt": "words", "b.mp3": "?"})
        with Readers(1) as pool:
            for path in sorted(tmp_path.iterdir()):
                with open_document(path) as ours, pool.open(path) as theirs:
                    for mine, other in zip(ours, theirs, strict=True):
                        assert (mine.number, mine.text, mine.kind) == (other.number, other.text, other.kind)
                        assert np.array_equal(np.asarray(mine.image), np.asarray(other.image))
                    assert (ours.kind, ours.unread) == (theirs.kind, theirs.unread)
            process = pool._children[0]._process
            assert process is not None and process.poll() is None  # one, for all of them

    def test_errors(self, tmp_path: Path) -> None:
        (tmp_path / "broken.pdf").write_bytes(b"no PDF")
        make_pdf(tmp_path / "locked.pdf", "secret", password="x")
        (tmp_path / "cut.docx").write_bytes(b"PK\3\4")
        with Readers(1) as pool:
            for name in ("broken.pdf", "locked.pdf", "absent.pdf", "cut.docx"):
                with pytest.raises(DocumentError) as ours:
                    open_document(tmp_path / name)
                with pytest.raises(DocumentError) as theirs:
                    pool.open(tmp_path / name)
                assert str(theirs.value) == str(ours.value)

    def test_a_short_plain_text_starts_no_process(self, tmp_path: Path, child: Callable[[str], None]) -> None:
        child("raise SystemExit(9)")
        (tmp_path / "a.txt").write_text("words")
        assert read(tmp_path / "a.txt") == (["words"], {})
        (tmp_path / "b.txt").write_text("x\n" * 600_000)
        with pytest.raises(DocumentError, match="exit status 9"):
            read(tmp_path / "b.txt")


def papers_pdf(folder: Path) -> bytes:
    make_pdf(folder / "x.pdf", "inside")
    data = (folder / "x.pdf").read_bytes()
    (folder / "x.pdf").unlink()
    return data


class TestBounds:
    @pytest.mark.parametrize("processes", [1, 2])
    def test_a_crash_costs_its_page(self, tmp_path: Path, does: Callable[..., None], processes: int) -> None:
        does(CRASH)
        make_pdf(tmp_path / "a.pdf", "one")
        make_pdf(tmp_path / "b.pdf", "two", "bad", "three")
        make_pdf(tmp_path / "c.pdf", "four", "five")
        files = [(name, tmp_path / name) for name in ("a.pdf", "b.pdf", "c.pdf")]
        with Readers(processes) as pool, pages_ahead(files, FakeEmbedder(), within=pool) as steps:
            found = [(step.file, step.page.text if step.page else "", dict(step.unread)) for step in steps]
        reason = f"crashed the process that reads it ({signal.SIGSEGV.name})"
        assert found == [
            ("a.pdf", "one", {}),
            ("a.pdf", "", {}),
            ("b.pdf", "two", {}),
            ("b.pdf", "three", {}),
            ("b.pdf", "", {"page 2": reason}),
            ("c.pdf", "four", {}),
            ("c.pdf", "five", {}),
            ("c.pdf", "", {}),
        ]

    @pytest.mark.parametrize(
        ("what", "said"),
        [
            (CRASH, "crashed the process that reads it (SIGSEGV)"),
            ("os._exit(0)", "crashed the process that reads it (exit status 0)"),
            ("raise MemoryError", "is given up: it needs more than 1 GB of memory"),
            ("bytearray(1024**3)", "is given up: it needs more than 1 GB of memory"),
            ("x = bytearray(700 * 2**20); os.abort()", "is given up: it needs more than 1 GB of memory"),
            ("while True: pass", "is given up: it takes more than 1 s"),
            ("time.sleep(600)", "is given up: no answer came within 10 s"),
            ("os.write(3, b'?' * 100)", "is given up: it made its reader send what is no answer"),
        ],
    )
    def test_the_bound_is_named(self, tmp_path: Path, does: Callable[..., None], what: str, said: str) -> None:
        does(what, always=False)
        make_pdf(tmp_path / "a.pdf", "one", "bad", "three")
        patience = 10.0 if "sleep" in what else 600.0
        texts, unread = read(tmp_path / "a.pdf", memory=GB, page_seconds=1, patience=patience)
        assert texts == ["one", "bad", "three"]  # what it says comes without its picture
        assert unread["the picture of page 2"] == said

    def test_it_names_page_and_file_where_nothing_comes(self, tmp_path: Path, does: Callable[..., None]) -> None:
        does("while True: pass")
        make_pdf(tmp_path / "a.pdf", "bad")
        with pytest.raises(DocumentError, match=r"^a.pdf: page 1 is given up: it takes more than 1 s$"):
            read(tmp_path / "a.pdf", page_seconds=1)

    def test_a_file_whose_pages_are_all_slow_is_given_up(self, tmp_path: Path, does: Callable[..., None]) -> None:
        does(CRASH)
        make_pdf(tmp_path / "a.pdf", "one", *["bad"] * 4, "six")
        texts, unread = read(tmp_path / "a.pdf", page_seconds=30, slow_seconds=40)
        assert texts == ["one"]
        assert list(unread) == ["pages 2 to 3", "pages 4 to 6"] and "given up" in unread["pages 4 to 6"]

    def test_opening_is_bounded(self, tmp_path: Path, child: Callable[[str], None]) -> None:
        make_pdf(tmp_path / "a.pdf", "one")
        limits = "import resource as r; r.setrlimit(r.RLIMIT_CORE, (0, 0)); "
        for code, said in (
            (limits + "import os; os.abort()", r"crashed the process that reads it \(SIGABRT\)"),
            ("raise SystemExit(3)", r"crashed the process that reads it \(exit status 3\)"),
            (limits + "r.setrlimit(r.RLIMIT_CPU, (1, 9))\nwhile True: pass", "it takes more than 60 s"),
        ):
            child(code)
            with pytest.raises(DocumentError, match=f"^a.pdf .*{said}$"):
                read(tmp_path / "a.pdf")

    def test_memory_where_the_system_has_no_limit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As on macOS: a thread watches it, and what this large process has had does not count."""
        large = b"?" * (600 * 2**20)
        del large
        code = DOES.replace(
            "page =", "reader_process._lower = lambda *_: None; sys.platform = 'elsewhere'\npage =", 1
        ).format(what="x = bytearray(600 * 2**20)\n        time.sleep(60)", always=False)
        monkeypatch.setattr(reader_child, "COMMAND", (sys.executable, "-P", "-c", code))
        make_pdf(tmp_path / "a.pdf", "bad")
        texts, unread = read(tmp_path / "a.pdf", memory=GB // 2)
        assert (texts, unread) == (
            ["bad"],
            {"the picture of page 1": "is given up: it needs more than 0.5 GB of memory"},
        )

    def test_a_fault_of_a_reader_costs_its_file(self, tmp_path: Path, does: Callable[..., None]) -> None:
        does("raise ZeroDivisionError('of the reader')")
        make_pdf(tmp_path / "a.pdf", "one", "bad")
        texts, unread = read(tmp_path / "a.pdf")
        assert texts == ["one"]
        assert unread == {"page 2": "a.pdf cannot be read (ZeroDivisionError: of the reader)"}


class TestFilesInFiles:
    def test_one_that_ends_the_process_is_left_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        code = DOES.replace(
            "page =",
            "from polylens.documents.formats import word\n"
            "def crash(path): os.kill(os.getpid(), signal.SIGSEGV)\nword.open_word = crash\npage =",
            1,
        ).format(what="pass", always=False)
        monkeypatch.setattr(reader_child, "COMMAND", (sys.executable, "-P", "-c", code))
        papers.pack(tmp_path / "a.zip", {"one.txt": "first", "bad.docx": "?", "two.txt": "second", "worse.docx": "?"})
        texts, unread = read(tmp_path / "a.zip")
        reason = "crashed the process that reads it (SIGSEGV)"
        assert unread == {"a.zip/bad.docx": reason, "a.zip/worse.docx": reason}
        assert "bad.docx (crashed" in texts[0] and texts[1:] == ["a.zip/one.txt\nfirst", "a.zip/two.txt\nsecond"]

    def test_not_many(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.test_one_that_ends_the_process_is_left_out(tmp_path, monkeypatch)
        monkeypatch.setattr(reader_processes, "MAX_LEFT_OUT", 1)
        with pytest.raises(DocumentError, match=r"^a.zip crashed the process"):
            read(tmp_path / "a.zip")


class TestNonsense:
    """A process that was taken over sends what it likes."""

    @pytest.mark.parametrize(
        "answer",
        [
            b"[]",
            b"{",
            b"\xff",
            b'{"kind": "pdf"}',
            b'{"kind": "virus", "num_pages": 1}',
            b'{"kind": "pdf", "num_pages": -1}',
            b'{"kind": "pdf", "num_pages": 1000000000}',
            b'{"kind": "pdf", "num_pages": "1"}',
            b'{"kind": ["pdf"], "num_pages": 1}',
        ],
    )
    def test_about_the_file(self, tmp_path: Path, child: Callable[[str], None], answer: bytes) -> None:
        child(f"import os, time; os.write(1, {LENGTH.pack(len(answer)) + answer!r}); time.sleep(60)")
        with pytest.raises(DocumentError, match=r"^a.pdf .*(nonsense|what is no answer)$"):
            read(tmp_path / "a.pdf")

    @pytest.mark.parametrize(
        "page",
        [
            {"size": [2**20, 2**20]},
            {"size": [0, 5]},
            {"size": [1]},
            {"size": "large"},
            {"text": 5},
            {"text": "x" * 200_001},
            {"kind": "virus"},
            {"words": [["a", 1, 2, 3]]},
            {"words": [["a", 1, 2, 3, "b"]]},
            {"words": 7},
            {},
        ],
    )
    def test_about_a_page(self, tmp_path: Path, child: Callable[[str], None], page: dict[str, object]) -> None:
        good = {"text": "words", "kind": None, "words": [], "size": None, "seconds": 0.1, "unread": {}}
        answers = [{"kind": "pdf", "num_pages": 1}, {**good, **page} if page else {}]
        data = b"".join(LENGTH.pack(len(each)) + each for each in (json.dumps(a).encode() for a in answers))
        child(f"import os, sys, time; sys.stdout.buffer.write({data!r}); sys.stdout.flush(); time.sleep(60)")
        with pytest.raises(DocumentError, match=r"page 1 .*(nonsense|what is no answer)$"):
            read(tmp_path / "a.pdf")

    def test_more_than_anyone_asked_for(self, tmp_path: Path, child: Callable[[str], None]) -> None:
        child(f"import sys\nwhile True: sys.stdout.buffer.write({LENGTH.pack(2**31)!r})")
        with pytest.raises(DocumentError, match="what is no answer"):
            read(tmp_path / "a.pdf")


class TestProcesses:
    def test_a_crash_while_a_file_is_closed_is_not_the_next_ones(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        code = DOES.replace(
            "page =",
            "close = reader_process._Reader._close\n"
            "def closes(self):\n"
            "    if self._name == 'a.pdf': os.kill(os.getpid(), signal.SIGSEGV)\n"
            "    close(self)\n"
            "reader_process._Reader._close = closes\npage =",
            1,
        ).format(what="pass", always=True)
        monkeypatch.setattr(reader_child, "COMMAND", (sys.executable, "-P", "-c", code))
        with Readers(1) as pool:
            for name in ("a.pdf", "b.pdf"):
                make_pdf(tmp_path / name, name)
                with pool.open(tmp_path / name) as document:
                    assert document.page(1).text == name

    def test_one_that_does_not_start(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reader_child, "COMMAND", ("/no/such/program",))
        with pytest.raises(DocumentError, match=r"^a.pdf cannot be read: its reader does not start \(No such file"):
            read(tmp_path / "a.pdf")

    def test_they_end_with_the_block_and_leave_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "temporary"
        folder.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        papers.pack(tmp_path / "a.zip", {"inner.pdf": papers_pdf(tmp_path)})
        with Readers(1) as pool:
            document = pool.open(tmp_path / "a.zip")
            document.page(2)
            process = pool._children[0]._process
            assert process is not None and process.poll() is None
            assert len(list(folder.rglob("file.pdf"))) == 1
        assert process.poll() is not None and list(folder.iterdir()) == []

    def test_one_that_has_nothing_to_do_ends_and_is_not_missed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        code = DOES.replace("page =", "reader_process.IDLE_SECONDS = 0.01\npage =", 1).format(what="pass", always=True)
        monkeypatch.setattr(reader_child, "COMMAND", (sys.executable, "-P", "-c", code))
        make_pdf(tmp_path / "a.pdf", "one", "two")
        with Readers(1) as pool, pool.open(tmp_path / "a.pdf") as document:
            first = pool._children[0]._process
            assert first is not None
            until(lambda: os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None)
            assert document.page(2).text == "two"

    def test_closing_ends_what_is_under_way(self, tmp_path: Path, does: Callable[..., None]) -> None:
        mark = tmp_path / "mark"
        does(f"open({str(mark)!r}, 'w'); time.sleep(600)")
        make_pdf(tmp_path / "a.pdf", "bad")
        with Readers(1) as pool:
            document = pool.open(tmp_path / "a.pdf")
            thread = threading.Thread(target=document.page_or_none, args=(1,))
            thread.start()
            until(mark.exists)
            document.close()
            thread.join()
        assert "crashed" in document.unread["page 1"]

    def test_no_secret_and_no_torch(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("POLYLENS_API_KEYS", "secret")
        code = (
            "import json, os, struct, sys\nfrom polylens.documents import reader_process\n"
            "from polylens.documents.formats import pdf, sheets, mail\n"
            "heavy = {'torch', 'transformers', 'lancedb'} & set(sys.modules)\n"
            "said = str((sorted(heavy), 'secret' in str(os.environ)))\n"
            "data = json.dumps({'error': said}).encode()\n"
            "sys.stdout.buffer.write(struct.pack('!I', len(data)) + data)"
        )
        monkeypatch.setattr(reader_child, "COMMAND", (sys.executable, "-P", "-c", code))
        with pytest.raises(DocumentError, match=r"^\(\[\], False\)$"):
            read(tmp_path / "a.pdf")

    def test_what_a_library_prints_is_no_answer(
        self, tmp_path: Path, does: Callable[..., None], capfd: pytest.CaptureFixture[str]
    ) -> None:
        does("os.write(1, b'odd font'); os.write(2, b'odd font')")
        make_pdf(tmp_path / "a.pdf", "bad")
        assert read(tmp_path / "a.pdf") == (["bad"], {})
        assert capfd.readouterr() == ("", "")

    def test_all_of_a_program_share_them(self) -> None:
        assert readers() is readers()


class TestTexts:
    def test_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bounds, "MAX_PAGES", 3)
        unread: dict[str, str] = {}
        assert list(within("abc", unread)) == ["a", "b", "c"] and unread == {}
        assert list(within("abcd", unread)) == ["a", "b", "c"]
        assert unread == {"the text after page 3": "is left out: a file has at most 3 pages"}

    def test_characters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bounds, "MAX_CHARS", 10)
        monkeypatch.setattr(bounds, "FREE_CHARS", 4)
        monkeypatch.setattr(bounds, "CHARS_PER_BYTE", 2)
        unread: dict[str, str] = {}
        assert list(within(["aaaaa", "bbbbb"], unread)) == ["aaaaa", "bbbbb"] and unread == {}
        assert list(within(["aaaaa", "bbb"], unread, packed_bytes=1)) == ["aaaaa"]
        assert unread == {
            "the text after page 1": "is left out: a file of this kind and of this size has at most 6 characters"
        }

    def test_what_lies_beyond_is_never_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bounds, "MAX_PAGES", 2)
        made = []
        list(within((made.append(n) or str(n) for n in range(10**9)), {}))  # type: ignore[func-returns-value]
        assert len(made) == 3


def test_a_crash_is_one_even_where_this_process_has_much_memory(tmp_path: Path, does: Callable[..., None]) -> None:
    """Linux begins the account of a process's memory with what the process had that started it."""
    held = bytearray(700 * 2**20)  # written to, so that it is in memory
    does(CRASH, always=False)
    make_pdf(tmp_path / "a.pdf", "one", "bad")
    _, unread = read(tmp_path / "a.pdf", memory=GB)
    assert unread["the picture of page 2"] == "crashed the process that reads it (SIGSEGV)" and len(held) == 700 * 2**20
