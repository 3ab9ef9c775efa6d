"""Two servers for the clients of other services: the shared one, which asks for no key, and one that does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support import tiny_m0
from tests.support.serving import Running, serving

from polylens.server.http.access import add_key


class Guarded(NamedTuple):
    """A server with a reranker that asks for a key, and the key."""

    server: Running
    key: str


@pytest.fixture(autouse=True)
def around(no_proxy: None) -> None:
    """What every client needs."""


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """nano and a tiny jina-reranker-m0 in float32, behind a key."""
    home: Path = tmp_path_factory.mktemp("guarded")
    key = add_key(home / "keys", "vendor")
    ranker = tiny_m0.write(home / "tiny-m0")
    names = ["--model", "nano", "--model", str(ranker)]
    options = ["--dtype", "float32", "--keys", str(home / "keys")]
    with serving(*names, *options, home=home) as running:
        running.http.headers["Authorization"] = f"Bearer {key}"
        yield Guarded(running, key)
