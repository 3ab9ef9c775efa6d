"""Message catalogues: what is a sentence in them, and that the halves share none."""

from __future__ import annotations

from pathlib import Path

import pytest
from babel.messages import Catalog
from babel.messages.mofile import write_mo
from tests.support.catalogues import write_catalogue

from polylens.lab.corpora import catalogues
from polylens.lab.corpora.text import TextPair, key


@pytest.mark.parametrize(
    ("english", "translation", "expected"),
    [
        ("Save the _current file", "Aktuelle Datei _speichern", ("Save the current file", "Aktuelle Datei speichern")),
        ("Sc_ale the whole image", "Ganzes Bild s_kalieren", ("Scale the whole image", "Ganzes Bild skalieren")),
        ("_Open the file", "ファイルを開く(_O)", ("Open the file", "ファイルを開く")),
        ("&Close this window", "Dieses Fenster s&chließen", ("Close this window", "Dieses Fenster schließen")),
        ("Close this &window", "关闭这个窗口(&W)", ("Close this window", "关闭这个窗口")),
        ("the file_name is too long", "der file_name ist zu lang", ("the file_name is too long", None)),
        ("cannot open '%s': %s\n", "»%s« kann nicht geöffnet werden: %s\n", None),
        (
            "cannot read the file '%s' at %-10.3f, %1$s\n",
            "Datei »%s« nicht lesbar bei %-10.3f, %1$s\n",
            ("cannot read the file at", "Datei nicht lesbar bei"),
        ),
        (
            "%(count)s pages were {written} to ${place}.",
            "Es wurden %(count)s Seiten nach ${place} geschrieben.",
            ("pages were to.", "Es wurden Seiten nach geschrieben."),
        ),
        (
            'A <b>bold</b> word &amp; a <a href="x">link</a>',
            'Ein <b>fettes</b> Wort &amp; ein <a href="x">Verweis</a>',
            ("A bold word & a link", "Ein fettes Wort & ein Verweis"),
        ),
        ("menu\x04Show all the pages", "Alle Seiten zeigen", ("Show all the pages", "Alle Seiten zeigen")),
        (
            "  -a, --all            show hidden files too\n",
            "  -a, --all            auch verborgene Dateien zeigen\n",
            ("show hidden files too", "auch verborgene Dateien zeigen"),
        ),
        ("The file is\nnot there.", "Die Datei ist\nnicht da.", ("The file is not there.", "Die Datei ist nicht da.")),
        ("Options are:\n  -a  all of it\n", "Optionen sind:\n  -a  alles davon\n", None),
        ("Usage: sort the files", "Aufruf: sort die Dateien", None),
        ("Open file", "Datei öffnen", None),
        ("a file " * 30, "eine Datei " * 30, None),
        ("The file is not there", "The file is not there", None),
        ("The file is not there yet", "the FILE is NOT da yet", None),
        ("/usr/lib/%s/* -> [0-9]{3}, a, b", "/usr/lib/%s/* -> [0-9]{3}, a, c", None),
        ("Save this file now", "", None),
    ],
)
def test_a_message_is_read_as_a_person_would(
    english: str, translation: str, expected: tuple[str, str | None] | None
) -> None:
    if expected is not None and expected[1] is None:
        expected = (expected[0], translation)
    found = catalogues.cleaned(english, translation)
    assert found == (None if expected is None else TextPair(*expected))


def test_a_catalogue_is_read_without_its_plurals_and_its_header(tmp_path: Path) -> None:
    catalogue = Catalog(locale="de")
    catalogue.add(("%d file was found", "%d files were found"), ("%d Datei gefunden", "%d Dateien gefunden"))
    catalogue.add("No file was found", "Keine Datei gefunden")
    path = tmp_path / "some.mo"
    with path.open("wb") as file:
        write_mo(file, catalogue)
    assert catalogues.messages(path) == {"No file was found": "Keine Datei gefunden"}
    path.write_bytes(path.read_bytes()[:40])
    assert catalogues.messages(path) == {}


def test_training_has_nothing_that_a_held_out_catalogue_says_in_any_language(tmp_path: Path) -> None:
    write_catalogue(tmp_path, "de", "glib20", {"The file 3 is not there.": "Die Datei 3 ist nicht da."})
    write_catalogue(tmp_path, "fr", "gtk30", {"The window is closed now": "La fenêtre est fermée maintenant"})
    write_catalogue(
        tmp_path,
        "de",
        "git",
        {
            "the FILE is not there": "es gibt keine solche Datei",
            "no such file is there": "die Datei 7 ist NICHT da",
            "the window is closed, now": "das Fenster ist jetzt zu",
            "the branch is already here": "den Zweig gibt es schon",
            "The branch is already here!": "Zweig schon vorhanden, leider",
        },
    )
    for lists in ("iso_3166", "xkeyboard-config"):
        write_catalogue(tmp_path, "de", lists, {"Saint Helena and Tristan": "St. Helena und auch Tristan"})
    assert catalogues.pairs("de", "held_out", tmp_path) == (
        TextPair("The file 3 is not there.", "Die Datei 3 ist nicht da."),
    )
    # upper case sorts first: of two English sentences that say the same the first stays
    assert catalogues.pairs("de", "train", tmp_path) == (
        TextPair("The branch is already here!", "Zweig schon vorhanden, leider"),
    )
    assert catalogues.pairs("fr", "train", tmp_path) == ()


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    write_catalogue(tmp_path, "de", "glib20", {"The file is not there": "Die Datei ist nicht da"})
    assert "libglib2.0-data" not in catalogues.missing_packages("de", tmp_path)
    assert "libgtk-3-common" in catalogues.missing_packages("de", tmp_path)
    assert catalogues.missing_packages("pt", tmp_path) == list(catalogues.HELD_OUT.values())
    assert catalogues.installed("held_out", tmp_path) == ("de",) and catalogues.installed("train", tmp_path) == ()
    assert not catalogues.any_installed("train", tmp_path) and catalogues.any_installed("held_out", tmp_path)


def test_the_halves_of_the_catalogues_installed_here_share_no_text() -> None:
    if not (catalogues.any_installed("train") and catalogues.any_installed("held_out")):
        pytest.skip("this machine has no message catalogues in other languages")
    held_out = {
        key(text)
        for language in catalogues.LANGUAGES
        for pair in catalogues.pairs(language, "held_out")
        for text in (pair.query, pair.document)
    }
    assert held_out
    for language in ("de", "el", "ja", "ar"):
        for split in ("train", "held_out"):
            pairs = catalogues.pairs(language, split)
            for side in ([pair.query for pair in pairs], [pair.document for pair in pairs]):
                assert len({key(text) for text in side}) == len(pairs)
        said = {key(text) for pair in catalogues.pairs(language, "train") for text in (pair.query, pair.document)}
        assert not said & held_out
