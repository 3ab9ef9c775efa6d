"""What there is to teach with: tiny files in the real formats, and streams that never say what evaluation asks."""

from __future__ import annotations

import gzip
import itertools
import random
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from babel.messages import Catalog
from babel.messages.mofile import write_mo

from polylens.errors import InputError
from polylens.lab.corpora import (
    dictionaries,
    emoji_names,
    frequent_words,
    glosses,
    help_pages,
    sources,
    stories,
    streams,
    wordnet,
)
from polylens.lab.corpora.meanings import meanings
from polylens.lab.corpora.text import TextPair, key

HELP = """<!DOCTYPE html><html><head><title>{title}</title></head><body>
<div class="index-label" dir="auto">Index</div>
<h1 id="hd_id1" dir="auto"><a name="x"></a>{title}</h1>
<p id="par_id2" class="paragraph" dir="auto">{first} <span class="emph">{bold}</span>.</p>
<p class="note">It has no id</p><p id="par_id3" class="code">x = 1 + 2 * 3</p>
<p id="par_id4" class="paragraph">LibreOffice Writer Help</p>
</body></html>"""

CLDR = """<?xml version="1.0" encoding="UTF-8" ?>
<!DOCTYPE ldml SYSTEM "../../common/dtd/ldml.dtd">
<ldml><identity><version number="$Revision$"/></identity><annotations>
<annotation cp="{{">{brace}</annotation><annotation cp="{{" type="tts">{brace}</annotation>
<annotation cp="🏻" type="tts">{brace}</annotation>
<annotation cp="🍎">{keywords}</annotation><annotation cp="🍎" type="tts">{name}</annotation>
<annotation cp="🚲" type="tts">{other}</annotation>
</annotations></ldml>"""

WORDNET = "\n".join(
    [
        "  1 This software and database is being provided to you, the LICENSEE, by",
        "00001740 29 v 04 breathe 0 take_a_breath 0 respire 0 suspire 3 001 * 00005041 v 0000 01 + 02 00 | draw air "
        'into, and expel out of, the lungs; "I can breathe better when the air is clean"; "The patient is respiring"  ',
        "00001930 03 n 01 physical_entity 0 001 @ 00001740 n 0000 | an entity that has physical existence  ",
    ]
)


def page_names(held_out: bool) -> Iterator[str]:
    names = (f"text/swriter/guide/page{number}.html" for number in itertools.count())
    return (name for name in names if help_pages.is_held_out_page(name) == held_out)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def help_folder(tmp_path: Path) -> Path:
    taught, held_out = next(page_names(False)), next(page_names(True))
    english = HELP.format(title="Numbered Lists", first="A list is numbered while you", bold="type it")
    german = HELP.format(title="Nummerierte Listen", first="Eine Liste wird nummeriert, während Sie", bold="tippen")
    write(tmp_path / "en-US" / taught, english)
    write(tmp_path / "de" / taught, german)
    write(tmp_path / "en-US" / held_out, HELP.format(title="Tables", first="A table has rows and", bold="columns"))
    write(
        tmp_path / "de" / held_out, HELP.format(title="Tabellen", first="Eine Tabelle hat Zeilen und", bold="Spalten")
    )
    write(tmp_path / "de" / "text" / "empty.html", "")
    return tmp_path


