"""Batches: files of requests that are answered one after another, whenever the server has time for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from polylens.errors import OverloadedError, PolylensError, TooLargeError
from polylens.server.batches.record import BatchRecord, Status
from polylens.server.batches.store import BatchStore
from polylens.server.concurrency import together
from polylens.server.http import schemas
from polylens.server.http.context import MemoryBudget, RequestContext, Result
from polylens.server.http.metrics import Metrics
from polylens.server.http.problems import Problem, published
from polylens.server.http.wire import to_json

MAX_LINES = 50_000  # of one batch, as at the published service
AT_ONCE = 8  # lines that wait for the model together: enough to fill a batch, few enough to leave others their turn
PAUSE_SECONDS = 2.0  # the longest wait before a line that was refused for the load is tried again
ENDPOINT = "/v1/embeddings"

log = logging.getLogger("polylens.server")

Answer = Callable[[schemas.EmbeddingsRequest, RequestContext], Awaitable[Result]]


class LineError(ValueError):
    """A line is no request; the code is OpenAI's, and the name that of the line, where it has one."""

    def __init__(self, code: str, message: str, custom_id: str | None = None) -> None:
        super().__init__(message)
        self.code, self.custom_id = code, custom_id


class BatchRunner:
    """Answers the batches of a store, one at a time, in the order in which they came.

    Each line is answered by itself: one that cannot be, has an error in its place. Answers are kept line by line, so
    a server that ends goes on behind the last one when it starts again.

    Args:
        store: The files and batches.
        answer: What answers a request.
        memory: The bytes that requests may hold.
        metrics: Where inputs and tokens are counted.
    """

    def __init__(self, store: BatchStore, answer: Answer, memory: MemoryBudget, metrics: Metrics) -> None:
        self._store, self._answer, self._memory, self._metrics = store, answer, memory, metrics
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Goes on with what an earlier server left."""
        try:
            await asyncio.to_thread(self._store.open_if_there)
        except PolylensError as error:  # said to whoever uploads a file; the server itself can do without
            log.warning("%s", error)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stops behind the last line that was answered."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._store.close()

    def wake(self) -> None:
        """There is something to do."""
        self._woken.set()

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            for record in self._store.unfinished():
                try:
                    await self._batch(record)
                except PolylensError as error:
                    await self._fail(record, "storage" if isinstance(error, OSError) else "too_large", str(error))
                except Exception:  # a defect of ours must not end the batches of others
                    log.exception("%s failed", record.id)
                    await self._fail(record, "server_error", "An unexpected error occurred.")
            await self._woken.wait()

    async def _fail(self, record: BatchRecord, code: str, message: str) -> None:
        log.warning("%s failed: %s", record.id, message)
        told = {"code": code, "message": message, "param": None, "line": None}
        with contextlib.suppress(PolylensError):  # where nothing can be written, the next start tries again
            await asyncio.to_thread(self._store.finish, record.id, status="failed", errors=[told])

    async def _batch(self, record: BatchRecord) -> None:
        source = self._store.path(record.input_file_id)
        total = await asyncio.to_thread(_count, source)
        if not 1 <= total <= MAX_LINES:
            raise TooLargeError(f"a batch must have between 1 and {MAX_LINES:,} requests, one per line, got {total:,}")
        done = await asyncio.to_thread(self._answered, record.id)
        counts = {True: sum(done.values()), False: len(done) - sum(done.values())}
        self._store.change(record.id, status="in_progress", total=total, completed=counts[True], failed=counts[False])
        lines = _lines(source)
        while group := await asyncio.to_thread(lambda: list(islice(lines, AT_ONCE))):
            if (ended := self._ended(record)) is not None:
                await asyncio.to_thread(self._store.finish, record.id, status=ended)
                return
            waiting = [line for line in group if line[0] not in done]
            answers = await together([self._line(record, *line) for line in waiting])
            for good, _ in answers:
                counts[good] += 1
            if answers:
                await asyncio.to_thread(self._gather, record.id, answers)
                self._store.change(record.id, completed=counts[True], failed=counts[False])
        await asyncio.to_thread(self._store.finish, record.id, status="completed")

    def _ended(self, record: BatchRecord) -> Status | None:
        """Why no more lines of a batch are to be answered; None while they are."""
        if self._store.batch(record.id, record.owner).status == "cancelling":
            return "cancelled"
        return "expired" if time.time() > record.expires_at else None

    async def _line(self, record: BatchRecord, number: int, line: bytes, repeated: bool) -> tuple[bool, bytes]:
        """The answer to a line, and whether it is a good one."""
        name = f"batch_req_{record.id.removeprefix('batch_')}_{number}"
        try:
            custom_id, body = _request(line)
            if repeated:
                raise LineError("duplicate_custom_id", "has the custom_id of an earlier line", custom_id)
        except LineError as error:
            told = {"code": error.code, "message": f"line {number} {error}"}
            answer: dict[str, Any] = {"id": name, "custom_id": error.custom_id, "response": None, "error": told}
            return False, to_json(answer) + b"\n"
        request_id = secrets.token_hex(16)
        status, value = await self._answered_by_model(record, request_id, body, len(line))
        response = {"status_code": status, "request_id": request_id, "body": value}
        answer = {"id": name, "custom_id": custom_id, "response": response, "error": None}
        return status == 200, await asyncio.to_thread(to_json, answer) + b"\n"

    async def _answered_by_model(self, record: BatchRecord, request_id: str, body: Any, nbytes: int) -> tuple[int, Any]:
        """The status and the body that the endpoint answers; what is refused for the load alone is tried again."""
        while True:
            try:
                with self._memory.request(record.owner) as context:
                    context.hold(nbytes)
                    result = await self._answer(schemas.checked(body, schemas.EmbeddingsRequest), context)
                    self._metrics.count_usage(result.model, result.inputs, result.tokens)
                    return 200, result.value
            except PolylensError as error:
                told = error
            except Exception:
                log.exception("request %s failed", request_id)
                told = PolylensError("An unexpected error occurred.")
            if not isinstance(told, OverloadedError) or self._ended(record) is not None:
                problem = Problem.of(told, request_id)
                return problem.status, published(problem, as_openai=True)
            await asyncio.sleep(min(told.retry_after, PAUSE_SECONDS))

    def _gather(self, batch_id: str, answers: list[tuple[bool, bytes]]) -> None:
        """Adds answers to the files of a batch."""
        for kind, wanted in (("output", True), ("errors", False)):
            lines = [line for good, line in answers if good is wanted]
            if lines:
                self._store.gather(batch_id, kind, lines)

    def _answered(self, batch_id: str) -> dict[int, bool]:
        """The lines of a batch that have an answer, and whether it is a good one; half a last line is cut off."""
        found = {}
        for kind, good in (("output", True), ("errors", False)):
            path = self._store.answers(batch_id, kind)
            if not path.exists():
                continue
            whole = 0
            with path.open("rb+") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    whole += len(line)
                    found[int(orjson.loads(line)["id"].rpartition("_")[2])] = good
                file.truncate(whole)
        return found


def _request(line: bytes) -> tuple[str, dict[str, Any]]:
    """The custom_id and the body of a line.

    Raises:
        LineError: It is no request of this endpoint.
    """
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LineError("invalid_json_line", f"is not valid JSON: {error}") from error
    custom_id = value.get("custom_id") if isinstance(value, dict) else None
    if not isinstance(custom_id, str):
        raise LineError("missing_required_parameter", "must be an object with custom_id, method, url and body")
    if value.get("method") != "POST" or value.get("url") != ENDPOINT:
        got = f"{value.get('method')!r:.20} {value.get('url')!r:.60}"
        raise LineError("mismatched_endpoint", f"must be a POST to {ENDPOINT}, as its batch is, got {got}", custom_id)
    if not isinstance(value.get("body"), dict):
        raise LineError("missing_required_parameter", "must have a body, which is an object", custom_id)
    return custom_id, value["body"]


def _lines(source: Path) -> Iterator[tuple[int, bytes, bool]]:
    """The lines that are not blank, their numbers from 1, and whether an earlier line has the same custom_id."""
    seen: set[str] = set()
    with source.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                custom_id, _ = _request(line)
            except LineError:
                yield number, line, False
                continue
            yield number, line, custom_id in seen
            seen.add(custom_id)


def _count(source: Path) -> int:
    with source.open("rb") as file:
        return sum(1 for line in file if line.strip())
