"""nano's tokenizer, against BPE over letters and against what UTF-8 says of bytes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from polylens.lab.nano import tokenizer
from polylens.lab.synthetic.lexicon import LANGUAGES, sample_text

VOCAB = 1500


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    rng = random.Random(0)
    return [" ".join(sample_text(rng, language, "train", 60)) for language in LANGUAGES for _ in range(4)]


@pytest.fixture(scope="module", autouse=True)
def small(corpus: list[str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "_corpus", lambda _: iter(corpus))
        yield


@pytest.fixture(scope="module")
def learned() -> Tokenizer:
    return tokenizer.train_tokenizer(vocab_size=VOCAB, seed=0)


@pytest.fixture(scope="module")
def over_letters() -> tuple[list[str], list[tuple[str, str]]]:
    """The letters and the merges of letters that the tokenizer's own come from."""
    return tokenizer._learn(VOCAB, 0)


def bytes_of(token: str) -> bytes:
    """Of a token as it is written down: GPT-2 moves the bytes that are no printable letters up by 256."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in plain]
    return bytes(moved[ord(letter) - 256] if ord(letter) >= 256 else ord(letter) for letter in token)


def test_vocabulary_is_as_large_as_asked_and_begins_with_the_special_tokens(learned: Tokenizer) -> None:
    assert learned.get_vocab_size() == VOCAB
    assert sorted(learned.get_vocab().values()) == list(range(VOCAB))
    assert tuple(learned.id_to_token(number) for number in range(8)) == tokenizer.SPECIAL_TOKENS
    assert learned.encode("<|im_start|>a").ids[0] == 1


def test_a_token_is_whole_letters_a_byte_or_the_beginning_of_one_letter(learned: Tokenizer) -> None:
    whole = 0
    for token in learned.get_vocab().keys() - set(tokenizer.SPECIAL_TOKENS):
        spelled = bytes_of(token)
        try:
            spelled.decode()
            whole += 1
        except UnicodeDecodeError:
            length = {0b110: 2, 0b1110: 3, 0b11110: 4}
            lead = next((n for mark, n in length.items() if spelled[0] >> (7 - n) == mark), 0)
            assert len(spelled) == 1 or len(spelled) < lead, token
    assert whole > VOCAB / 2


@pytest.mark.parametrize("language", ["en", "ru", "he", "ar", "hi", "th", "zh", "ja", "ko"])
def test_words_fall_into_the_pieces_of_bpe_over_letters(
    learned: Tokenizer, over_letters: tuple[list[str], list[tuple[str, str]]], language: str
) -> None:
    letters, merges = over_letters
    have = {bytes_of(token) for token in learned.get_vocab().keys() - set(tokenizer.SPECIAL_TOKENS)}
    merges = list(itertools.takewhile(lambda pair: "".join(pair).encode() in have, merges))
    vocab = {text: number for number, text in enumerate(dict.fromkeys([*letters, *map("".join, merges)]))}
    by_letters = Tokenizer(models.BPE(vocab, merges))
    by_letters.pre_tokenizer = pre_tokenizers.Split(Regex(tokenizer.QWEN_PATTERN), behavior="isolated")
    rng = random.Random(1)
    known = [word for word in sample_text(rng, language, "held_out", 300) if set(word) <= set(letters)]
    assert len(known) > 30 and len(merges) > 500
    for word in known:
        assert [bytes_of(token).decode() for token in learned.encode(word).tokens] == by_letters.encode(word).tokens


def test_learning_twice_gives_the_same(learned: Tokenizer) -> None:
    assert tokenizer.train_tokenizer(vocab_size=VOCAB, seed=0).to_str() == learned.to_str()


def test_any_text_comes_back(learned: Tokenizer) -> None:
    text = "Straße, 日本語 שלום\n\n\N{GRINNING FACE} foo  bar 12 \N{OLD PERSIAN SIGN A}"
    assert learned.decode(learned.encode(text).ids) == text
