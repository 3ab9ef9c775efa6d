"""Rows that stay in Ray's object store, and the actor that commits them.

Embedded pages are not sent to the driver. It keeps references to the blocks that they lie in, and hands those of
finished files to one actor, which fetches the rows and commits them under the driver's mandate (`index.table.mandate`).
Ray restarts the actor if it dies and repeats the commit that it was at; a commit replaces all pages of its files, so
one that had gone through already changes nothing.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from polylens.errors import InputError, PolylensError
from polylens.library.saving import Rows

if TYPE_CHECKING:
    from polylens.index.table.mandate import Committed, Mandate
    from polylens.index.table.schema import FilePages


@dataclass(frozen=True, slots=True)
class RowApart:
    """Where a page's row lies."""

    file: int
    """The number of its file in this run."""
    page: int
    block: Any
    """Ray's reference to a block with the columns `file`, `page` and `row`."""


@dataclass(frozen=True, slots=True)
class TableApart:
    """The rows of one file, as the driver has them."""

    rows: tuple[RowApart, ...]
    only_some: bool
    """Whether the other pages of the file stay as the index has them."""

    @property
    def num_rows(self) -> int:
        return len(self.rows)


class RowsApart:
    """The pages of one file that lie in Ray's object store, until all of them have come; see `reading.PageRows`."""

    def __init__(self, *, only_some: bool) -> None:
        self._rows: list[RowApart] = []
        self._only_some = only_some

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, row: RowApart) -> None:
        self._rows.append(row)

    def table(self) -> TableApart:
        return TableApart(tuple(self._rows), self._only_some)

    def clear(self) -> None:
        self._rows = []


class Saving:
    """Commits files; one actor.

    Args:
        mandate: That of the index.
    """

    def __init__(self, mandate: Mandate) -> None:
        from polylens.index.table.store import Store

        self._store = Store.acting(mandate)

    def commit(self, files: Sequence[FilePages], removed: Sequence[str]) -> Committed:
        """Fetch the rows of files and commit them; as `Store.commit`."""
        kept = [Rows(self._store.dim, self._store.token_dim) for _ in files]
        try:
            for at, row in _fetched([file.rows for file in files]):
                kept[at].append(row)
            return self._store.commit([self._whole(file, kept[at]) for at, file in enumerate(files)], removed=removed)
        finally:
            for rows in kept:
                rows.clear()

    def _whole(self, file: FilePages, rows: Rows) -> FilePages:
        from polylens.library.picture_pages import merged

        table = rows.table()
        if file.rows.only_some:
            table = merged(self._store.snapshot().pages_of(file.file), table)
        return replace(file, rows=table)

    def close(self) -> None:
        """Write no more."""
        self._store.close()


def _fetched(tables: Sequence[TableApart]) -> Iterator[tuple[int, Any]]:
    """The rows of tables, each with the position of its table, block by block.

    Raises:
        PolylensError: A block does not have a row that it should have.
    """
    import ray

    wanted = {(row.file, row.page): at for at, table in enumerate(tables) for row in table.rows}
    for block in dict.fromkeys(row.block for table in tables for row in table.rows):
        columns = ray.get(block)
        files, pages = (columns.column(name).to_pylist() for name in ("file", "page"))
        for number, key in enumerate(zip(files, pages, strict=True)):
            if (at := wanted.pop(key, None)) is not None:
                yield at, pickle.loads(columns.column("row")[number].as_py())
    if wanted:
        raise PolylensError(f"{len(wanted)} embedded pages are not where Ray keeps them; call the same command again")


def outline(columns: Any) -> list[bytes]:
    """What the driver is to know of a block: all but the rows of its pages."""
    steps: list[bytes] = columns.column("step").to_pylist()
    return steps


def start_saving(mandate: Mandate, environment: dict[str, str]) -> Any:
    """The handle of a new actor that commits.

    Args:
        mandate: That of the index.
        environment: Variables that it needs in order to reach the index.

    Raises:
        InputError: The index is in a folder that no node of the cluster sees.
    """
    import ray
    from ray.util import client
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    options: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    if "://" in mandate.place:
        options["runtime_env"] = {"env_vars": environment}
    elif client.ray.is_connected():  # this machine is no node, so no actor of the cluster sees its folders
        raise InputError(
            f"an index in a folder ({mandate.place}) needs this machine to be a node of the cluster: name the cluster "
            "by its own address instead of ray://, or keep the index in a bucket with --index s3://BUCKET/PREFIX"
        )
    else:  # the folder, and the locks of its writers, are of this machine
        here = ray.get_runtime_context().get_node_id()
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(here, soft=False)
    return ray.remote(Saving).options(**options).remote(mandate)
