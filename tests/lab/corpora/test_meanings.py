"""Everyday meanings: every language says every one, nothing is said twice, and a paraphrase has other words."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from polylens.lab.corpora.meanings import LANGUAGES, held_out_keys, meanings, near_misses
from polylens.lab.corpora.text import key

SCRIPTS = {"ru": "[а-яё]", "zh": "[一-鿿]", "ja": "[ぁ-ヿ]", "ar": "[ء-ي]", "hi": "[ऀ-ॿ]"}
SMALL_WORDS = (
    "a an the i you he she it we they my your his her our their me him us them is are was were be been being am do "
    "does did not no to of in on at for from with by and or but so that this these those there here as if since "
    "because when while who what which how has have had will would can could should must may one many much more most "
    "than too very all any some up out off over into about after before every each only just still already"
)


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z']+", text.lower())) - set(SMALL_WORDS.split())


def test_every_meaning_is_said_in_every_language() -> None:
    assert len(meanings()) == 200 and len(LANGUAGES) == 12
    assert set(Counter(each.group for each in meanings()).values()) == {4}
    for each in meanings():
        assert tuple(each.said) == LANGUAGES and all(each.said.values())


def test_a_task_has_a_thousand_candidates() -> None:
    assert len(meanings()) + len(near_misses()) == 1000
    per_group = Counter((each.group, each.language) for each in near_misses())
    for group in {each.group for each in meanings()}:
        assert [per_group[group, language] for language in LANGUAGES] == [5] + [1] * 11


def test_nothing_is_said_twice() -> None:
    texts = [text for each in meanings() for text in (each.paraphrase, each.description, *each.said.values())]
    texts += [each.text for each in near_misses()]
    assert [text for text, count in Counter(map(key, texts)).items() if count > 1] == []
    assert len(held_out_keys()) == len(texts) == 3600


def test_a_query_shares_no_word_of_content_with_its_answer() -> None:
    for each in meanings():
        for query in (each.paraphrase, each.description):
            assert not words(query) & words(each.said["en"]), query


@pytest.mark.parametrize("language", SCRIPTS)
def test_a_language_is_in_its_own_script(language: str) -> None:
    said = [each.said[language] for each in meanings()]
    said += [each.text for each in near_misses() if each.language == language]
    assert [text for text in said if not re.search(SCRIPTS[language], text) or re.search("[A-Za-z]", text)] == []
