"""What a process is given that commits to an index for another one, which stays the writer.

The store that gives the mandate (`Store.mandate`) keeps its locks; the one that acts for it (`Store.acting`) commits as
any other writer does, so what two of them bring at the same time counts once.
"""

from __future__ import annotations

from dataclasses import dataclass

from polylens.index.table.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Mandate:
    """Enough to commit to the index of another process's store, for as long as that one is open."""

    place: str
    """`s3://BUCKET/PREFIX`, or the absolute path of a folder."""
    manifest: Manifest
    name: str
    """The manifest's name: that of a rebuild is another one until it is complete."""
    is_locked: bool
    """Whether the process that gave it has the lock of the index, so that nobody else asks for it."""
    seen: int
    """The version of the table that it saw last."""

    @property
    def lock(self) -> HeldElsewhere | None:
        """What stands for the lock in the process that acts."""
        return HeldElsewhere() if self.is_locked else None


class HeldElsewhere:
    """A lock that the giver of a mandate has, and gives back by itself."""

    def require(self) -> None:
        """Nothing: the giver makes sure before each commit."""

    def close(self) -> None:
        """Nothing: it is not this process's to give back."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What the giver of a mandate is told of a commit."""

    version: int
    """The version of the table that it made."""
    has_met: bool
    """Whether others had committed since the last commit."""
