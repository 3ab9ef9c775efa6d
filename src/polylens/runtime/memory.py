"""Memory that a process keeps though nobody uses it: compiled products, and holes in the heap."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable

CACHES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}
"""How many compiled products oneDNN and PyTorch's binding of it keep, instead of 1,024 each, by the variable that each
reads. Packed batches rarely repeat a shape, so hardly any is used again (docs/log.md has the figures)."""


def bound_compiled_products() -> None:
    """Lets the libraries keep few compiled products, unless the environment says how many.

    They read the numbers when they compile the first, so call this before a model computes anything.
    """
    for name, capacity in CACHES.items():
        os.environ.setdefault(name, capacity)


def trim_heap() -> None:
    """Returns what is free in the heap to the system, where the C library is glibc; elsewhere does nothing.

    glibc keeps what a batch leaves, and a batch of another shape does not fit into its holes: after pages of many sizes
    half of the process was such holes. It takes some milliseconds per 100 MB, so call it between batches, not in them.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return None
