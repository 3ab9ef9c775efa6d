"""What `polylens index --ocr` says."""

from __future__ import annotations

from pathlib import Path

from tests.support.commands import polylens

from polylens.cli.watching import wordless
from polylens.library.progress import Report


def test_a_setting_that_is_none_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    done = polylens("index", tmp_path, "--ocr", "german")
    assert done.returncode == 2
    assert "ocr must be auto, off, or ISO 639 codes of languages, such as de,ru; got 'german'" in done.stderr
    assert not (tmp_path / ".polylens").exists()


def test_pages_that_nothing_here_reads_are_counted_with_what_to_install() -> None:
    assert wordless(Report(wordless=1)).startswith("1 page without a text: ")
    assert wordless(Report(wordless=12)).startswith("12 pages without a text: ")
    assert "pip install 'polylens[ocr]'" in wordless(Report(wordless=12))
