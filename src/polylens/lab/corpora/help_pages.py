"""Pages of LibreOffice's help in about thirty languages, whose paragraphs have the same ids in all of them.

Debian has a package per language; each holds some 2,500 pages of HTML. A page is split off for evaluation by the hash
of its name, in all languages at once, and training leaves out what a held-out page says, too.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lxml.etree
import lxml.html

from polylens.lab.corpora.split import Split
from polylens.lab.corpora.text import TextPair, is_mostly_letters, is_untranslated, key

FOLDER = Path("/usr/share/libreoffice/help")

_SAME = (
    "ca",
    "cs",
    "da",
    "de",
    "el",
    "es",
    "et",
    "eu",
    "fi",
    "fr",
    "gl",
    "hi",
    "hu",
    "id",
    "it",
    "ja",
    "km",
    "ko",
    "nl",
)
LANGUAGES: dict[str, str] = {
    **{code: code for code in (*_SAME, "pl", "ru", "sk", "sl", "sv", "tr", "vi")},
    "en": "en-US",
    "pt": "pt-BR",
    "zh": "zh-CN",
}
"""Language code -> the folder of its pages."""

LETTERS = (6, 600)  # fewest and most per paragraph
PASSAGE = 1000  # most letters of a passage, unless a single paragraph has more
_PARAGRAPHS = ("par_id", "hd_id")  # beginnings of the ids of paragraphs and headings


@dataclass(frozen=True, slots=True)
class HelpPage:
    """A page."""

    name: str
    """The path of its file, which is the same in all languages."""
    title: str
    paragraphs: dict[str, str]
    """Id -> text, in the order of the page, headings among them."""


def package(language: str) -> str:
    """The Debian package with the pages of a language."""
    return f"libreoffice-help-{LANGUAGES[language].lower()}"


def installed(folder: Path = FOLDER) -> tuple[str, ...]:
    """The languages whose pages are here."""
    return tuple(language for language, name in LANGUAGES.items() if (folder / name / "text").is_dir())


def is_held_out_page(name: str) -> bool:
    """Whether a page is kept out of training: one in eight is, by the hash of its name."""
    return hashlib.sha256(name.encode()).digest()[0] % 8 == 0


@functools.cache
def pages(language: str, split: Split, folder: Path = FOLDER) -> tuple[HelpPage, ...]:
    """All pages of a language that have a title, in a fixed order.

    Args:
        language: One of `LANGUAGES`.
        split: Of the pages.
        folder: Has a folder for each language.
    """
    root = folder / LANGUAGES[language]
    found = (_page(path, path.relative_to(root).as_posix()) for path in sorted(root.glob("text/**/*.html")))
    return tuple(page for page in found if page and is_held_out_page(page.name) == (split == "held_out"))


@functools.cache
def held_out_keys(folder: Path = FOLDER) -> frozenset[str]:
    """The keys of all paragraphs of the held-out pages, in all languages that are here."""
    found = (page for language in installed(folder) for page in pages(language, "held_out", folder))
    return frozenset(key(text) for page in found for text in (page.title, *page.paragraphs.values()))


@functools.cache
def texts(language: str, folder: Path = FOLDER) -> tuple[str, ...]:
    """All paragraphs of the training pages of a language, without duplicates, in a fixed order."""
    return tuple(_without_duplicates(text for page in pages(language, "train", folder) for text in _texts(page)))


@functools.cache
def pairs(language: str, folder: Path = FOLDER) -> tuple[TextPair, ...]:
    """All paragraphs of the training pages with their translations, English first, without duplicates.

    Paragraphs that are not translated are left out.
    """
    ours = {page.name: page for page in pages("en", "train", folder)}
    taken: set[str] = set()
    found = []
    for page in pages(language, "train", folder):
        english = ours[page.name].paragraphs if page.name in ours else {}
        for name, text in page.paragraphs.items():
            keys = {key(english.get(name, "")), key(text)}
            if "" not in keys and not keys & taken and not is_untranslated(english[name], text):
                taken |= keys
                found.append(TextPair(english[name], text))
    return tuple(found)


@functools.cache
def passages(language: str, folder: Path = FOLDER) -> tuple[str, ...]:
    """Runs of neighbouring paragraphs of the training pages of a language, in a fixed order."""
    found = []
    for page in pages(language, "train", folder):
        run = page.title
        for text in page.paragraphs.values():
            if len(run) + len(text) > PASSAGE:
                found.append(run)
                run = ""
            run = f"{run} {text}".strip()
        found.append(run)
    return tuple(dict.fromkeys(each for each in found if len(each) > PASSAGE // 4))


def _texts(page: HelpPage) -> Iterator[str]:
    yield page.title
    yield from page.paragraphs.values()


def _without_duplicates(texts: Iterator[str]) -> Iterator[str]:
    seen: set[str] = set()
    for text in texts:
        if key(text) not in seen:
            seen.add(key(text))
            yield text


def _page(path: Path, name: str) -> HelpPage | None:
    """A page; None where it cannot be read or has no title."""
    try:
        tree = lxml.html.fromstring(path.read_bytes().decode("utf-8"))
    except (OSError, ValueError, lxml.etree.ParserError):
        return None
    paragraphs = {}
    title = ""
    for element in tree.iter("h1", "h2", "h3", "h4", "h5", "h6", "p"):
        text = " ".join(element.text_content().split())
        if not title and element.tag == "h1":
            title = text
        identifier = element.get("id") or ""
        fits = LETTERS[0] <= len(text) <= LETTERS[1] and is_mostly_letters(text, 7)
        if identifier.startswith(_PARAGRAPHS) and fits:
            paragraphs[identifier] = text
    return HelpPage(name, title, paragraphs) if title else None
