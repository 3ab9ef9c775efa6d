"""The event loop stays free while a body is parsed and a result is written."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.waiting import HANG

from polylens.server.app import create_app
from polylens.server.http import responding, schemas
from polylens.server.settings import Settings

LARGE = {"model": "nano", "input": "a", "padding": "x" * (responding.INLINE_BYTES + 1)}


class Held:
    """A function that waits, the first time it is called with something large, until it is let go."""

    def __init__(self, function: Any, is_large: Any) -> None:
        self.function, self.is_large = function, is_large
        self.entered, self.go_on = threading.Event(), threading.Event()

    def __call__(self, *arguments: Any) -> Any:
        if self.is_large(arguments[0]):
            self.entered.set()
            assert asyncio._get_running_loop() is None, "it runs on the event loop"
            assert self.go_on.wait(HANG), "it was never let go on"
        return self.function(*arguments)


async def health_while_held(held: Held, tmp_path: Path) -> tuple[int, int]:
    """The statuses of /health, asked while the work is held still, and of the request that does the work."""
    app = create_app(Settings(classifiers=tmp_path / "classifiers", threads=1))
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            asked = asyncio.create_task(client.post("/v1/embeddings", json=LARGE, timeout=HANG))
            while not held.entered.is_set():
                await asyncio.sleep(0.01)
                assert not asked.done(), asked.result().text
            health = await asyncio.wait_for(client.get("/health"), HANG)
            held.go_on.set()
            return health.status_code, (await asked).status_code


def test_health_answers_while_a_result_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    held = Held(responding.to_json, lambda value: "data" in value)
    monkeypatch.setattr(responding, "to_json", held)
    assert asyncio.run(health_while_held(held, tmp_path)) == (200, 200)


def test_health_answers_while_a_body_is_parsed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    held = Held(schemas.parse, lambda body: len(body) > responding.INLINE_BYTES)
    monkeypatch.setattr(schemas, "parse", held)
    assert asyncio.run(health_while_held(held, tmp_path)) == (200, 200)
