"""Words are found in every script, whatever signs stand around them, in every state of the index."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
from lancedb.index import FTS

from polylens.index.ranking import full_text
from polylens.index.table.schema import FilePages, PageRow, page_table
from polylens.index.table.store import Store

DIM = 8

TEXTS = {
    "de": "Die Überweisung an den Klempner, übergeben am Straßenrand",
    "el": "Ο υδραυλικός έστειλε το τιμολόγιο τον Μάιο",
    "ru": "Счёт сантехника пришёл в мае",
    "ar": "أرسل السباك الفاتورة في شهر مايو",
    "he": "השרברב שלח חשבונית במאי",
    "hi": "प्लंबर ने मई में चालान भेजा",
    "ko": "배관공이 청구서를 보냈다",
    "zh": "水管工的发票在五月。会议结束。",
    "ja": "配管工からの請求書は東京に届きました",
    "th": "ช่างประปาส่งใบแจ้งหนี้ในเดือนพฤษภาคม",
    "fr": "L'électricien a envoyé sa facture",
    "en": "The plumber's invoice no. 2024-0417 arrived (twice)",
}


def file(name: str, *texts: str) -> FilePages:
    rows = [
        PageRow(number, "text", text, np.ones(DIM, np.float32), np.zeros((1, 128), np.float16))
        for number, text in enumerate(texts, start=1)
    ]
    return FilePages(name, "h", 1, 2, page_table(rows, DIM))


def found(store: Store, words: str, n: int = 20, where: str | None = None) -> list[str]:
    return [page.file for page in store.snapshot().text_candidates(words, n, where=where)]


@pytest.fixture(params=["indexed", "not indexed yet"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(full_text, "UNINDEXED", 0 if request.param == "indexed" else 10**6)
    with Store.create(tmp_path, "model", DIM) as store:
        store.commit([file(name, text) for name, text in TEXTS.items()])
        if request.param == "indexed":
            store.compact()
        [index] = store._table.list_indices()
        assert index.num_unindexed_rows == (0 if request.param == "indexed" else len(TEXTS))
        return store


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Überweisung", "de"),
        ("ÜBERWEISUNG", "de"),
        ("uberweisung", "de"),
        ("strassenrand", "de"),
        ("u\u0308berweisung", "de"),  # its accent apart from its letter, as macOS writes names
        ("τιμολόγιο", "el"),
        ("СЧЁТ", "ru"),
        ("сантехника", "ru"),
        ("الفاتورة", "ar"),
        ("חשבונית", "he"),
        ("चालान", "hi"),
        ("청구서를", "ko"),
        ("发票", "zh"),
        ("會議 发票", "zh"),
        ("請求書", "ja"),
        ("東京", "ja"),
        ("ใบแจ้งหนี้", "th"),
        ("électricien", "fr"),
        ("facture", "fr"),
        ("plumber", "en"),
        ("0417", "en"),
        ('"plumber', "en"),
        ("+plumber -invoice", "en"),
        ("(plumber AND", "en"),
        ("plumber NOT (", "en"),
        ("title:plumber^2~ [x TO", "en"),
        ("\\plumber*?", "en"),
        ("plumber' OR 1=1 --", "en"),
    ],
)
def test_the_page_with_the_words(store: Store, words: str, expected: str) -> None:
    assert found(store, words) == [expected]


@pytest.mark.parametrize(
    "words", ["", "  ", '"', "***", "AND", "\\", "\x00", "zebra", "x" * 5_000, "qq zz " * 3_000, "\ud800"]
)
def test_nothing_is_found_without_an_error(store: Store, words: str) -> None:
    assert found(store, words) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("plumbers", ["en"]),  # a plural
        ("invoce", ["en"]),  # a letter left out
        ("FACTURRE", ["fr"]),  # one too many
        ("electriciens", ["fr"]),
        ("straßenrond", ["de"]),
        ("тиμολόγιο", []),  # a letter of another script is the first one
        ("τιμολόγιου", ["el"]),
        ("Überweisunk", ["de"]),  # another
        ("сантехники", ["ru"]),
        ("invoce Überweisunk", ["de", "en"]),
        ("invoce Klempner", ["de"]),  # a word that is there leaves no room for guesses
        ("imvoixe", []),  # two letters off
        ("twic", []),  # too short
        ("20240417x", []),  # no word
        ("发漂", []),  # each letter is a word
    ],
)
def test_words_one_letter_off_where_none_is_there(store: Store, words: str, expected: list[str]) -> None:
    if store._table.list_indices()[0].num_unindexed_rows:  # only pages that the index knows are found so
        expected = ["de"] if "Klempner" in words else []
    assert sorted(found(store, words)) == expected


def test_one_letter_apart_is_an_edit_distance_of_one() -> None:
    """Against Levenshtein's recurrence."""

    def distance(one: str, other: str) -> int:
        if not one or not other:
            return len(one) + len(other)
        same = one[0] == other[0]
        return min(
            distance(one[1:], other[1:]) + (not same), distance(one[1:], other) + 1, distance(one, other[1:]) + 1
        )

    words = ["".join(letters) for size in range(4) for letters in itertools.product("ab", repeat=size)]
    for one, other in itertools.product(words, words):
        if one != other:
            assert full_text.one_letter_apart(one, other) == (distance(one, other) == 1), (one, other)


def test_filters_hold_before_pages_are_ranked(store: Store) -> None:
    """The best page is filtered out: one of a lower rank comes, though only one was wanted."""
    assert found(store, "plumber invoice facture", 1) == ["en"]
    assert found(store, "plumber invoice facture", 1, "file = 'fr'") == ["fr"]
    assert found(store, "plumber", 1, "file = 'fr'") == []


