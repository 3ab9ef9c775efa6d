"""A real server in a process of its own, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import tiny, tiny_clip
from tests.support.serving import Running, serving


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """For clients that look at the environment for a proxy."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny checkpoints of each family, by name."""
    root = tmp_path_factory.mktemp("models")
    return {
        "tiny-v4": tiny.write(root / "tiny-v4"),
        "tiny-clip": tiny_clip.write(root / "tiny-clip"),
        "tiny-v3": tiny_clip.write(root / "tiny-v3", tiny_clip.V3),
    }


@pytest.fixture(scope="session")
def server(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """nano, which is also known as jina-embeddings-v4, and tiny checkpoints of all families in float32."""
    names = ["--model", "nano", *(part for folder in models.values() for part in ("--model", str(folder)))]
    aliases = ["--alias", "jina-embeddings-v4=nano", "--alias", "jina-clip-v2=tiny-clip"]
    options = ["--dtype", "float32", "--fetch", "allow", "--fetch-host", "127.0.0.1"]
    with serving(*names, *aliases, *options, home=tmp_path_factory.mktemp("home")) as running:
        yield running
