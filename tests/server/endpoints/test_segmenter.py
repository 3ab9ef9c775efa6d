"""Chunks tile the text and are cut where a reader would; tokens join to the text they came from."""

from __future__ import annotations

import hashlib
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import regex
import tokenizers

from polylens.errors import InputError
from polylens.server.endpoints.segment import MAX_CHUNK_LENGTH, segment
from polylens.server.endpoints.segmenter.chunks import chunk_bounds
from polylens.server.endpoints.segmenter.published import (
    HOST,
    PUBLISHED_TOKENIZERS,
    VOCABULARIES,
    published_tokenizer,
)
from polylens.server.endpoints.segmenter.tokenizers import OffsetTokenizer, Piece, TiktokenTokenizer

FAMILY = "👩\u200d👩\u200d👧\u200d👦"
TEXTS = {
    "empty": "",
    "blank": " \n\t\r\n ",
    "English": 'He said: "It is 3.14." Then, e.g. this; that! And so on… (Really?) Yes.\r\n\r\nNew paragraph.\n' * 3,
    "Markdown": "# Title\n\nText of it.\n\n- one\n- two\n  - three\n\n## Next\n1. a\n2. b\n\nUnder\n-----\nlined\n" * 3,
    "Chinese": "您的搜索底座，从此不同！他说：“好。”然后走了。" * 5,
    "Japanese": "検索ベース、もう二度と同じことはありません！「はい。」と言った。カ\uff9eギ" * 5,
    "Korean": "안녕하세요. 반갑습니다! \u1112\u1161\u11ab글 " * 5,
    "Arabic": "ما هذا؟ هذا كِتَابٌ جميل، وهو لي. شكراً۔ " * 5,
    "Hindi": "यह एक वाक्य है। क्या यह दूसरा है? हाँ॥ क्षत्रिय " * 5,
    "Thai": "สวัสดีครับ นี่คือข้อความภาษาไทย ที่ไม่มีจุด น้ำ" * 5,
    "emoji": f"{FAMILY}🇩🇪🇫🇷🇯🇵👍🏽❤️\u200d🔥1️⃣🏴\U000e0067\U000e0062\U000e007f" * 5,
    "unbroken": "x" * 500,
    "accents": "e\u0301\u0323o\u0308" * 60,
    "line ends": "a\rb\r\nc\u2028d\u2029e\x0cf\x85g\n\r\n\rh" * 10,
}
ALPHABET = [
    *("a", "B", "7", ".", "!", "。", "，", ",", '"', ")", " ", " ", "\n", "\r\n", "\r", "\n\n", "\t", "\xa0", "\x00"),
    *("# ", "- ", "1. ", "---", "\u2028", "\u0301", "\u200d", "\u200c", "\u200b", "👩", "🏽", "\ufe0f", "🇩", "🇪"),
    *("क", "\u094d", "\u093f", "।", "한", "\u1100", "\u1161", "\u11a8", "漢", "น", "\u0e33", "ا", "\u064e", "؟"),
    *("\U000e0067", "カ", "\uff9e"),
]


def random_texts(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(ALPHABET, int(rng.integers(0, 200)))) for _ in range(count)]


class Characters:
    """Every character is a token; digits are three tokens of one piece, as emoji often are."""

    name = "characters"

    def encode(self, text: str) -> list[Piece]:
        return [(char, [ord(char)] * (3 if char.isdigit() else 1)) for char in text]


def chunks(text: str, max_length: int) -> list[str]:
    return [text[start:end] for start, end in pairwise(chunk_bounds(text, max_length))]


def ask(content: str, tokens: bool = True, cut: bool = True, **options: Any) -> dict[str, Any]:
    return segment(content, Characters(), return_tokens=tokens, return_chunks=cut, **options)


