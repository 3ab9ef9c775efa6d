"""OpenAI's files and batches: a file of requests to `/v1/embeddings`, answered later.

https://platform.openai.com/docs/api-reference/batch. Embeddings themselves are a part of the published interface.
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field
from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import parse_form
from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, Response

from polylens.errors import FieldError
from polylens.server.batches.record import BatchRecord, FileRecord
from polylens.server.dialects.translating import Route, route
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.dialect import Dialect, Told, told
from polylens.server.http.openapi import Operation
from polylens.server.http.problems import Problem, published
from polylens.server.http.schemas import RawBody, Request
from polylens.server.state import Server

MAX_LISTED = 1_000  # entries of one list; the next are asked for by `after`
JSONL = "application/jsonl"


class BatchRequest(Request):
    """Have a file of requests answered, one line each."""

    input_file_id: str = Field(description="A file that was uploaded with purpose batch.")
    endpoint: Literal["/v1/embeddings"]
    completion_window: Literal["24h"]
    metadata: dict[str, str] | None = Field(default=None, max_length=16)


def _described(required: Mapping[str, str], optional: Mapping[str, str] | None = None) -> dict[str, Any]:
    kinds = {**required, **(optional or {})}
    properties = {name: {"type": kind.split("|")} for name, kind in kinds.items()}
    return {"type": "object", "required": list(required), "properties": properties}


def _listed(schema: dict[str, Any]) -> dict[str, Any]:
    found = _described({"object": "string", "data": "array", "has_more": "boolean"})
    found["properties"]["data"]["items"] = schema
    return found


_FILE = _described(
    {"id": "string", "object": "string", "bytes": "integer", "created_at": "integer", "filename": "string",
     "purpose": "string", "status": "string", "expires_at": "integer"}
)  # fmt: skip
_BATCH = _described(
    {"id": "string", "object": "string", "endpoint": "string", "input_file_id": "string", "status": "string",
     "completion_window": "string", "created_at": "integer", "expires_at": "integer", "request_counts": "object"},
    {"output_file_id": "string|null", "error_file_id": "string|null", "errors": "object|null",
     "metadata": "object|null"},
)  # fmt: skip
_FORM = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {"file": {"type": "string", "format": "binary"}, "purpose": {"const": "batch"}},
}
SCHEMAS: dict[str, Any] = {
    "OpenAIFile": _FILE,
    "OpenAIFileList": _listed(_FILE),
    "OpenAIFileDeleted": _described({"id": "string", "object": "string", "deleted": "boolean"}),
    "OpenAIBatch": _BATCH,
    "OpenAIBatchList": _listed(_BATCH),
}


def tell(problem: Problem) -> Told:
    """An error in OpenAI's shape, beside the published fields."""
    return told(problem, published(problem, as_openai=True))


DIALECT = Dialect(tell=tell)


def routes(server: Server) -> list[Route]:
    """The routes of this dialect, but for that of `content_handler`."""
    openai = OpenAI(server)
    one_file, one_batch = "/v1/files/{file_id}", "/v1/batches/{batch_id}"
    listed: list[tuple[str, str, str, Any]] = [
        ("/v1/files", "List the files of this key, newest first.", "OpenAIFileList", openai.files),
        ("/v1/batches", "List the batches of this key, newest first.", "OpenAIBatchList", openai.batches),
    ]
    plain: list[tuple[str, str, str, str, type[Any] | None, Any]] = [
        ("GET", one_file, "Show one file.", "OpenAIFile", None, openai.file),
        ("DELETE", one_file, "Delete a file.", "OpenAIFileDeleted", None, openai.delete_file),
        ("POST", "/v1/batches", BatchRequest.__doc__ or "", "OpenAIBatch", BatchRequest, openai.create),
        ("GET", one_batch, "Show one batch.", "OpenAIBatch", None, openai.batch),
        ("POST", f"{one_batch}/cancel", "End a batch behind the line it is at.", "OpenAIBatch", None, openai.cancel),
    ]
    upload = Operation(
        method="POST", path="/v1/files", summary="Keep a file of requests.", response="OpenAIFile", form=_FORM
    )
    found: list[Route] = [(upload, _upload(server, openai))]
    for path, summary, response, work in listed:
        operation = Operation(method="GET", path=path, summary=summary, response=response)
        found.append((operation, _with_query(server, work)))
    for method, path, summary, response, schema, work in plain:
        operation = Operation(method=method, path=path, summary=summary, response=response, request=schema)
        found.append(route(server, operation, schema, work, DIALECT))
    return found


def content_handler(server: Server) -> Callable[[HttpRequest], Awaitable[Response]]:
    """The handler of GET /v1/files/ID/content, whose answer is no JSON."""
    openai = OpenAI(server)

    async def content(request: HttpRequest) -> Response:
        async def work(_request: Request, context: RequestContext) -> Result:
            return openai.content(request.path_params["file_id"], context)

        return await server.responder.respond(request, None, work, dialect=DIALECT)

    return content


