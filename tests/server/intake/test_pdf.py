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

from polylens.errors import DocumentError
from polylens.server.intake import pdf, pdf_worker
from polylens.server.intake.pdf import render_pdf

HANGING = f"import os, pathlib, time; pathlib.Path({{!r}}).write_text(str(os.getpid())); time.sleep({2 * HANG})"
LIMITS = (
    "import resource as r; print([r.getrlimit(k) for k in (r.RLIMIT_AS, r.RLIMIT_CPU, r.RLIMIT_FSIZE, r.RLIMIT_CORE)])"
)


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
    start, children = asyncio.create_subprocess_exec, []

    async def noting(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        children.append(await start(*arguments, **options))
        return children[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noting)
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
        monkeypatch.setattr(pdf, "COMMAND", (sys.executable, "-c", code))

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

    def test_a_child_that_never_stops_talking(self, child: Callable[[str], None]) -> None:
        child("import struct, sys\nwhile True: sys.stdout.buffer.write(struct.pack('!cII', b'P', 1, 1) + b'rgb')")
        with pytest.raises(DocumentError, match="send data that is not the image of a page"):
            render(b"")

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
        assert str(caught.value) == f"the PDF crashed its renderer ({said})"

    @pytest.mark.parametrize(
        "head", [(b"P", 101, 1), (b"P", 0, 0), (b"P", 2**31, 2**31), (b"?", 1, 1), (b"E", 2**31, 0)]
    )
    def test_a_child_that_answers_nonsense(self, head: tuple[bytes, int, int], child: Callable[[str], None]) -> None:
        child(f"import sys; sys.stdout.buffer.write({pdf_worker.HEADER.pack(*head) + bytes(500)!r})")
        with pytest.raises(DocumentError, match="send data that is not the image of a page"):
            render(b"", max_pixels=100)

    def test_what_the_child_may_take(self) -> None:
        code = f"from polylens.server.intake.pdf_worker import limit_resources; limit_resources(7); {LIMITS}"
        said = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=HANG
        ).stdout
        assert said.strip() == str([(2 * 1024**3,) * 2, (7, 7), (0, 0), (0, 0)])

    @pytest.mark.parametrize(
        ("work", "said"),
        [
            ("while True: pass", "SIGKILL"),
            ("bytearray(3 * 1024**3)", "needs more than"),
            ("open('written', 'wb').write(b'x')", "exit status 1"),
        ],
    )
    def test_the_limits_are_set_before_the_file_is_opened(
        self, work: str, said: str, child: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        child(
            "import sys\nfrom polylens.server.intake import pdf_worker\n"
            f"def work(*arguments, **options):\n    {work}\n"
            "pdf_worker.Pdf = work\npdf_worker.main(*sys.argv[1:4], '1')"
        )
        with pytest.raises(DocumentError, match=said):
            render(b"")

    def test_no_secret_of_the_server_and_no_torch_reach_the_child(
        self, child: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("POLYLENS_API_KEYS", "secret")
        child(
            "import os, sys\nfrom polylens.server.intake import pdf_worker\n"
            "heavy = {'torch', 'transformers', 'lancedb'} & set(sys.modules)\n"
            "secret = 'POLYLENS_API_KEYS' in os.environ\n"
            "pdf_worker._send_error(sys.stdout.buffer, f'{sorted(heavy)} {secret}')"
        )
        with pytest.raises(DocumentError, match=r"^\[\] False$"):
            render(b"")

    def test_what_a_library_prints_is_no_message(self, child: Callable[[str], None]) -> None:
        child(
            "import os, sys\nfrom polylens.server.intake import pdf_worker\nreal = pdf_worker.Pdf\n"
            "def noisy(*arguments, **options):\n    os.write(1, b'warning: odd font')\n"
            "    return real(*arguments, **options)\n"
            "pdf_worker.Pdf = noisy\npdf_worker.main(*sys.argv[1:])"
        )
        assert len(render(make_pdf("red"))) == 1