def test_scores_are_bm25(tmp_path: Path) -> None:
    """Against the formula of Robertson and Zaragoza 2009, k1 = 1.2, b = 0.75."""
    texts = [
        "the mast and the sail",
        "the mast, the mast of the ship at the pier",
        "a sail",
        "nothing",
        "",
        "sail sail",
    ]
    with Store.create(tmp_path, "model", DIM) as store:
        store.commit([file("a", *texts)])
        full_text.keep_current(store._table)
        store._table.create_index("text", config=full_text.tokeniser())  # of all pages, however few
        hits = {page.page: page.text_score for page in store.snapshot().text_candidates("mast sail", 9)}
    documents = [re.findall(r"\w+", text) for text in texts]
    written = [words for words in documents if words]
    mean = sum(map(len, written)) / len(written)
    expected = {}
    for number, words in enumerate(documents, start=1):
        for term in ("mast", "sail"):
            holding = sum(term in other for other in written)
            idf = math.log(1 + (len(written) - holding + 0.5) / (holding + 0.5))
            count = words.count(term)
            if count:
                part = idf * count * 2.2 / (count + 1.2 * (1 - 0.75 + 0.75 * len(words) / mean))
                expected[number] = expected.get(number, 0.0) + part
    assert hits == pytest.approx(expected, rel=0.02)  # LanceDB rounds the length of a page


class TestKeepingUp:
    def test_a_small_library_is_indexed_when_an_update_ends(self, tmp_path: Path) -> None:
        """And no more than an eighth of it waits, so that nearly all pages are found by words one letter off."""
        with Store.create(tmp_path, "model", DIM) as store:
            for number, waits in ((16, 0), (2, 2), (1, 0)):
                store.commit([file(f"{number}-{i}", "an invoice") for i in range(number)])
                store.compact()
                assert store._table.list_indices()[0].num_unindexed_rows == waits
            assert len(found(store, "invoces")) == 0 and len(found(store, "invoces invoise")) == 19

    def test_it_follows_commits(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """New, changed and removed pages are right at once; the index itself catches up when it is well behind."""
        monkeypatch.setattr(full_text, "UNINDEXED", 3)
        with Store.create(tmp_path, "model", DIM) as store:
            for step in range(6):
                store.commit([file(f"f{step}", f"alpha number{step}"), file("same", f"state{step}")])
                store.compact()
                assert found(store, f"number{step}") == [f"f{step}"]
                assert sorted(found(store, "alpha")) == [f"f{number}" for number in range(step + 1)]
                assert found(store, f"state{step}") == ["same"]
                assert found(store, f"state{step + 9}") == found(store, f"state{step - 1 if step else 8}") == []
                assert store._table.list_indices()[0].num_unindexed_rows <= 3
            store.remove(["f0", "same"])
            assert found(store, "number0") == found(store, "state5") == []
            store.compact(force=True)
            assert sorted(found(store, "alpha")) == [f"f{number}" for number in range(1, 6)]

    def test_it_follows_a_long_update(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of many commits without an end, few pages wait, and few commits have to index them."""
        monkeypatch.setattr(full_text, "UNINDEXED", 2)
        made = 0
        with Store.create(tmp_path, "model", DIM) as store:
            for step in range(40):
                before = store._table.version
                store.commit([file(f"f{step}", f"number{step}")])
                made += store._table.version - before - 1
                [index] = store._table.list_indices()
                assert index.num_unindexed_rows <= max(2, index.num_indexed_rows // 8)
                assert found(store, f"number{step}") == [f"f{step}"]
        assert 8 <= made <= 16

    def test_an_index_of_an_earlier_version(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One without full text opens and is searched, by LanceDB's own reading of words; an update adds the rest."""
        with monkeypatch.context() as patch:
            patch.setattr(full_text, "keep_current", lambda *_, **__: None)
            with Store.create(tmp_path, "model", DIM) as store:
                store.commit([file(name, text) for name, text in TEXTS.items()])
                assert not store._table.list_indices()
        reader = Store.open(tmp_path)
        assert found(reader, "plumber") == ["en"]
        with Store.open(tmp_path, write=True) as store:
            store.compact()
        assert found(reader, "发票") == ["zh"]


class TestLongWords:
    """Words of 40 bytes and more in UTF-8: compounds, 20 letters of Cyrillic, 14 of Georgian, checksums."""

    WORDS = (
        "Rindfleischetikettierungsüberwachungsaufgabe",
        "превысокомногорассмотрительствующий",
        "საგანმანათლებლობისთვის",
        "b6589fc6ab0dc82cf12099d1c2d40ab994e8410c",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    )

    def found(self, folder: Path, word: str) -> list[int]:
        return [row["page"] for row in full_text.matches(Store.open(folder)._table, word, 9, None)]

    def test_found(self, tmp_path: Path) -> None:
        with Store.create(tmp_path, "m", DIM) as store:
            store.commit([file("a.txt", *self.WORDS)])
            store._table.create_index("text", config=full_text.tokeniser())  # of all pages, however few
        assert [self.found(tmp_path, word) for word in self.WORDS] == [[n] for n in range(1, len(self.WORDS) + 1)]

    def test_an_index_without_them_is_made_anew(self, tmp_path: Path) -> None:
        with Store.create(tmp_path, "m", DIM) as store:
            store.commit([file("a.txt", *self.WORDS)])
            old = FTS(base_tokenizer="icu/split", stem=False, remove_stop_words=False)
            store._table.create_index("text", config=old, replace=True)
        assert self.found(tmp_path, self.WORDS[0]) == []
        with Store.open(tmp_path, write=True) as store:
            store.compact()
            version = store._table.version
            store.compact()
            assert store._table.version == version  # once
        assert self.found(tmp_path, self.WORDS[0]) == [1]
