"""Writes the library that `tests/library/test_compatibility.py` keeps: run once per released format of the index.

    PYTHONPATH=src:. .venv/bin/python tests/data/keep_library.py tests/data/library-0.1.0

The model is the tests' own, so that the kept index does not depend on the weights of nano.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.support.fakes import FakeEmbedder

from polylens.library.library import Library

MODEL = "kept"

TEXTS = {
    "steg.txt": "Wer im Hafen arbeitet, trägt auf dem Steg eine Schwimmweste.",
    "keeper.md": "The keeper lights the lamp at dusk and winds the clockwork.",
    "sub/phare.txt": "Le gardien allume la lampe au crépuscule, chaque soir de l'année.",
    "figures.csv": "12.50, 14.30, 17.00, 12.50, 14.30, 17.00",
}
WITH_WORDS = Path(__file__).parents[2] / "samples/invoice-2024-0417.pdf"  # a page whose words have places
PICTURE = Path(__file__).parents[2] / "samples/red-bicycle.jpg"


def keep(place: Path) -> None:
    """Makes `place/files`, and `place/index`, which was `.polylens` in it."""
    files = place / "files"
    for name, text in TEXTS.items():
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_text(text, encoding="utf-8")
    for sample in (WITH_WORDS, PICTURE):
        shutil.copy(sample, files)
    report = Library(files, FakeEmbedder(MODEL)).update(ocr="off")
    assert report.indexed == len(TEXTS) + 2 and not report.failed, report
    (files / ".polylens").rename(place / "index")
    for local in (".gitignore", "lock"):  # of this very folder, and no part of the index
        (place / "index" / local).unlink()


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
