"""PDFs in processes of their own: the same pages, and a crash that costs one page."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.support.fakes import FakeEmbedder
from tests.support.papers import make_pdf

from polylens.documents import open_document, pdf_processes
from polylens.documents.pdf_processes import PdfProcesses
from polylens.errors import DocumentError
from polylens.library.reading import pages_ahead

CRASHES = """
import os, signal, sys
from polylens.documents import pdf_process
answer = pdf_process._answer
def crash(out, document, number):
    if number and "crash" in document.page(number).text:
        os.kill(os.getpid(), signal.SIGSEGV)
    answer(out, document, number)
pdf_process._answer = crash
pdf_process.main()
"""


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that crash at a page with this word."""
    python = pdf_processes.COMMAND[0]
    monkeypatch.setattr(pdf_processes, "COMMAND", (python, "-c", CRASHES))


def test_pages_equal_those_of_this_process(tmp_path: Path) -> None:
    make_pdf(tmp_path / "ünïcode \n.pdf", "one", "two", "three")
    [path] = tmp_path.iterdir()
    with PdfProcesses(2) as pdfs, open_document(path) as ours, pdfs.open(path, max_pixels=1_003_520) as theirs:
        assert (theirs.kind, theirs.num_pages) == ("pdf", 3)
        with ThreadPoolExecutor(3) as threads:
            found = list(threads.map(theirs.page, (3, 1, 2)))
        for page in found:
            expected = ours.page(page.number)
            assert (page.number, page.text, page.words) == (expected.number, expected.text, expected.words)
            assert [word.text for word in page.words] == [page.text]
            assert page.image is not None and np.array_equal(np.asarray(page.image), np.asarray(expected.image))


def test_errors_are_those_of_this_process(tmp_path: Path) -> None:
    (tmp_path / "broken.pdf").write_bytes(b"no PDF")
    make_pdf(tmp_path / "locked.pdf", "secret", password="x")
    with PdfProcesses(1) as pdfs:
        for name in ("broken.pdf", "locked.pdf", "absent.pdf"):
            with pytest.raises(DocumentError) as ours:
                open_document(tmp_path / name)
            with pytest.raises(DocumentError) as theirs:
                pdfs.open(tmp_path / name, max_pixels=1_003_520)
            assert str(theirs.value) == str(ours.value)


@pytest.mark.usefixtures("crashing")
@pytest.mark.parametrize("processes", [1, 2])
def test_a_crash_costs_its_page_and_the_rest_goes_on(tmp_path: Path, processes: int) -> None:
    make_pdf(tmp_path / "a.pdf", "one")
    make_pdf(tmp_path / "b.pdf", "two", "crash", "three")
    make_pdf(tmp_path / "c.pdf", "four", "five")
    files = [(name, tmp_path / name) for name in ("a.pdf", "b.pdf", "c.pdf")]
    with pages_ahead(files, FakeEmbedder(), pdf_processes=processes) as steps:
        found = [(step.file, step.page.text if step.page else "", dict(step.unread)) for step in steps]
    reason = f"b.pdf crashed the process that reads it ({signal.SIGSEGV.name})"
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


def test_processes_end_with_the_block(tmp_path: Path) -> None:
    make_pdf(tmp_path / "a.pdf", "one")
    with PdfProcesses(1) as pdfs:
        pdfs.open(tmp_path / "a.pdf", max_pixels=1_000)
        process = pdfs._children[0]._process
        assert process is not None and process.poll() is None
    assert process.poll() is not None