class TestTiling:
    @pytest.mark.parametrize("max_length", [1, 2, 7, 40, 1000])
    @pytest.mark.parametrize("text", [*TEXTS.values(), *random_texts(40)])
    def test_chunks_tile_the_text(self, text: str, max_length: int) -> None:
        bounds = chunk_bounds(text, max_length)
        assert bounds[0] == 0 and bounds[-1] == len(text)
        assert all(start < end <= start + max_length for start, end in pairwise(bounds))
        # three neighbours would not have fitted into one: this is also why the work is linear
        assert all(after - before > max_length for before, after in zip(bounds, bounds[3:], strict=False))

    @pytest.mark.parametrize("max_length", [20, 40])
    def test_no_character_of_a_reader_is_cut(self, max_length: int) -> None:
        num_cuts = 0
        for text in [*TEXTS.values(), *random_texts(300)]:
            clusters = [match.span() for match in regex.finditer(r"\X", text)]
            allowed = {end for _, end in clusters} | {0}
            longest = max((end - start for start, end in clusters), default=0)
            for start, end in pairwise(chunk_bounds(text, max_length)):
                num_cuts += 1
                assert end in allowed or longest >= max_length, (text[start:end], text[end : end + 4])
        assert num_cuts > 1000

    @pytest.mark.parametrize(
        "cluster",
        [
            "e\u0301\u0323",
            FAMILY,
            "👍🏽",
            "🇩🇪",
            "क्षि",
            "\r\n",
            "\u1112\u1161\u11ab",
            "\u1100\uac00",
            "น้ำ"[:3],
            "❤️\u200d🔥",
        ],
    )
    def test_clusters_stay_whole(self, cluster: str) -> None:
        text = cluster * 50
        for max_length in range(len(cluster), 3 * len(cluster)):
            assert all(len(chunk) % len(cluster) == 0 for chunk in chunks(text, max_length))

    @pytest.mark.parametrize(
        ("text", "first"),
        [
            ("\u0939\u094d\u200d\u092e" * 9, 8),  # virama and joiner: the consonants stay together
            ("a\u200d" * 9, 10),  # a joiner belongs to what is before it, and ties no letters together
            ("\u1000\u102c" * 9, 11),  # the Burmese vowel AA does not extend a cluster
            ("\u0600\u0661" * 9, 10),  # the Arabic number sign stays with the digit behind it
            ("x\u200b\u0301" * 9, 11),  # an accent does not attach to a zero width space
        ],
    )
    def test_clusters_are_those_of_unicode(self, text: str, first: int) -> None:
        """No kind of place is found in the second half, but for the zero width space: cut between clusters."""
        assert len(chunks(text, 11)[0]) == first

    def test_a_cluster_longer_than_a_chunk_is_cut(self) -> None:
        text = "a" + "\u0301" * 50
        assert [len(chunk) for chunk in chunks(text, 20)] == [20, 20, 11]

    def test_a_long_unbroken_text_is_cut_at_the_limit(self) -> None:
        assert [len(chunk) for chunk in chunks("x" * 2500, 1000)] == [1000, 1000, 500]

    def test_a_megabyte_is_cut(self) -> None:
        text = ("Some words, and a stop. " * 40 + "\n\n") * 1_100
        found = chunks(text, 1000)
        assert "".join(found) == text and 1000 <= len(found) < 2200


