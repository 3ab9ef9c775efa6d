"""The language of a page's text, told of the samples and of what has none."""

from __future__ import annotations

import pytest
from tests.support.root import ROOT

from polylens.documents import open_document
from polylens.documents.scan import scan
from polylens.index.ranking.language import UNTOLD, language_of

SAMPLES = ROOT / "samples"


OTHERS = {
    "anemoi-tou-aigaiou.pdf": "el",
    "aves-del-puerto.pdf": "es",
    "guide-des-nuages.pdf": "fr",
    "ledovaya-obstanovka.pdf": "ru",
    "naav-panjikaran.txt": "hi",
    "sicherheit-am-steg.pdf": "de",
    "souq-al-samak.txt": "ar",
    "taifeng-fangbei.pdf": "zh",
    "tsunami-hinan.pdf": "ja",
}  # all other samples with a text are English, programs by their comments


def test_of_the_samples() -> None:
    told = {}
    for file in scan(SAMPLES).files:
        with open_document(SAMPLES / file) as document:
            told.update({(file, page.number): language_of(page.text) for page in document if page.text.strip()})
    assert told == {(file, page): OTHERS.get(file, "en") for file, page in told} and len(told) > 40


@pytest.mark.parametrize("text", ["", "  \n", "invoice", "the mast", "2024-0417: 12.50, 14.30, 17.00", "\x00" * 40])
def test_what_has_no_language(text: str) -> None:
    assert language_of(text) == UNTOLD


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The keeper lights the lamp at dusk and winds the clockwork every four hours.", "en"),
        ("Der Wärter zündet die Lampe in der Dämmerung an.", "de"),
        ("灯塔看守人在黄昏时点亮灯，每四小时上一次发条，直到天亮。", "zh"),
        ("Смотритель зажигает лампу в сумерках.", "ru"),
        ("يشعل الحارس المصباح عند الغسق كل مساء", "ar"),
    ],
)
def test_of_a_sentence(text: str, language: str) -> None:
    assert language_of(text) == language
    assert language_of(text + " word" * 100_000) is not None  # no more of it is looked at than of a page