def _upload(server: Server, openai: OpenAI) -> Callable[[HttpRequest], Awaitable[Response]]:
    async def upload(request: HttpRequest) -> Response:
        async def work(body: RawBody, context: RequestContext) -> Result:
            return await openai.upload(request.headers.get("content-type", ""), body.content, context)

        return await server.responder.respond(request, RawBody, work, dialect=DIALECT)

    return upload


def _with_query(server: Server, work: Any) -> Callable[[HttpRequest], Awaitable[Response]]:
    async def handle(request: HttpRequest) -> Response:
        async def listed(_request: Request, context: RequestContext) -> Result:
            return work(request.query_params, context)

        return await server.responder.respond(request, None, listed, dialect=DIALECT)

    return handle


class OpenAI:
    """The endpoints of this dialect."""

    def __init__(self, server: Server) -> None:
        self._store, self._runner = server.batch_store, server.batches

    async def upload(self, content_type: str, body: bytes, context: RequestContext) -> Result:
        """Answers POST /v1/files."""
        fields, filename, content = await asyncio.to_thread(_form, content_type, body)
        if fields.get("purpose") != "batch":
            raise FieldError("must be 'batch': files here are for batches", "purpose", fields.get("purpose"))
        record = await asyncio.to_thread(self._store.add_file, context.owner, filename, content)
        return Result(record.shown(), 0)

    def content(self, file_id: str, context: RequestContext) -> Result:
        """Answers GET /v1/files/ID/content."""
        record = self._store.file(file_id, context.owner)
        return Result(FileResponse(self._store.path(record.id), media_type=JSONL), 0)

    def files(self, query: Mapping[str, str], context: RequestContext) -> Result:
        """Answers GET /v1/files."""
        records = self._store.files(context.owner)
        wanted = query.get("purpose")
        records = [each for each in records if wanted in (None, each.purpose)]
        return Result(_page(records, query), 0)

    async def file(self, _request: Request, context: RequestContext, file_id: str) -> Result:
        """Answers GET /v1/files/ID."""
        return Result(self._store.file(file_id, context.owner).shown(), 0)

    async def delete_file(self, _request: Request, context: RequestContext, file_id: str) -> Result:
        """Answers DELETE /v1/files/ID."""
        await asyncio.to_thread(self._store.delete_file, file_id, context.owner)
        return Result({"id": file_id, "object": "file", "deleted": True}, 0)

    async def create(self, asked: BatchRequest, context: RequestContext) -> Result:
        """Answers POST /v1/batches."""
        record = await asyncio.to_thread(
            self._store.add_batch, context.owner, asked.endpoint, asked.input_file_id, asked.metadata
        )
        self._runner.wake()
        return Result(record.shown(), 0)

    def batches(self, query: Mapping[str, str], context: RequestContext) -> Result:
        """Answers GET /v1/batches."""
        return Result(_page(self._store.batches(context.owner), query), 0)

    async def batch(self, _request: Request, context: RequestContext, batch_id: str) -> Result:
        """Answers GET /v1/batches/ID."""
        return Result(self._store.batch(batch_id, context.owner).shown(), 0)

    async def cancel(self, _request: Request, context: RequestContext, batch_id: str) -> Result:
        """Answers POST /v1/batches/ID/cancel; one that has ended stays as it is."""
        return Result((await asyncio.to_thread(self._store.cancel, batch_id, context.owner)).shown(), 0)


def _page(records: Sequence[FileRecord | BatchRecord], query: Mapping[str, str]) -> dict[str, Any]:
    """A part of a list, newest first unless `order` is asc: `limit` entries behind the one that `after` names."""
    limit = query.get("limit", str(MAX_LISTED))
    if not re.fullmatch("[0-9]{0,6}[1-9][0-9]{0,6}", limit):
        raise FieldError("must be a whole number above 0", "limit", limit)
    ascends = query.get("order") == "asc"
    if ascends:
        records = records[::-1]
    if after := query.get("after"):  # which may have been deleted since; names sort by age
        records = [each for each in records if (each.id > after if ascends else each.id < after)]
    shown = records[: min(int(limit), MAX_LISTED)]
    return {
        "object": "list",
        "data": [each.shown() for each in shown],
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
        "has_more": len(shown) < len(records),
    }


def _form(content_type: str, body: bytes) -> tuple[dict[str, str], str, bytes]:
    """The fields of a form, and the name and the content of its file.

    Raises:
        FieldError: The body is no form with a file.
    """
    fields: dict[str, str] = {}
    files: list[tuple[str, bytes]] = []

    def on_field(field: Any) -> None:
        fields[(field.field_name or b"").decode("utf-8", "replace")] = (field.value or b"").decode("utf-8", "replace")

    def on_file(file: Any) -> None:
        if file.field_name == b"file":
            file.file_object.seek(0)
            files.append(((file.file_name or b"").decode("utf-8", "replace"), file.file_object.read()))
        file.close()

    try:
        parse_form({"Content-Type": content_type.encode("latin-1")}, io.BytesIO(body), on_field, on_file)
    except (FormParserError, MultipartParseError, ValueError) as error:
        raise FieldError(f"the body must be multipart/form-data with file and purpose: {error}", "file") from error
    if not files:
        raise FieldError("is missing; send multipart/form-data with file and purpose", "file")
    return fields, *files[0]