class TestPlaces:
    @pytest.mark.parametrize(
        ("text", "first"),
        [
            ("aaaa bbbb.\n\ncc dd.\n## Head\nee ff. gg", "aaaa bbbb.\n\ncc dd.\n"),
            ("aaaa bbbb.\n\ncc dd.\nHead\n====\nee ff. gg hh", "aaaa bbbb.\n\ncc dd.\n"),
            ("aaaa bbbb cccc\n \n\ndd. e\nff gg hh ii jj", "aaaa bbbb cccc\n \n\n"),
            ("aaaa bbbb cccc dd\r\n\r\nd\r\nff gg hh", "aaaa bbbb cccc dd\r\n\r\n"),
            ("aaaa bbbb:\n - cc\n - dd\n e\nff gg hh ii", "aaaa bbbb:\n - cc\n"),
            ("aaaa bbbb:\n1. c\n2. dd\neee ff gg hh ii", "aaaa bbbb:\n1. c\n"),
            ("aaaa bbbb cccc\ndddd. eeee ffff gggg", "aaaa bbbb cccc\n"),
            ("aaaa bbbb cccc\r\ndddd. eeee ffff gggg", "aaaa bbbb cccc\r\n"),
            ("aaaa bbbb cccc\n\u0301dddd eeee ffff", "aaaa bbbb cccc\n"),  # an accent without a letter
            ("Aaaa 3.14 bbbb.” Cccc dddd eeee ffff", "Aaaa 3.14 bbbb.” "),
            ("Aaaa bbbb! Cccc, e.g. dddd eeee ffff", "Aaaa bbbb! Cccc, "),  # after "e.g." comes a small letter
            ("一二三四五六七八。」九十一二三四五，六七八九十一二三四五", "一二三四五六七八。」"),
            ("一二三四五六七八九十一，二三四五六七八九十一二三四五", "一二三四五六七八九十一，"),
            ("ابجد هوز حطي؟ كلمن سعفص قرشت ثخذ ضظغ", "ابجد هوز حطي؟ "),
            ("यह एक वाक्य है।दूसरा वाक्य यह रहा यहाँ", "यह एक वाक्य है।"),
            ("สวัสดีครับนี่คือ ข้อความภาษาไทยไทย", "สวัสดีครับนี่คือ "),
            ("aaaa bbbb\xa0cccc dddd\xa0eeee\xa0ffff", "aaaa bbbb\xa0cccc "),
        ],
    )
    def test_the_best_place_in_the_second_half(self, text: str, first: str) -> None:
        assert chunks(text, 24 if text[0] != "一" else 18)[0] == first

    def test_a_place_in_the_first_half_is_not_taken(self) -> None:
        assert chunks("aa\n\nbbbb cccc dddd eeee ffff", 20)[0] == "aa\n\nbbbb cccc dddd "

    def test_white_space_stays_with_what_it_follows(self) -> None:
        assert chunks("  one two   three  ", 12) == ["  one two   ", "three  "]