def test_help_is_aligned_by_the_ids_of_its_paragraphs(help_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert help_pages.installed(help_folder) == ("de", "en")
    assert help_pages.pairs("de", help_folder) == (
        TextPair("Numbered Lists", "Nummerierte Listen"),
        TextPair("A list is numbered while you type it.", "Eine Liste wird nummeriert, während Sie tippen."),
    )  # what is not translated, has no id or is code is left out
    monkeypatch.setattr(help_pages, "PASSAGE", 40)
    assert help_pages.passages("en", help_folder) == ("Numbered Lists", "A list is numbered while you type it.")
    assert help_pages.texts("en", help_folder)[:2] == ("Numbered Lists", "A list is numbered while you type it.")
    [held_out] = help_pages.pages("de", "held_out", help_folder)
    assert held_out.title == "Tabellen" and held_out.paragraphs["par_id2"] == "Eine Tabelle hat Zeilen und Spalten."
    assert key("A table has rows and columns.") in help_pages.held_out_keys(help_folder)
    assert (help_pages.package("pt"), help_pages.package("ja")) == ("libreoffice-help-pt-br", "libreoffice-help-ja")


def test_emoji_have_names_and_keywords_in_each_language(tmp_path: Path) -> None:
    write(tmp_path / "en.xml", CLDR.format(brace="brace", keywords="apple | red", name="red apple", other="bicycle"))
    write(
        tmp_path / "ru.xml", CLDR.format(brace="скобка", keywords="красное | яблоко", name="яблоко", other="велосипед")
    )
    write(tmp_path / "de_CH.xml", CLDR.format(brace="x", keywords="↑↑↑", name="↑↑↑", other="Velo"))
    assert emoji_names.installed(tmp_path) == ("en", "ru")
    assert emoji_names.pairs("ru", tmp_path) == (TextPair("red apple", "яблоко"), TextPair("bicycle", "велосипед"))
    assert emoji_names.texts("ru", tmp_path) == ("яблоко", "велосипед", "красное")
    assert emoji_names.names("de_CH", tmp_path) == {"🚲": "Velo"}
    assert emoji_names.texts("tr", tmp_path) == ()


def test_wordnet_gives_synonyms_definitions_and_examples(tmp_path: Path) -> None:
    write(tmp_path / "data.verb", WORDNET)
    assert wordnet.pairs(tmp_path) == (
        TextPair("breathe", "draw air into, and expel out of, the lungs"),
        TextPair("breathe", "take a breath"),
        TextPair("physical entity", "an entity that has physical existence"),
    )
    assert "The patient is respiring" in wordnet.texts(tmp_path) and "suspire" in wordnet.texts(tmp_path)


def test_stories_are_read_as_catalogues_are(tmp_path: Path) -> None:
    catalogue = Catalog(locale="de")
    catalogue.add("Who will guide you to <i>victory</i> now?", "Wer wird euch jetzt noch zum <i>Sieg</i> führen?")
    path = tmp_path / "1.16/locale/de/LC_MESSAGES/wesnoth.mo"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        write_mo(file, catalogue)
    assert stories.installed(tmp_path) == ("de",)
    assert stories.pairs("de", tmp_path) == (
        TextPair("Who will guide you to victory now?", "Wer wird euch jetzt noch zum Sieg führen?"),
    )


def pack(value: Any) -> bytes:
    if isinstance(value, int):
        return bytes([value])
    if isinstance(value, str):
        text = value.encode()
        return (bytes([0xA0 | len(text)]) if len(text) < 32 else struct.pack(">BB", 0xD9, len(text))) + text
    if isinstance(value, dict):
        return bytes([0x80 | len(value)]) + b"".join(pack(part) for pair in value.items() for part in pair)
    head = bytes([0x90 | len(value)]) if len(value) < 16 else struct.pack(">BH", 0xDC, len(value))
    return head + b"".join(map(pack, value))


def test_words_come_most_frequent_first(tmp_path: Path) -> None:
    long_word = "Donaudampfschifffahrtsgesellschaft"
    steps = [*([] for _ in range(20)), ["der", "a"], ["und", "1000"], [long_word, "我"]]
    path = tmp_path / "small_de.msgpack.gz"
    path.write_bytes(gzip.compress(pack([{"format": "cB", "version": 1}, *steps])))
    assert frequent_words.installed(tmp_path) == ("de",)
    assert frequent_words.words("de", folder=tmp_path) == ("der", "und", long_word, "我")
    assert frequent_words.words("de", 2, folder=tmp_path) == ("der", "und")
    assert frequent_words.words("fr", folder=tmp_path) == ()
    path.write_bytes(gzip.compress(pack([{"format": "cC", "version": 1}])))
    with pytest.raises(InputError, match="must have the header"):
        frequent_words.words("de", 3, folder=tmp_path)
    with pytest.raises(InputError, match="ends too early"):
        frequent_words.unpack(pack(["der"])[:-1])
    with pytest.raises(InputError, match="got 0xc3"):
        frequent_words.unpack(b"\xc3")


ASKED = meanings()[0]
GERMAN = [f"das ist Satz {letter} aus dem Buch" for letter in "abcdefgh"]


@pytest.fixture
def small_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two languages of one source, words of another, and nothing installed of a third."""
    pairs = [*(TextPair(f"this is sentence {text[13]} of the book", text) for text in GERMAN), TextPair("one", "one")]
    asked = [TextPair(ASKED.paraphrase, "etwas anderes"), TextPair("something else", ASKED.said["de"].upper() + "!!")]
    made = {
        "help": replace(
            sources.SOURCES["help"],
            languages=lambda: ("de", "fr", "it"),
            texts=lambda language: {"de": [*GERMAN, ASKED.said["de"], "123"], "fr": ["un mot"], "it": []}[language],
            pairs=lambda language: [*pairs, *asked] if language == "de" else [],
        ),
        "words": replace(
            sources.SOURCES["words"],
            languages=lambda: ("ja", "tr"),
            texts=lambda language: {"ja": ["猫", "犬", "鳥"], "tr": ["kedi", "köpek"]}[language],
        ),
        "wordnet": replace(sources.SOURCES["wordnet"], languages=tuple),
    }
    for name, source in made.items():
        monkeypatch.setitem(sources.SOURCES, name, source)


@pytest.mark.usefixtures("small_sources")
def test_texts_are_decided_by_a_generator_and_say_nothing_held_out() -> None:
    draw = streams.TextDraws({"help": 3.0, "words": 1.0})

    def drawn(seed: int) -> list[streams.Taught]:
        rng = random.Random(seed)
        return [draw(rng) for _ in range(400)]

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert first == again != other
    assert not {key(each.text) for each in first} & streams.held_out_keys()
    assert {each.text for each in first if each.language == "de"} == set(GERMAN)
    counts = Counter(each.source for each in first)
    assert 250 < counts["help"] < 350
    runs = {each.text for each in first if each.source == "words"}
    assert {"猫", "kedi"} <= runs and any(len(text) in (2, 3, 4) for text in runs) and any(" " in text for text in runs)
    assert not any(" " in each.text for each in first if each.language == "ja")


@pytest.mark.usefixtures("small_sources")
def test_pairs_say_nothing_held_out_on_either_side() -> None:
    rng, draw = random.Random(1), streams.PairDraws({"help": 1.0})
    drawn = [draw(rng) for _ in range(200)]
    assert {each.other for each in drawn} == set(GERMAN) and {each.language for each in drawn} == {"de"}
    assert all(each.english[17] == each.other[13] for each in drawn)


@pytest.mark.usefixtures("small_sources")
def test_some_sentences_have_frequent_words_in_the_place_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "frequent_words", lambda language: ("Kuchen",) if language == "de" else ())
    monkeypatch.setattr(streams, "_EXCHANGED", {"help": 0.5})
    rng, draw = random.Random(1), streams.TextDraws({"help": 1.0}, ["de"])
    said = [draw(rng).text.split() for _ in range(200)]
    own = {word for text in GERMAN for word in text.split()}
    assert {word for words in said for word in words} <= {*own, "Kuchen"}
    assert 40 < sum("Kuchen" in words for words in said) < 120
    assert {len(words) for words in said} == {len(text.split()) for text in GERMAN}


def test_a_gloss_is_word_for_word_and_leaves_out_what_the_dictionary_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"de": (TextPair("Boat", "Boot"), TextPair("to sail", "segeln"), TextPair("old boat", "Kahn"))}
    monkeypatch.setattr(dictionaries, "pairs", lambda language: known[language])
    glosses.translations.cache_clear()
    try:
        assert glosses.gloss(random.Random(1), "The boats sailed, I know.", "de") == "Boot segeln"
        assert glosses.gloss(random.Random(1), "Nobody.", "de") == ""
    finally:
        glosses.translations.cache_clear()


@pytest.mark.usefixtures("small_sources")
@pytest.mark.parametrize(
    ("shares", "languages", "message"),
    [
        ({"wordnet": 1.0}, None, "these commands install them: wordnet: apt-get install wordnet-base"),
        ({"web": 1.0}, None, "sources must be among catalogues, dictionaries, help, .*, got 'web'"),
        ({}, None, "got ''"),
        ({"help": 0.0}, None, "not all 0"),
        ({"help": 1.0}, ["ja"], "the source help has nothing of this kind in the languages"),
    ],
)
def test_what_cannot_be_streamed_is_refused(
    shares: dict[str, float], languages: list[str] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        streams.TextDraws(shares, languages)


def test_every_source_names_its_licence_and_what_installs_it() -> None:
    for source in sources.SOURCES.values():
        assert (
            source.licence and source.gives and source.install.startswith(("apt-get install", "pip install", "as for "))
        )
        assert source.texts or source.pairs


def test_the_meanings_are_held_out() -> None:
    for each in meanings():
        assert key(each.paraphrase) in streams.held_out_keys()
        assert {key(text) for text in each.said.values()} <= streams.held_out_keys()


def write_dictionary(folder: Path, name: str, entries: list[str]) -> None:
    """Writes a dictionary in dictd's format, with an index that has the last entry twice."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

    def number(value: int) -> str:
        return (number(value // 64) if value >= 64 else "") + digits[value % 64]

    at, lines, data = 0, ["00databaseinfo\tA\tB"], b""
    for entry in entries:
        written = entry.encode()
        lines.append(f"{entry.split()[0]}\t{number(at)}\t{number(len(written))}")
        at += len(written)
        data += written
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.index").write_text("\n".join([*lines, lines[-1]]) + "\n", encoding="utf-8")
    (folder / f"{name}.dict.dz").write_bytes(gzip.compress(data))


def test_dictionaries_give_words_with_their_translations(tmp_path: Path) -> None:
    inn = "inn /ˈɪn/ <n>\n1. Gasthof <masc>, Wirtshaus (alt), Schenke\n   Synonym: {pub}\n2. Herberge\n"
    long = "so on\n" + "und so weiter " * 5 + "\n"
    write_dictionary(tmp_path / "d", "freedict-eng-deu", [inn, "boat /bəʊt/\nBoot~mit~Segel; Kahn\n", long])
    write_dictionary(tmp_path / "d", "freedict-deu-eng", ["Kahn\nboat\n", "Boot\nboat\n"])
    assert dictionaries.installed(tmp_path / "d") == ("de",)
    assert [(each.query, each.document) for each in dictionaries.pairs("de", tmp_path / "d")] == [
        ("inn", "Gasthof"),
        ("inn", "Wirtshaus"),
        ("inn", "Herberge"),
        ("boat", "Boot mit Segel"),
        ("boat", "Kahn"),
        ("boat", "Boot"),
    ]
    assert dictionaries.pairs("fr", tmp_path / "d") == ()
