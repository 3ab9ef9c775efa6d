"""How well and how fast pages are read that are pictures only, per script and program.

    python benchmarks/ocr.py [--pages 2] [--languages en,de,ru,...] [--seed 1] [--json FILE]

Renders pages of known words in held-out fonts (`polylens.lab.synthetic`), clean and as a scanner sees them (askew, with
blur, noise, shadow and compression), at 118 dots per inch if they were A4. Reads each with RapidOCR, with Tesseract by
the pack of the page's language, and as `polylens index --ocr auto` does, which is not told the language. Needs the
fonts that `.ci/run` installs; what is not installed is left out.

Columns: the character error rate (edits per true letter, in reading order, blanks aside), the share of true words that
were read in any order, and seconds per page by the clock, on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL.Image

from polylens.documents.ocr.languages import LANGUAGES
from polylens.documents.ocr.page_reader import Installed, PageReader, Reading
from polylens.evaluate.machine import processor
from polylens.evaluate.reading import character_error_rate, words_found
from polylens.lab.synthetic.crops import render_page
from polylens.lab.synthetic.rendered import Rendered

TEN_SCRIPTS = "en,de,ru,el,ar,he,hi,th,ko,zh,ja"
WIDTH = 976  # pixels: A4 at 118 dots per inch, and the body in 10 to 14 points


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, default=2, help="clean ones per language, and as many scans")
    parser.add_argument("--languages", default=TEN_SCRIPTS, help="comma-separated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()

    installed = Installed.here()
    rows = [
        row
        for language in options.languages.split(",")
        for row in measured(language, options.pages, options.seed, installed)
    ]
    print(table(rows))
    result = {
        "rows": rows,
        "installed": installed.names,
        "hardware": f"{os.cpu_count()} cores, {processor()}",
        "python": platform.python_version(),
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def measured(language: str, count: int, seed: int, installed: Installed) -> Iterator[dict[str, Any]]:
    """The figures of each program, on clean pages of a language and on scans."""
    pages = {scan: list(drawn(language, count, seed, scan)) for scan in (False, True)}
    for name, reader in readers(language, installed):
        with reader:
            for scan, some in pages.items():
                yield {
                    "language": language,
                    "script": LANGUAGES[language].script,
                    "pages": "scans" if scan else "clean",
                    "reader": name,
                    **figures(some, reader.read),
                }
        if sys.stderr.isatty():
            print(f"\r{language}: {name} is through", end="", file=sys.stderr)


def readers(language: str, installed: Installed) -> Iterator[tuple[str, PageReader]]:
    """Each program that reads a language, told which it is; and all that is installed, told nothing."""
    known = LANGUAGES[language]
    if installed.rapid and known.is_for_rapid:
        yield "rapidocr", PageReader(language, Installed(True, frozenset()))
    packs = installed.packs.intersection(known.packs[:1])  # of Chinese, that of the pages
    if packs:
        yield f"tesseract {min(packs)}", PageReader(language, Installed(False, packs))
    if installed.names:
        yield "auto", PageReader("auto", installed)


def drawn(language: str, count: int, seed: int, scan: bool) -> Iterator[Rendered]:
    rng = random.Random(f"{language} {seed}")
    for _ in range(count):
        yield render_page(
            rng, width=WIDTH, height=round(WIDTH * 2**0.5), split="held_out", language=language, scan=scan
        )


def figures(pages: list[Rendered], read: Callable[[PIL.Image.Image], Reading]) -> dict[str, Any]:
    """The error rate over all letters, the share of words found, the seconds per page, and what read them."""
    read(PIL.Image.fromarray(pages[0].image[:100]))  # loads the models
    errors = letters = 0.0
    found, seconds, by = [], [], set()
    for page in pages:
        truth = " ".join(word.text for word in page.words)
        began = time.perf_counter()
        reading = read(PIL.Image.fromarray(page.image))
        seconds.append(time.perf_counter() - began)
        errors += len(truth) * character_error_rate(truth, reading.text)
        letters += len(truth)
        found.append(words_found(truth, reading.text))
        by.add(reading.by or "nothing")
    return {
        "character error rate": round(errors / letters, 4),
        "words found": round(statistics.mean(found), 3),
        "seconds per page": round(statistics.mean(seconds), 2),
        "read by": sorted(by),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as Markdown: one line per language and program, clean pages before scans."""
    lines = [
        "| script | language | reader | error rate, clean | scans | words found, clean | scans | s per page |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for clean, scans in zip(rows[::2], rows[1::2], strict=True):
        seconds = (clean["seconds per page"] + scans["seconds per page"]) / 2
        lines.append(
            f"| {clean['script']} | {clean['language']} | {clean['reader']} "
            f"| {clean['character error rate']:.1%} | {scans['character error rate']:.1%} "
            f"| {clean['words found']:.1%} | {scans['words found']:.1%} | {seconds:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