class TestAnswer:
    def test_has_the_published_shape(self) -> None:
        assert ask("a b", max_chunk_length=2) == {
            "num_tokens": 3,
            "tokenizer": "characters",
            "usage": {"tokens": 0},
            "num_chunks": 2,
            "chunk_positions": [[0, 2], [2, 3]],
            "tokens": [[("a", [97]), (" ", [32])], [("b", [98])]],
            "chunks": ["a ", "b"],
        }

    def test_gives_only_what_is_asked_for(self) -> None:
        plain = {"num_tokens": 3, "tokenizer": "characters", "usage": {"tokens": 0}}
        assert ask("a b", tokens=False, cut=False) == plain
        assert ask("a b", cut=False, max_chunk_length=1) == {
            **plain,
            "tokens": [[("a", [97]), (" ", [32]), ("b", [98])]],
        }
        assert set(ask("a b", tokens=False)) == {*plain, "num_chunks", "chunk_positions", "chunks"}

    def test_nothing_is_no_chunk(self) -> None:
        answer = ask("")
        assert (answer["num_tokens"], answer["num_chunks"], answer["chunks"], answer["tokens"]) == (0, 0, [], [])
        assert answer["chunk_positions"] == []

    @pytest.mark.parametrize(
        ("limit", "shown"),
        [
            ({}, ["ab ", "1c ", "de"]),
            ({"head": 1}, ["a", "", ""]),
            ({"head": 5}, ["ab ", "", ""]),  # the digit is three tokens, and two of them are not shown
            ({"head": 6}, ["ab ", "1", ""]),
            ({"head": 99}, ["ab ", "1c ", "de"]),
            ({"tail": 1}, ["", "", "e"]),
            ({"tail": 6}, ["", "c ", "de"]),
            ({"tail": 7}, ["", "1c ", "de"]),
            ({"tail": 99}, ["ab ", "1c ", "de"]),
        ],
    )
    def test_head_and_tail(self, limit: dict[str, int], shown: list[str]) -> None:
        answer = ask("ab 1c de", max_chunk_length=4, **limit)
        assert ["".join(text for text, _ in pieces) for pieces in answer["tokens"]] == shown
        assert answer["num_tokens"] == 10 and answer["chunks"] == ["ab ", "1c ", "de"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_chunk_length": 0}, "between 1 and 64000, got 0"),
            ({"max_chunk_length": MAX_CHUNK_LENGTH + 1}, "got 64001"),
            ({"head": 0}, "head must be at least 1, got 0"),
            ({"tail": -1}, "tail must be at least 1, got -1"),
            ({"head": 1, "tail": 1}, "together"),
            ({"content": "ab\ud83d"}, "surrogate pair at 2"),
        ],
    )
    def test_refuses(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            ask(**{"content": "text", **options})


def byte_level(*merges: tuple[str, str]) -> tokenizers.Tokenizer:
    """A byte-level tokenizer that knows all bytes and these merges."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *("".join(merge) for merge in merges)]
    vocab = {token: number for number, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=list(merges)))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def wordpiece() -> tokenizers.Tokenizer:
    """One that drops white space and case."""
    vocab = {"[UNK]": 0, "hello": 1, "wor": 2, "##ld": 3, "!": 4}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocab=vocab, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return tokenizer


class TestOffsetTokenizer:
    @pytest.mark.parametrize("make", [byte_level, wordpiece])
    def test_pieces_join_to_the_text_and_keep_every_token(self, make: Any) -> None:
        tokenizer = make()
        adapter = OffsetTokenizer("name", tokenizer)
        for text in [*TEXTS.values(), *random_texts(100)]:
            pieces = adapter.encode(text)
            assert "".join(piece for piece, _ in pieces) == text
            assert [number for _, ids in pieces for number in ids] == tokenizer.encode(text).ids

    def test_the_tokens_of_a_character_are_one_piece(self) -> None:
        pieces = OffsetTokenizer("name", byte_level(("h", "e"))).encode("hé 🚀he")
        assert [(text, len(ids)) for text, ids in pieces] == [("h", 1), ("é", 2), (" ", 1), ("🚀", 4), ("he", 1)]

    def test_what_is_left_out_goes_with_what_follows(self) -> None:
        tokenizer = OffsetTokenizer("name", wordpiece())
        assert tokenizer.encode("Hello  World! \n") == [("Hello", [1]), ("  Wor", [2]), ("ld", [3]), ("! \n", [4])]
        assert tokenizer.encode("  ") == [("  ", [])]
        assert tokenizer.encode("") == []

    def test_no_special_tokens_are_added(self) -> None:
        tokenizer = byte_level()
        tokenizer.add_special_tokens(["<s>"])
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
        assert [text for text, _ in OffsetTokenizer("name", tokenizer).encode("ab")] == ["a", "b"]


class TestTiktokenTokenizer:
    @staticmethod
    def encoding(*merges: bytes) -> Any:
        tiktoken = pytest.importorskip("tiktoken")
        ranks = {bytes([value]): value for value in range(256)}
        ranks |= {merge: 256 + number for number, merge in enumerate(merges)}
        return tiktoken.Encoding(
            name="tiny", pat_str=r"\s?\S+|\s+", mergeable_ranks=ranks, special_tokens={"<|end|>": 999}
        )

    def test_pieces_join_to_the_text_and_keep_every_token(self) -> None:
        # the third merge joins the end of one character with the start of the next
        encoding = self.encoding(b"he", b" a", b"\x97\xe3", "漢".encode()[:2])
        tokenizer = TiktokenTokenizer(encoding)
        assert tokenizer.name == "tiny"
        for text in [*TEXTS.values(), *random_texts(100)]:
            pieces = tokenizer.encode(text)
            assert "".join(piece for piece, _ in pieces) == text
            assert [number for _, ids in pieces for number in ids] == encoding.encode_ordinary(text)
            for piece, ids in pieces:
                assert encoding.decode_bytes(ids).decode() == piece

    def test_the_tokens_of_a_character_are_one_piece(self) -> None:
        pieces = TiktokenTokenizer(self.encoding(b"he", "é".encode())).encode("hé 🚀he")
        assert [(text, len(ids)) for text, ids in pieces] == [("h", 1), ("é", 1), (" ", 1), ("🚀", 4), ("he", 1)]

    def test_a_token_across_two_characters_makes_them_one_piece(self) -> None:
        first, second = "本".encode(), "語".encode()
        tokenizer = TiktokenTokenizer(self.encoding(first[2:] + second[:1]))
        assert [text for text, _ in tokenizer.encode("日本語だ")] == ["日", "本語", "だ"]

    def test_what_looks_like_a_special_token_is_text(self) -> None:
        assert len(TiktokenTokenizer(self.encoding()).encode("<|end|>")) == 7


class TestPublishedTokenizers:
    def test_an_unknown_name_lists_the_known_ones(self) -> None:
        with pytest.raises(InputError, match=r"cl100k_base, .*gpt2, got 'nope'"):
            published_tokenizer("nope")

    def test_says_that_tiktoken_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tiktoken", None)
        with pytest.raises(InputError, match=r"pip install 'polylens\[segment\]'"):
            published_tokenizer("gpt2")

    @pytest.mark.parametrize("folder", [None, "", "empty", "damaged"])
    @pytest.mark.parametrize("name", PUBLISHED_TOKENIZERS)
    def test_says_which_file_is_missing_and_fetches_nothing(
        self, name: str, folder: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("tiktoken")
        monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
        if folder is not None:
            monkeypatch.setenv("TIKTOKEN_CACHE_DIR", folder and str(tmp_path))
        if folder == "damaged":
            for file in VOCABULARIES[name]:
                url = f"{HOST}/{file}"
                (tmp_path / hashlib.sha1(url.encode()).hexdigest()).write_bytes(b"not it")
        with pytest.raises(InputError, match=r"https://.* TIKTOKEN_CACHE_DIR"):
            published_tokenizer(name)

    def test_loads_what_is_in_the_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With a vocabulary of our own behind tiktoken's name for it; tiktoken itself would refuse its hash."""
        tiktoken = pytest.importorskip("tiktoken")
        file, data = "encodings/cl100k_base.tiktoken", b"a vocabulary"
        name = hashlib.sha1(f"{HOST}/{file}".encode()).hexdigest()
        (tmp_path / name).write_bytes(data)
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
        monkeypatch.setitem(VOCABULARIES, "cl100k_base", {file: hashlib.sha256(data).hexdigest()})
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")  # tiktoken would keep nothing, and look nowhere
        with pytest.raises(InputError, match="is not on this machine"):
            published_tokenizer("cl100k_base")
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
        monkeypatch.setattr(tiktoken, "get_encoding", lambda _: TestTiktokenTokenizer.encoding())
        assert published_tokenizer("cl100k_base").encode("a") == [("a", [97])]
        published_tokenizer.cache_clear()
        monkeypatch.setattr(tiktoken, "get_encoding", lambda _: (item for item in ()).throw(ValueError("Unknown")))
        with pytest.raises(InputError, match="cannot be loaded by this tiktoken"):
            published_tokenizer("cl100k_base")

    def test_the_table_is_the_one_of_tiktoken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What tiktoken would read is in our table; it stops at the first of the files, which is empty here."""
        load = pytest.importorskip("tiktoken.load")
        constructors = pytest.importorskip("tiktoken_ext.openai_public").ENCODING_CONSTRUCTORS
        asked: dict[str, str] = {}

        def record(url: str, sha256: str) -> bytes:
            asked[url] = sha256
            return b""

        monkeypatch.setattr(load, "read_file_cached", record)
        for name in PUBLISHED_TOKENIZERS:
            asked.clear()
            with suppress(ValueError, AssertionError):  # of empty files
                constructors[name]()
            table = {f"{HOST}/{file}": sha256 for file, sha256 in VOCABULARIES[name].items()}
            assert asked.items() <= table.items() and asked
