"""The table of what there is to teach with: where it comes from, under which licence, and what it gives.

A source gives texts of a language, pairs of an English text and its counterpart in a language, or both. Sources that
are not installed give nothing; `require` says what to install.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from polylens.errors import InputError
from polylens.lab.corpora import (
    catalogues,
    dictionaries,
    emoji_names,
    frequent_words,
    functions,
    glosses,
    help_pages,
    stories,
    wordnet,
)
from polylens.lab.corpora.text import TextPair


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A source of texts."""

    name: str
    gives: str
    licence: str
    install: str
    """The command that installs it."""
    languages: Callable[[], tuple[str, ...]]
    """The languages that are installed here."""
    texts: Callable[[str], Sequence[str]] | None = None
    """Language -> its texts."""
    pairs: Callable[[str], Sequence[TextPair]] | None = None
    """Language -> pairs; the query is in English, the document in that language."""


def _catalogues() -> tuple[str, ...]:
    return catalogues.installed("train")


def _documents(pairs: Callable[[str], Sequence[TextPair]]) -> Callable[[str], Sequence[str]]:
    return lambda language: [pair.document for pair in pairs(language)]


def _messages(language: str) -> Sequence[TextPair]:
    return catalogues.pairs(language, "train")


def _english() -> tuple[str, ...]:
    return ("en",) if wordnet.senses() else ()


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            name="catalogues",
            gives="sentences of programs, with translations",
            licence="that of each program",
            install="apt-get install git gettext gnupg-l10n libc-l10n",
            languages=_catalogues,
            texts=_documents(_messages),
            pairs=_messages,
        ),
        Source(
            name="dictionaries",
            gives="words and phrases with translations",
            licence="GPL-2.0-or-later, GPL-3.0-or-later or CC-BY-SA-3.0, by dictionary",
            install=f"apt-get install {dictionaries.PACKAGE} (and others)",
            languages=dictionaries.installed,
            texts=_documents(dictionaries.pairs),
            pairs=dictionaries.pairs,
        ),
        Source(
            name="help",
            gives="paragraphs of LibreOffice's help, with translations",
            licence="MPL-2.0",
            install="apt-get install libreoffice-help-common libreoffice-help-en-us libreoffice-help-de (and others)",
            languages=help_pages.installed,
            texts=help_pages.texts,
            pairs=help_pages.pairs,
        ),
        Source(
            name="passages",
            gives="runs of paragraphs of LibreOffice's help",
            licence="MPL-2.0",
            install="as for help",
            languages=help_pages.installed,
            texts=help_pages.passages,
        ),
        Source(
            name="stories",
            gives="what people say in Battle for Wesnoth, with translations",
            licence="GPL-2.0-or-later",
            install=f"apt-get install --no-install-recommends {stories.PACKAGE}",
            languages=stories.installed,
            texts=_documents(stories.pairs),
            pairs=stories.pairs,
        ),
        Source(
            name="emoji",
            gives="names and keywords of emoji, with translations",
            licence="Unicode-DFS-2016",
            install=f"apt-get install {emoji_names.PACKAGE}",
            languages=emoji_names.installed,
            texts=emoji_names.texts,
            pairs=emoji_names.pairs,
        ),
        Source(
            name="wordnet",
            gives="English words, synonyms, definitions and examples",
            licence="WordNet 3.0 (permissive)",
            install=f"apt-get install {wordnet.PACKAGE}",
            languages=_english,
            texts=lambda _: wordnet.texts(),
            pairs=lambda _: wordnet.pairs(),
        ),
        Source(
            name="functions",
            gives="docstrings with their functions",
            licence="PSF-2.0",
            install="as for Python, whose standard library they are from",
            languages=lambda: ("en",),
            pairs=lambda _: functions.pairs("train"),
        ),
        Source(
            name="glosses",
            gives="English sentences, which are drawn word for word in other languages",
            licence="those of wordnet, stories and dictionaries",
            install="as for wordnet, stories and dictionaries",
            languages=glosses.installed,
            texts=lambda _: glosses.sentences(),
        ),
        Source(
            name="words",
            gives="frequent words",
            licence="Apache-2.0; the lists CC-BY-SA-4.0",
            install=f"pip install --no-deps {frequent_words.PACKAGE}=={frequent_words.VERSION}",
            languages=frequent_words.installed,
            texts=frequent_words.words,
        ),
    )
}


def require(names: Sequence[str]) -> None:
    """Refuses sources that do not exist or are not installed.

    Raises:
        InputError: The message names what to install.
    """
    for name in names or [""]:
        if name not in SOURCES:
            raise InputError(f"sources must be among {', '.join(SOURCES)}, got {name!r}")
    missing = [SOURCES[name] for name in names if not SOURCES[name].languages()]
    if missing:
        commands = "; ".join(f"{source.name}: {source.install}" for source in missing)
        raise InputError(f"this machine lacks sources of text; these commands install them: {commands}")
