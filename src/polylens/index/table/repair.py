"""What a writer that died left beside an index, and a lost manifest written anew."""

from __future__ import annotations

import contextlib
from typing import Any

from polylens.errors import PolylensError
from polylens.index.storage.base import Storage
from polylens.index.table.manifest import (
    MANIFEST,
    STAGED,
    Manifest,
    manifest_or_none,
    read_staged,
    write_manifest,
)
from polylens.index.table.schema import POOL_KEY


def orphan_tables(storage: Storage, keep: str = "") -> list[str]:
    """Tables that belong neither to the index nor to a rebuild under way.

    Args:
        storage: Where the index lies.
        keep: One more table that belongs to it.
    """
    manifests = (manifest_or_none(storage, MANIFEST), read_staged(storage))
    named = {keep, *(manifest.table for manifest in manifests if manifest)}
    return [table for table in storage.tables() if table not in named]


def orphan_files(storage: Storage) -> list[str]:
    """Manifests that were never put into place, and that of a rebuild that is complete."""
    staged = [STAGED] if storage.has(STAGED) and read_staged(storage) is None else []
    return [*storage.partial_files(), *staged]


def drop_orphans(storage: Storage, database: Any, *, keep: str, is_alone: bool) -> None:
    """Drop tables that no manifest names, of an index that was replaced or never came to be, and such files.

    Args:
        storage: Where the index lies; this process has its lock.
        database: LanceDB's connection to it.
        keep: One more table that belongs to it.
        is_alone: Whether no other writer is there, who may have begun a small file just now.
    """
    for table in orphan_tables(storage, keep):
        database.drop_table(table)
    for file in orphan_files(storage):
        if is_alone or file == STAGED:
            storage.remove(file)


def mend_manifest(storage: Storage) -> Manifest:
    """Write the manifest anew from the table, where there is exactly one.

    Raises:
        PolylensError: There are none or several, or it cannot be opened.
        LibraryBusyError: Another process is writing to it.
    """
    beyond = f"{storage} cannot be repaired: make the index anew with `polylens index --rebuild`"
    tables = orphan_tables(storage)
    if len(tables) != 1:
        raise PolylensError(f"{beyond} ({len(tables)} tables lie there and no manifest says which is the index)")
    with contextlib.closing(storage.lock()):
        try:
            table = storage.connect().open_table(tables[0])
            [model_id] = table.search().select(["model_id"]).limit(1).to_arrow().column("model_id").to_pylist()
            dim = table.schema.field("dense").type.list_size
            token_dim = table.schema.field("multivector").type.value_type.list_size
            pool = int((table.schema.metadata or {}).get(POOL_KEY.encode(), 1))  # earlier versions did not write it
        except (ValueError, KeyError, OSError, RuntimeError, AttributeError) as error:
            raise PolylensError(f"{beyond} ({error})") from error
        manifest = Manifest.new(tables[0], model_id, dim, token_dim, pool)
        with storage.writing():
            write_manifest(storage, manifest)
    return manifest
