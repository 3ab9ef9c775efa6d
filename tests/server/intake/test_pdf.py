"""Pages of PDFs that strangers sent: what comes back, and what is left behind when it goes wrong (nothing)."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas
from tests.support.waiting import HANG, until

from polylens.documents import reader_child
from polylens.errors import DocumentError
from polylens.server.intake.pdf import render_pdf

HANGING = f"import os, pathlib, time; pathlib.Path({{!r}}).write_text(str(os.getpid())); time.sleep({2 * HANG})"


def make_pdf(*colours: str, password: str = "") -> bytes:
    """One page a colour, upright."""
    file = io.BytesIO()
    canvas = Canvas(file, pagesize=(300, 400), encrypt=StandardEncryption(password) if password else None)
    for colour in colours:
        canvas.setFillColor(colour)
        canvas.rect(0, 0, 300, 400, stroke=0, fill=1)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def render(
    data: bytes, *, max_pages: int = 10, max_pixels: int = 12_000, timeout: float = HANG
) -> list[PIL.Image.Image]:
    return asyncio.run(render_pdf(data, max_pages=max_pages, max_pixels=max_pixels, timeout=timeout))


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go in these tests."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture(autouse=True)
def nothing_is_left(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither a file nor a child process outlives the rendering that made it."""
    children = []

    class Noting(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            children.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noting)
    yield
    assert list(temporary.iterdir()) == []
    for process in children:
        assert process.returncode is not None
        with pytest.raises(ProcessLookupError):  # it is not even a zombie
            os.kill(process.pid, 0)


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a few lines of Python where the renderer was."""

    def replace(code: str) -> None:
        monkeypatch.setattr(reader_child, "COMMAND", (sys.executable, "-c", code))

    return replace


class TestPages:
    def test_every_page_in_order(self) -> None:
        first, second = render(make_pdf("red", "blue"))
        assert first.mode == second.mode == "RGB"
        assert (first.getpixel((5, 5)), second.getpixel((5, 5))) == ((255, 0, 0), (0, 0, 255))
        for page in (first, second):
            assert 11_000 < page.width * page.height <= 12_000
            assert abs(page.width / page.height - 0.75) < 0.01

    def test_as_many_pages_as_are_allowed(self) -> None:
        assert len(render(make_pdf("red", "blue"), max_pages=2)) == 2

    def test_two_at_once(self) -> None:
        async def scenario() -> list[list[PIL.Image.Image]]:
            files = [make_pdf("red"), make_pdf("blue")]
            jobs = (render_pdf(file, max_pages=1, max_pixels=10_000, timeout=HANG) for file in files)
            return await asyncio.gather(*jobs)

        [[first], [second]] = asyncio.run(scenario())
        assert (first.getpixel((0, 0)), second.getpixel((0, 0))) == ((255, 0, 0), (0, 0, 255))


class TestErrors:
    @pytest.mark.parametrize("data", [b"%PDF-1.7\nnonsense", b"\x89PNG\r\n\x1a\n", make_pdf("red")[:300]])
    def test_broken(self, data: bytes) -> None:
        with pytest.raises(DocumentError, match=r"^document.pdf is not a PDF, is broken, or has no pages$"):
            render(data)

    def test_empty(self) -> None:
        with pytest.raises(DocumentError, match=r"^document.pdf is empty"):
            render(b"")

    def test_password(self) -> None:
        with pytest.raises(DocumentError, match=r"^document.pdf is protected by a password$"):
            render(make_pdf("red", password="geheim"))

    def test_too_many_pages(self) -> None:
        with pytest.raises(DocumentError, match=r"^the PDF has 3 pages, and the limit is 2$"):
            render(make_pdf("red", "green", "blue"), max_pages=2)


class TestBounds:
    def test_time(self) -> None:
        with pytest.raises(DocumentError, match=r"^the PDF took longer than 0\.05 s to render$"):
            render(make_pdf("red"), timeout=0.05)

    def test_a_child_that_hangs_is_killed(self, child: Callable[[str], None], tmp_path: Path) -> None:
        mark = tmp_path / "pid"
        child(HANGING.format(str(mark)))
        for seconds in (2, 20, 200):  # a busy machine may kill it before it has said who it is
            with pytest.raises(DocumentError, match=f"took longer than {seconds} s"):
                render(b"", timeout=seconds)
            if mark.exists() and mark.read_text():
                break
        with pytest.raises(ProcessLookupError):
            os.kill(int(mark.read_text()), 0)

    def test_a_task_that_is_cancelled_kills_its_child(self, child: Callable[[str], None], tmp_path: Path) -> None:
        mark = tmp_path / "pid"
        child(HANGING.format(str(mark)))

        async def scenario() -> None:
            task = asyncio.create_task(render_pdf(b"", max_pages=1, max_pixels=100, timeout=HANG))
            await asyncio.to_thread(until, lambda: mark.exists() and mark.read_text())
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(scenario())  # the child would sleep for longer than a test may take
        with pytest.raises(ProcessLookupError):
            os.kill(int(mark.read_text()), 0)

    @pytest.mark.parametrize(
        ("code", "said"),
        [
            ("import os; os.abort()", "SIGABRT"),
            ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
            ("raise SystemExit(3)", "exit status 3"),
            ("import os; os.write(1, b'P'); os.abort()", "SIGABRT"),
        ],
    )
    def test_a_child_that_dies(self, code: str, said: str, child: Callable[[str], None]) -> None:
        child(f"import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n{code}")
        with pytest.raises(DocumentError) as caught:
            render(make_pdf("red"))
        assert str(caught.value) == f"document.pdf crashed the process that reads it ({said})"

    def test_a_child_that_answers_nonsense(self, child: Callable[[str], None]) -> None:
        child("import sys, time; sys.stdout.buffer.write(b'?' * 500); sys.stdout.flush(); time.sleep(600)")
        with pytest.raises(DocumentError, match="made its reader send what is no answer"):
            render(b"", max_pixels=100)

    def test_each_gets_a_process_of_its_own_that_may_write_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        code = (
            "import json, os, resource as r, struct, sys\nfrom polylens.documents import reader_process\n"
            "said = ' '.join(str(r.getrlimit(k)[0]) for k in (r.RLIMIT_DATA, r.RLIMIT_FSIZE, r.RLIMIT_CORE))\n"
            "def answer(self, request): self._send({'error': f'{said} {os.getpid()}'}, None)\n"
            "reader_process._Reader.answer = answer\n"
            "limit = reader_process.limit\n"
            "def limited(bounds):\n    global said\n    limit(bounds)\n"
            "    said = ' '.join(str(r.getrlimit(k)[0]) for k in (r.RLIMIT_DATA, r.RLIMIT_FSIZE, r.RLIMIT_CORE))\n"
            "reader_process.limit = limited\nreader_process.main(*sys.argv[1:])"
        )
        monkeypatch.setattr(reader_child, "COMMAND", (sys.executable, "-P", "-c", code))
        told = set()
        for _ in range(2):
            with pytest.raises(DocumentError, match=rf"^{2 * 1024**3} 0 0 \d+$") as caught:
                render(b"")
            told.add(str(caught.value))
        assert len(told) == 2
