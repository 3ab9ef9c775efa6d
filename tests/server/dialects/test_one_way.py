"""No dialect has a way of its own: keys, limits, accounting and metrics are those of the published interface."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.serving import Running, serving

from polylens.server.http.access import add_key

PART = {"content": {"parts": [{"text": "hello"}]}}


class Ask(NamedTuple):
    """A request of a dialect, and what its errors look like."""

    path: str
    body: dict[str, Any]
    field: str  # that holds the inputs
    many: Any  # inputs of which there are too many
    fields_of_an_error: frozenset[str]
    too_large: int
    route: str | None = None  # as it was declared


ASKS = {
    "cohere": Ask(
        "/v2/embed",
        {"model": "nano", "input_type": "search_query", "texts": ["hello"]},
        "texts",
        ["a"] * 2_049,
        frozenset({"message", "id"}),
        400,
    ),
    "gemini": Ask(
        "/v1beta/models/nano:batchEmbedContents",
        {"requests": [PART]},
        "requests",
        [PART] * 2_049,
        frozenset({"error"}),
        400,
        "/v1beta/models/{model:path}:batchEmbedContents",
    ),
    "voyage": Ask(
        "/v1/multimodalembeddings",
        {"model": "nano", "inputs": [{"content": ["hello"]}]},
        "inputs",
        [{"content": ["a"]}] * 2_049,
        frozenset({"detail"}),
        400,
    ),
    "tei": Ask("/embed", {"inputs": ["hello"]}, "inputs", ["a"] * 2_049, frozenset({"error", "error_type"}), 413),
    "ollama": Ask(
        "/api/embed", {"model": "nano", "input": ["hello"]}, "input", ["a"] * 2_049, frozenset({"error"}), 400
    ),
}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, dict[str, str]]]:
    """A server with a key for each dialect, each of which may send two requests per minute."""
    home: Path = tmp_path_factory.mktemp("limited")
    keys = {name: add_key(home / "keys", name) for name in ASKS}
    with serving("--keys", str(home / "keys"), "--requests-per-minute", "2", home=home) as running:
        yield running, keys


def counted(server: Running) -> float:
    """The inputs that the metrics count for nano."""
    found = re.search(r'polylens_inputs_total{model="nano"} ([\d.]+)', server.http.get("/metrics").text)
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize("name", ASKS)
def test_a_key_has_its_limits_and_is_counted(name: str, limited: tuple[Running, dict[str, str]]) -> None:
    server, keys = limited
    ask = ASKS[name]
    headers = {"Authorization": f"Bearer {keys[name]}"}
    before = counted(server)
    good = server.post(ask.path, ask.body, headers=headers)
    assert counted(server) == before + 1
    assert good.status_code == 200, good.text
    assert re.fullmatch("[0-9a-f]{32}", good.headers["x-request-id"])
    assert good.headers["x-ratelimit-remaining-requests"] == "1"

    large = server.post(ask.path, {**ask.body, ask.field: ask.many}, headers=headers)
    assert large.status_code == ask.too_large and "2049 items" in large.text
    limit = server.post(ask.path, ask.body, headers=headers)
    assert limit.status_code == 429 and int(limit.headers["retry-after"]) > 0
    stranger = server.post(ask.path, ask.body)
    assert stranger.status_code == 401 and "API key" in stranger.text
    for refused in (large, limit, stranger):
        assert set(refused.json()) == ask.fields_of_an_error

    metrics = server.http.get("/metrics").text
    route = ask.route or ask.path
    for status in (200, ask.too_large, 429, 401):
        assert f'polylens_requests_total{{route="{route}",status="{status}"}} 1.0' in metrics
    log = server.log.read_text(encoding="utf-8")
    (line,) = [line for line in log.splitlines() if good.headers["x-request-id"] in line]
    assert f'"owner": "{name}"' in line and '"model": "nano"' in line and "hello" not in line
