"""The folder that `make demo` searches holds what it promises, and its queries have one answer each."""

from __future__ import annotations

import json
import unicodedata
from functools import cache
from pathlib import Path

import pypdfium2
import pytest
from tests.support.root import ROOT

SAMPLES = ROOT / "samples"
MAKER = SAMPLES / ".maker"
QUERIES = json.loads((MAKER / "queries.json").read_text(encoding="utf-8"))
SCANS = {"keepers-letter.jpg", "logbook-1962.pdf", "qawaid-al-mina.pdf", "varsha-ritu.pdf"}
FILES = sorted(path for path in SAMPLES.iterdir() if path.is_file() and not path.name.startswith("."))


def text_layers(path: Path) -> list[str]:
    with pypdfium2.PdfDocument(path) as pdf:
        layers = []
        for page in pdf:
            textpage = page.get_textpage()
            layers.append(textpage.get_text_bounded())
            textpage.close()
            page.close()
    return layers


def source_pages(path: Path) -> list[str]:
    return (MAKER / "texts" / f"{path.stem}.md").read_text(encoding="utf-8").split("\n---\n")


@cache
def pages() -> dict[tuple[str, int], str]:
    """(file, page) -> what a reader finds there, read off the source where the page is a picture."""
    found = {}
    for path in FILES:
        if path.name in SCANS:
            texts = source_pages(path)
        elif path.suffix == ".pdf":
            texts = text_layers(path)
        elif path.suffix in (".png", ".jpg"):
            texts = [""]
        else:
            texts = [path.read_text(encoding="utf-8")]
        found.update({(path.name, number): text for number, text in enumerate(texts, start=1)})
    return found


def pieces(text: str) -> set[str]:
    """Runs of three letters, of two in Chinese and Japanese; spaces count as letters."""
    text = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    size = 2 if any("\u3040" <= letter <= "\u9fff" for letter in text) else 3
    return {text[i : i + size] for i in range(len(text) - size + 1)}


def test_there_is_enough_to_search() -> None:
    assert len(FILES) >= 20 and len(pages()) >= 40
    assert {path.suffix for path in FILES} >= {".pdf", ".png", ".jpg", ".py", ".sql", ".md", ".txt"}
    size = sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file() and ".polylens" not in path.parts)
    assert size < 4e6


def test_there_are_many_languages_and_scripts() -> None:
    assert len({query["language"] for query in QUERIES}) >= 8
    text = "".join(pages().values())
    scripts = {unicodedata.name(letter).split()[0] for letter in set(text) if letter.isalpha()}
    assert scripts >= {"LATIN", "CYRILLIC", "GREEK", "ARABIC", "DEVANAGARI", "CJK", "HIRAGANA", "KATAKANA"}


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".pdf"], ids=lambda path: path.name)
def test_a_pdf_opens_and_has_the_text_it_should(path: Path) -> None:
    layers = text_layers(path)
    assert layers
    if path.name in SCANS:
        assert not "".join(layers).strip()
        return
    assert all(layer.strip() for layer in layers)
    if path.name.startswith("invoice"):
        assert path.stem.removeprefix("invoice-") in layers[0]
        return
    for number, (layer, source) in enumerate(zip(layers, source_pages(path), strict=True), start=1):
        written = "".join(line for line in source.splitlines() if not line.startswith("![")) + str(number)
        assert sorted(filter(str.isalnum, layer)) == sorted(filter(str.isalnum, written))


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query["query"])
def test_a_query_has_one_page_that_answers_it(query: dict[str, str | int]) -> None:
    asked = pieces(str(query["query"]))
    shares = {page: len(asked & pieces(text)) / len(asked) for page, text in pages().items()}
    answer = (str(query["file"]), int(query["page"]))
    best = shares.pop(answer)
    assert best > 0.6
    assert best > 1.3 * max(shares.values())
