"""Environments of processes that train together, as `torchrun` sets them."""

from __future__ import annotations

import os
import socket


def environments(num_ranks: int) -> list[dict[str, str]]:
    """One environment per process: this process's own, with a rank and the address of the first rank.

    A single process gets this process's environment unchanged.
    """
    if num_ranks == 1:
        return [dict(os.environ)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": str(num_ranks), "LOCAL_WORLD_SIZE": str(num_ranks), "OMP_NUM_THREADS": "1"}
    shared = {**os.environ, **world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [{**shared, "RANK": rank, "LOCAL_RANK": rank} for rank in map(str, range(num_ranks))]
