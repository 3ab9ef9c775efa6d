"""Rules for every test: none uses the network, and one that needs what this machine lacks is skipped with a reason.

Shapes are checked as well, by the option `--jaxtyping-packages` in pyproject.toml.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support import buckets, hiding

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores; tiny models are faster without threads, too
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # in time: nothing has imported torch yet

os.environ.setdefault("POLYLENS_ENGINE", "torch")  # the reference; a test of another engine names it
os.environ.setdefault("POLYLENS_OCR", "off")  # a test of what reads pictures says so

collect_ignore = ["toy_family"]  # its place is in a copy of the package; see tests/models/test_family.py

SHELVES = iter(range(1_000))
SLOWEST_FILES = (
    "tests/server/search_page/test_page.py",
    "tests/test_demo.py",
    "tests/server/test_http.py",
    "tests/test_bare_machine.py",
    "tests/train/test_clip_stages.py",
    "tests/server/search_page/test_page_places.py",
    "tests/runtime/test_openvino_decoders.py",
    "tests/documents/test_reader_processes.py",
    "tests/integrations/ray/test_bulk.py",
    "tests/library/test_several_writers.py",
    "tests/library/test_rebuild.py",
    "tests/server/search_page/test_routes.py",
    "tests/library/test_object_storage.py",
    "tests/test_cli.py",
    "tests/library/test_watch.py",
    "tests/test_readme.py",
    "tests/library/test_library.py",
    "tests/lab/match/test_match.py",
    "tests/integrations/mteb/test_folders.py",
    "tests/server/mcp/test_mcp.py",
    "tests/server/search_page/test_reranking.py",
    "tests/documents/test_bombs.py",
    "tests/lab/nano/test_loop.py",
    "tests/lab/benchmarks/test_synthetic.py",
    "tests/train/test_finetune.py",
    "tests/server/search_page/test_keys.py",
    "tests/models/test_family.py",
    "tests/train/test_phases.py",
    "tests/train/test_distributed.py",
)
"""Workers begin with these, so that none of them is left with one when the others have nothing to do any more."""


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every address outside this machine, by a failure that no `except Exception` can swallow."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _require_local(address if self.family == socket.AF_UNIX else address[0], self.family)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _require_local(address if self.family == socket.AF_UNIX else address[0], self.family)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        _require_local(host, socket.AF_INET)
        return getaddrinfo(host, *args, **options)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The address of a local S3 server, where each test has a bucket of its own."""
    with buckets.running() as endpoint:
        yield endpoint


@pytest.fixture
def shelf(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of an index in a bucket that no other test uses."""
    monkeypatch.setenv("POLYLENS_CACHE", str(tmp_path_factory.mktemp("cache")))  # for copies of indexes
    for name, value in buckets.environment(endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("polylens.index.table.store.READER_GRACE", 0.05)
    monkeypatch.setattr("polylens.library.saving.COMMIT_PAGES", 8)
    bucket = f"shelf-{next(SHELVES)}"
    buckets.make_bucket(endpoint, bucket)
    return f"s3://{bucket}/some/papers"


def _require_local(host: Any, family: int) -> None:
    if family not in (socket.AF_INET, socket.AF_INET6):
        return
    name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    try:
        local = ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        local = name == "localhost"
    if not local:
        pytest.fail(f"a test tried to reach {name}; tests use no network")


def pytest_configure() -> None:
    hiding.hide()
    # A shell makes what it starts in the background ignore Ctrl-C, and children inherit that; some tests send it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[hiding.COLLECTED] = [item.nodeid for item in items]
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = {file: number for number, file in enumerate(SLOWEST_FILES)}
        items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))
    if not os.environ.get("POLYLENS_WEIGHTS"):
        _skip(items, "weights", "set POLYLENS_WEIGHTS to a folder that holds published repositories")
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        if not torch.cuda.is_available():
            _skip(items, "gpu", "no CUDA device here")


def _skip(items: list[pytest.Item], marker: str, reason: str) -> None:
    for item in items:
        if item.get_closest_marker(marker):
            item.add_marker(pytest.mark.skip(reason=reason))
