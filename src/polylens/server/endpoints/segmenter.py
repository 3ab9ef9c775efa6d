"""Cutting a text into chunks and tokens, without a model: what Jina's segmenter answers.

Everything here is linear in the length of the text: each pattern passes over it once, a chunk looks back over no more
characters than a chunk may have, and three neighbouring chunks are together longer than that.
"""

from __future__ import annotations

import codecs
import hashlib
import importlib
import os
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from polylens.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_CHUNK_LENGTH = 64_000  # characters; longer chunks are longer than any model reads

Piece = tuple[str, list[int]]
"""A piece of text and the ids it became: one, but for characters that take several tokens."""


class SegmentTokenizer(Protocol):
    """What counts tokens."""

    name: str

    def encode(self, text: str) -> list[Piece]:
        """A text without surrogates -> pieces that join to it again."""
        ...


def segment(
    content: str,
    tokenizer: SegmentTokenizer,
    *,
    return_tokens: bool,
    return_chunks: bool,
    max_chunk_length: int = 1000,
    head: int | None = None,
    tail: int | None = None,
) -> dict[str, Any]:
    """Count a text's tokens; show them, or cut the text into chunks, where that is asked for.

    Chunks are tokenized apart, as whoever sends them to a model one by one will find them, and as the published
    service does; so `num_tokens` can be a little larger with chunks than without.

    Args:
        content: Any text.
        tokenizer: What counts.
        return_tokens: Give the tokens, one list a chunk; one list for the text where there are no chunks.
        return_chunks: Give the chunks and where they are.
        max_chunk_length: Characters (Unicode code points), between 1 and `MAX_CHUNK_LENGTH`.
        head: Show no more than this many tokens from the start: whole pieces, every chunk keeping its list.
        tail: Likewise from the end; not together with `head`.

    Returns:
        The published shape. `chunk_positions` are offsets of code points (the published service's are of UTF-16), and
        the chunks tile the text: each begins where the last one ended.

    Raises:
        InputError: A number is out of range, head and tail are both there, or the text has half a surrogate pair.
    """
    _check(content, max_chunk_length, head, tail)
    bounds = chunk_bounds(content, max_chunk_length) if return_chunks else [0, len(content)]
    texts = [content[start:end] for start, end in pairwise(bounds)]
    encoded = [tokenizer.encode(text) for text in texts]
    answer: dict[str, Any] = {
        "num_tokens": sum(map(_num_tokens, encoded)),
        "tokenizer": tokenizer.name,
        "usage": {"tokens": 0},
    }
    if return_chunks:
        answer["num_chunks"] = len(texts)
        answer["chunk_positions"] = [[start, end] for start, end in pairwise(bounds)]
    if return_tokens:
        answer["tokens"] = _shown(encoded, head, tail)
    if return_chunks:
        answer["chunks"] = texts
    return answer


