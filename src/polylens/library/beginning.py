"""An index opened to be written to; one that is not there yet, or is to be made anew, is begun."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING

from polylens.errors import InputError, LibraryBusyError
from polylens.library.page_embedding import PageEmbedder

if TYPE_CHECKING:
    from polylens.index.storage.base import Storage
    from polylens.index.table.store import Store

BEGIN_SECONDS = 10.0  # to wait while another process begins the same index
_LOOK_SECONDS = 0.2


def open_to_write(storage: Storage, embedder: PageEmbedder, *, rebuild: bool = False, pool: int | None = None) -> Store:
    """Open an index for one of its writers.

    Args:
        storage: Where it lies, or will lie.
        embedder: The model that it is made with.
        rebuild: Whether it is made anew, beside the existing one.
        pool: How many times fewer vectors per page it keeps than the model gives; None keeps to its own setting.

    Raises:
        InputError: It has another setting, or the model's vectors cannot be pooled.
        LibraryBusyError: Another process makes it anew.
        ModelMismatchError: It was made with another model, and `rebuild` is False.
    """
    from polylens.index.table.manifest import read_manifest
    from polylens.index.table.store import Store

    exists = Store.exists(storage)
    if not exists or rebuild:
        return _begun(storage, embedder, exists, 1 if pool is None else pool)
    known = read_manifest(storage).pool
    if pool not in (None, known):
        kept = "every vector" if known == 1 else f"one of every {known} vectors"
        raise InputError(
            f"the index keeps {kept} of a page, got pool {pool}; rebuild it with `polylens index --rebuild --pool "
            f"{pool}`"
        )
    return Store.open(storage, model_id=embedder.model_id, write=True)


def _begun(storage: Storage, embedder: PageEmbedder, exists: bool, pool: int) -> Store:
    """An index that is begun. Where another process begins the same one at the same time, that one."""
    from polylens.index.ranking.pooling import pool_tokens
    from polylens.index.table.store import Store

    [one] = embedder.embed(["?"], task="retrieval", prompt_name="passage")  # shows the widths of its vectors
    pool_tokens(one.multivector, pool)  # refused now if it cannot be done, not once an index was begun
    make = Store.stage if exists else partial(Store.create, replace=False)
    ends = time.monotonic() + BEGIN_SECONDS
    while exists or not Store.exists(storage):
        try:
            return make(storage, embedder.model_id, len(one.dense), one.multivector.shape[1], pool=pool)
        except LibraryBusyError:
            if exists or time.monotonic() > ends:
                raise
        time.sleep(random.uniform(0.0, _LOOK_SECONDS))
    return open_to_write(storage, embedder, pool=pool)
