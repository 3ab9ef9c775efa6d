"""Tokenizers that show which piece of a text each token stands for: those of served models, and tiktoken's."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Piece = tuple[str, list[int]]
"""A piece of a text and its token ids: one id, or several for a character that takes several tokens."""


class SegmentTokenizer(Protocol):
    """A tokenizer as the segmenter uses it."""

    name: str

    def encode(self, text: str) -> list[Piece]:
        """Splits a text without surrogates into pieces that join to it again."""
        ...


class OffsetTokenizer:
    """A tokenizer of the `tokenizers` library, which gives the offsets of each token in the text.

    Args:
        name: The name of the tokenizer in responses.
        tokenizer: A tokenizer read from a `tokenizer.json`, with padding and truncation off.
    """

    def __init__(self, name: str, tokenizer: Tokenizer) -> None:
        self.name = name
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[Piece]:
        """Splits a text into pieces that join to it again.

        Text that the tokenizer drops belongs to the piece behind it, or to the last one. Tokens of the same character
        overlap and become one piece, together with tokens that come from no character.
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
    """The part of a `tiktoken.Encoding` that is used here."""

    @property
    def name(self) -> str: ...
    def encode_ordinary(self, text: str, /) -> list[int]: ...
    def decode_single_token_bytes(self, token: int, /) -> bytes: ...


class TiktokenTokenizer:
    """A tokenizer of `tiktoken`, whose tokens are bytes. Text that looks like a special token is ordinary text.

    Args:
        encoding: A `tiktoken.Encoding`.
    """

    def __init__(self, encoding: _Encoding) -> None:
        self.name = encoding.name
        self._encoding = encoding

    def encode(self, text: str) -> list[Piece]:
        """Splits a text into pieces that join to it again; a piece ends where a token and a character end together."""
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
