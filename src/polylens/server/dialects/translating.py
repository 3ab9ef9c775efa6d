"""What every dialect needs: its routes, and errors that name fields as its clients do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from polylens.errors import FieldError
from polylens.server.endpoints.embeddings import Answer
from polylens.server.http import schemas
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.dialect import Dialect
from polylens.server.http.openapi import Operation
from polylens.server.http.schemas import EmbeddingsRequest, RerankRequest, checked
from polylens.server.http.wire import written
from polylens.server.state import Server

R = TypeVar("R", bound=schemas.Request)
Handler = Callable[[Request], Awaitable[Response]]
Route = tuple[Operation, Handler]


def route(
    server: Server,
    operation: Operation,
    schema: type[R] | None,
    work: Callable[..., Awaitable[Result]],
    dialect: Dialect,
) -> Route:
    """An operation with its handler.

    Args:
        server: The server.
        operation: What the document says of it.
        schema: The schema of its body; None for a request without one.
        work: Turns the request and its context into a result; parameters of the path are given by name.
        dialect: In which errors are told.
    """

    async def handle(request: Request) -> Response:
        bound: Callable[[R, RequestContext], Awaitable[Result]] = partial(work, **request.path_params)
        return await server.responder.respond(request, schema, bound, dialect=dialect)

    return operation, handle


@contextmanager
def naming(names: Mapping[str, str] | Callable[[str], str]) -> Iterator[None]:
    """Errors in the block name fields as the dialect does.

    Args:
        names: Field of the published interface -> field of the dialect; or a function from path to path.

    Raises:
        FieldError: One was raised in the block.

    Example:
        >>> with naming({"input": "texts"}):
        ...     raise FieldError("is empty", "input.3")
        Traceback (most recent call last):
        polylens.errors.FieldError: texts.3: is empty
    """
    try:
        yield
    except FieldError as error:
        first, dot, rest = error.field.partition(".")
        field = names(error.field) if callable(names) else names.get(first, first) + dot + rest
        raise type(error)(error.message, field, error.value, error.kind) from error


def to_embed(fields: Mapping[str, Any]) -> EmbeddingsRequest:
    """A request to `/v1/embeddings`, without the fields that are None."""
    return checked({key: value for key, value in fields.items() if value is not None}, EmbeddingsRequest)


def to_rank(fields: Mapping[str, Any]) -> RerankRequest:
    """A request to `/v1/rerank`, without the fields that are None."""
    return checked({key: value for key, value in fields.items() if value is not None}, RerankRequest)


async def float_lists(server: Server, answer: Answer) -> list[Any]:
    """The vectors of an answer as lists of numbers; made in a thread, for there may be thousands."""
    return await server.embedding.in_thread(
        lambda: [written(vector, "float", as_base64=False) for vector in answer.vectors()]
    )


def texts(values: list[str]) -> list[dict[str, str]]:
    """Texts as items, of which none is taken for anything else."""
    return [{"text": value} for value in values]
