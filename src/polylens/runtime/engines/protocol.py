"""What the embedder asks of an engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from polylens.models.protocol import Item
from polylens.types import Embedding


class Engine(Protocol):
    """Runs the model of one checkpoint. An item's vectors do not depend on the other items of its batch."""

    def run(self, items: Sequence[Item]) -> Iterator[list[Embedding]]:
        """Runs one batch.

        Args:
            items: Prepared inputs that fit into memory together.

        Yields:
            The embeddings of each item, in order: one per chunk, or a single one for an item without chunks.
        """
        ...
