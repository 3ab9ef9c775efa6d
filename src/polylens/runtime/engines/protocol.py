"""What the embedder asks of an engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from polylens.models.protocol import Item
from polylens.types import Embedding, FloatArray


class Engine(Protocol):
    """Runs the model of one checkpoint. An item's result does not depend on the other items of its batch."""

    @property
    def is_preparing(self) -> bool:
        """Whether something is being made in the background; a process that ends waits for it."""
        ...

    def run(self, items: Sequence[Item]) -> Iterator[list[Embedding]]:
        """Runs one batch.

        Args:
            items: Prepared inputs that fit into memory together.

        Yields:
            The embeddings of each item, in order: one per chunk, or a single one for an item without chunks.
        """
        ...

    def score(self, items: Sequence[Item]) -> FloatArray:
        """Scores one batch of pairs, `[N]`, higher is better; see `protocol.Scorer`.

        Args:
            items: Joined pairs that fit into memory together.
        """
        ...

    def prepare(self, items: Sequence[Item]) -> None:
        """Makes what these inputs need beyond the weights, and waits for it; without this it is made on demand.

        Args:
            items: One input of each kind and task that will come.
        """
        ...