def _check(content: str, max_chunk_length: int, head: int | None, tail: int | None) -> None:
    if not 1 <= max_chunk_length <= MAX_CHUNK_LENGTH:
        raise InputError(f"max_chunk_length must be between 1 and {MAX_CHUNK_LENGTH}, got {max_chunk_length}")
    if head is not None and tail is not None:
        raise InputError("head and tail cannot be used together; leave one of them out")
    for name, value in (("head", head), ("tail", tail)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    if half := re.search(r"[\ud800-\udfff]", content):
        raise InputError(f"content has half of a surrogate pair at {half.start()}; send whole characters")


def _num_tokens(pieces: Sequence[Piece]) -> int:
    return sum(len(ids) for _, ids in pieces)


def _shown(encoded: list[list[Piece]], head: int | None, tail: int | None) -> list[list[Piece]]:
    if head is not None:
        return _first(encoded, head)
    if tail is not None:
        return [pieces[::-1] for pieces in _first([pieces[::-1] for pieces in encoded[::-1]], tail)][::-1]
    return encoded


def _first(encoded: list[list[Piece]], num_tokens: int) -> list[list[Piece]]:
    """The pieces that fit into the first so many tokens; a list for every chunk, if only an empty one."""
    left = num_tokens
    shown: list[list[Piece]] = []
    for pieces in encoded:
        shown.append([])
        for piece in pieces:
            left -= len(piece[1])
            if left < 0:
                break
            shown[-1].append(piece)
    return shown


# --- Where a text may be cut ---

_NEWLINES = "\n\r\v\f\x85\u2028\u2029"
_NEWLINE = rf"(?>\r\n|[{_NEWLINES}])"
_BLANK = rf"[^\S{_NEWLINES}]"  # white space within a line
_CLOSERS = r"[\"'”’»›)\]}」』）】》〉］]"
_STOPS = ".!?…‽؟۔։"  # followed by a blank where they end a sentence: not those of 3.14 and polylens.errors
_WIDE_STOPS = "。！？｡．।॥።፧፨។៕\u104b"  # Chinese, Japanese, Devanagari, Ethiopic, Khmer, Burmese: no blank is needed
# Each pattern's matches end where a chunk may begin. What it repeats it never gives back (`++`), and a run of stops
# is looked at from its start only: that keeps a search linear in a text of nothing but stops or line ends.
_HASHES = rf"\#{{1,6}}{_BLANK}"
_UNDERLINED = rf"{_BLANK}*+\S[^\n\r]*+(?:\r\n|[\n\r])(?:={{3,}}+|-{{3,}}+){_BLANK}*+(?:[\n\r]|\Z)"
_HEADINGS = re.compile(rf"(?:\A|{_NEWLINE})(?={_HASHES}|{_UNDERLINED})")
_PARAGRAPHS = re.compile(rf"{_NEWLINE}(?>{_BLANK}*+{_NEWLINE})++")
_ITEMS = re.compile(rf"{_NEWLINE}(?={_BLANK}*+(?:(?:[-*+•‣◦·–]|\(?\d{{1,3}}[.)]){_BLANK}|\d{{1,3}}、))")
_LINES = re.compile(_NEWLINE)
_SENTENCES = re.compile(
    rf"(?<![{_STOPS}])[{_STOPS}]++{_CLOSERS}*+\s++|(?<![{_WIDE_STOPS}])[{_WIDE_STOPS}]++{_CLOSERS}*+\s*+"
)
_CLAUSES = re.compile(r"[,;:،؛—]\s++|[、，；：፣፤\u104a]\s*+")
_WORDS = re.compile(r"[^\S\xa0\u202f]++|[\u200b་፡]")  # and what divides words in Khmer, Tibetan and Ethiopic
_LEVELS = (_HEADINGS, _PARAGRAPHS, _ITEMS, _LINES, _SENTENCES, _CLAUSES, _WORDS)  # best first


def chunk_bounds(text: str, max_length: int) -> list[int]:
    """Where chunks begin and end: 0, every cut, and the length of the text.

    A chunk is as long as the best kind of cut in its second half allows: a heading, a blank line, the item of a list,
    a line, a sentence, a clause, a word. Without any it is cut between two characters as a reader sees them (grapheme
    clusters), and within one only where that alone is longer than a chunk may be.

    Args:
        text: Any text.
        max_length: Characters that a chunk may have, at least 1.

    Returns:
        Rising offsets; [0] for an empty text.

    Example:
        >>> chunk_bounds("One line.\\n\\nAnother one. A third.", 20)
        [0, 11, 24, 32]
    """
    bounds = [0]
    if len(text) <= max_length:
        return [0, len(text)] if text else bounds
    levels = [list(_ends(pattern, text)) for pattern in _LEVELS]
    while len(text) - bounds[-1] > max_length:
        bounds.append(_cut(text, bounds[-1], max_length, levels))
    return [*bounds, len(text)]


def _ends(pattern: re.Pattern[str], text: str) -> Iterator[int]:
    for match in pattern.finditer(text):
        end = match.end()
        # "e.g. this": a sentence does not begin with a small letter
        if pattern is not _SENTENCES or not text[end : end + 1].islower():
            yield end


def _cut(text: str, start: int, max_length: int, levels: Sequence[Sequence[int]]) -> int:
    """The end of the chunk that starts at `start`."""
    limit = start + max_length
    for ends in levels:
        for end in _downwards(ends, limit):
            if end <= start + max_length // 2:
                break
            if not _glued(text, end, start):
                return end
    return next((end for end in range(limit, start, -1) if not _glued(text, end, start)), limit)


def _downwards(ends: Sequence[int], limit: int) -> Iterator[int]:
    for place in range(bisect_right(ends, limit) - 1, -1, -1):
        yield ends[place]


def _glued(text: str, place: int, start: int) -> bool:
    """Whether what a reader sees as one character would be cut at `place`.

    After Unicode Standard Annex 29, and a little more careful: nothing is cut after a joiner or a virama, whatever
    comes next. `start` is a place where the text was cut before: flags are counted in pairs from there.
    """
    before, after = text[place - 1], text[place]
    if before == "\r":
        return after == "\n"
    if after in _EXTENDING or unicodedata.category(after) in ("Mn", "Mc", "Me"):
        return before not in _NEWLINES
    if before == "\u200d" or unicodedata.combining(before) == 9:  # 9: virama, which ties consonants together
        return True
    if _is_flag_letter(before) and _is_flag_letter(after):
        return _num_flag_letters(text, place, start) % 2 == 1
    return _is_leading_jamo(before) and ("가" <= after <= "힣" or _is_leading_jamo(after))


def _chars(*ranges: tuple[int, int]) -> frozenset[str]:
    return frozenset(chr(code) for first, last in ranges for code in range(first, last + 1))


_EXTENDING = _chars(
    (0x200C, 0x200D),  # joiners
    (0x1F3FB, 0x1F3FF),  # skin tones
    (0xE0020, 0xE007F),  # tags, in the flags of regions
    (0xFF9E, 0xFF9F),  # voicing marks of half-width katakana
    (0x0E33, 0x0E33),  # Thai and Lao sara am
    (0x0EB3, 0x0EB3),
    (0x1160, 0x11FF),  # Hangul vowels and final consonants
    (0xD7B0, 0xD7FB),
)


def _is_leading_jamo(char: str) -> bool:
    return "\u1100" <= char <= "\u115f" or "\ua960" <= char <= "\ua97c"


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _num_flag_letters(text: str, place: int, start: int) -> int:
    first = place
    while first > start and _is_flag_letter(text[first - 1]):
        first -= 1
    return place - first


# --- Tokenizers ---


class OffsetTokenizer:
    """A tokenizer of the `tokenizers` library, which says from where in the text each token comes.

    Args:
        name: What answers call it.
        tokenizer: As read from a `tokenizer.json`; what it says of padding and truncation must be off.
    """

    def __init__(self, name: str, tokenizer: Tokenizer) -> None:
        self.name = name
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[Piece]:
        """Pieces that join to the text: what the tokenizer leaves out goes with the piece behind it, or with the last.

        Tokens of one character overlap, and so become one piece; so does a token that comes from no character.
        """
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        ends: list[int] = []
        ids: list[list[int]] = []
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if not ends or (start >= ends[-1] and end > start):
                ends.append(end)
                ids.append([token])
            else:
                ends[-1] = max(ends[-1], end)
                ids[-1].append(token)
        if not ends:
            return [(text, [])] if text else []
        ends[-1] = len(text)
        return _pieces(text, ends, ids)


class _Encoding(Protocol):
    """What is used of a `tiktoken.Encoding`."""

    @property
    def name(self) -> str: ...
    def encode_ordinary(self, text: str, /) -> list[int]: ...
    def decode_single_token_bytes(self, token: int, /) -> bytes: ...


class TiktokenTokenizer:
    """A tokenizer of `tiktoken`, whose tokens are bytes. Text that looks like a special token is text.

    Args:
        encoding: A `tiktoken.Encoding`.
    """

    def __init__(self, encoding: _Encoding) -> None:
        self.name = encoding.name
        self._encoding = encoding

    def encode(self, text: str) -> list[Piece]:
        """Pieces that join to the text; a piece ends where a token ends together with a character."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        ends: list[int] = []
        ids: list[list[int]] = [[]]
        num_chars = 0
        for token in self._encoding.encode_ordinary(text):
            num_chars += len(decoder.decode(self._encoding.decode_single_token_bytes(token)))
            ids[-1].append(token)
            if not decoder.getstate()[0]:
                ends.append(num_chars)
                ids.append([])
        return _pieces(text, ends, ids[:-1])


def _pieces(text: str, ends: Iterable[int], ids: Iterable[list[int]]) -> list[Piece]:
    return [(text[start:end], group) for (start, end), group in zip(pairwise([0, *ends]), ids, strict=True)]


_HOST = "https://openaipublic.blob.core.windows.net"
_P50K = {"encodings/p50k_base.tiktoken": "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"}
_VOCABULARIES = {
    "cl100k_base": {
        "encodings/cl100k_base.tiktoken": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
    },
    "o200k_base": {"encodings/o200k_base.tiktoken": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"},
    "p50k_base": _P50K,
    "r50k_base": {"encodings/r50k_base.tiktoken": "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"},
    "p50k_edit": _P50K,
    "gpt2": {
        "gpt-2/encodings/main/vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
        "gpt-2/encodings/main/encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    },
}
"""Published name -> the files of its vocabulary at `_HOST`, with their sha256, as tiktoken 0.14 has them."""
PUBLISHED_TOKENIZERS = tuple(_VOCABULARIES)


@cache
def published_tokenizer(name: str) -> TiktokenTokenizer:
    """A tokenizer by the name that Jina's segmenter knows it by. Nothing is fetched: it is here, or it is refused.

    Args:
        name: One of `PUBLISHED_TOKENIZERS`.

    Raises:
        InputError: There is no such name, tiktoken is not installed, or the vocabulary is not in TIKTOKEN_CACHE_DIR.
    """
    if name not in _VOCABULARIES:
        raise InputError(f"tokenizer must be one of {', '.join(PUBLISHED_TOKENIZERS)}, got {name[:40]!r}")
    try:
        tiktoken = importlib.import_module("tiktoken")
    except ImportError as error:
        raise InputError(f"tokenizer {name} needs tiktoken, which is not installed; pip install tiktoken") from error
    _require_vocabulary(name)
    try:
        return TiktokenTokenizer(tiktoken.get_encoding(name))
    except (OSError, ValueError) as error:
        raise InputError(f"tokenizer {name} cannot be loaded by this tiktoken ({error})") from error


def _require_vocabulary(name: str) -> None:
    """tiktoken fetches what its folder lacks or has in another state, and waits for that without end."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", "")
    for file, sha256 in _VOCABULARIES[name].items():
        url = f"{_HOST}/{file}"
        path = Path(folder, hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest())
        try:
            whole = folder != "" and hashlib.sha256(path.read_bytes()).hexdigest() == sha256
        except OSError:
            whole = False
        if not whole:
            raise InputError(
                f"the vocabulary of tokenizer {name} is not on this machine, and nothing is fetched for a request; put "
                f"{url} as {path.name} into a folder and name it in TIKTOKEN_CACHE_DIR"
            )
