"""A cache of finished vectors at full length, from which every size and type is made."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from polylens.types import Embedding

OVERHEAD = 512  # bytes per entry besides its numbers


@dataclass(frozen=True, slots=True)
class Entry:
    """The cached result of one input."""

    embedding: Embedding
    tokens: int
    """The number of tokens that `usage` counts for it."""

    @property
    def nbytes(self) -> int:
        """The bytes of memory that the entry takes."""
        return self.embedding.dense.nbytes + self.embedding.multivector.nbytes + OVERHEAD


def cache_key(content: bytes, *parts: object) -> bytes:
    """A key that is equal for the same input under the same conditions only.

    Args:
        content: The text or the image file.
        parts: Everything else that matters: model, owner, task.

    Example:
        >>> cache_key(b"a", "m", 1) == cache_key(b"a", "m", 1), cache_key(b"a", "m1") == cache_key(b"a", "m", 1)
        (True, False)
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=32)
    digest.update(b"\x00")
    digest.update(content)
    return digest.digest()


class Cache:
    """The most recently used entries, up to a number of bytes.

    Args:
        max_bytes: The limit for all entries together; 0 keeps none.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        self.hits = 0
        self.misses = 0
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()

    def get(self, key: bytes) -> Entry | None:
        """The entry of a key, which counts as used from now on; None if there is none."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return entry

    def put(self, key: bytes, entry: Entry) -> None:
        """Stores an entry; the least recently used ones are dropped."""
        before = self._entries.pop(key, None)
        self.nbytes += entry.nbytes - (before.nbytes if before is not None else 0)
        self._entries[key] = entry
        while self.nbytes > self.max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.nbytes -= oldest.nbytes
