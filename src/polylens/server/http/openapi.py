"""The document at /openapi.json, written from the list of operations and the schemas of their bodies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from polylens import __version__
from polylens.server.http import schemas

ERRORS = {
    400: "The model is not served, a text is too long, or the labels do not fit.",
    401: "The API key is missing or unknown.",
    404: "Not found, or not visible to this key.",
    409: "The classifier is being changed, or belongs to another model.",
    413: "Request too large.",
    422: "A field is invalid; `errors` names it.",
    429: "Rate limit exceeded; Retry-After says when to try again.",
    500: "Internal error.",
    503: "Busy, starting up or shutting down; Retry-After says when to try again.",
    504: "Request timed out.",
    507: "The server has no room to store a classifier.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One method of one path, as the document describes it."""

    method: str
    path: str  # with its parameters, as the router writes them: /v1/models/{model_id:path}
    summary: str
    response: str  # schema of a good response: a key of RESPONSES
    request: type[schemas.Request] | None = None  # schema of the body; None for an operation without one
    form: Mapping[str, Any] | None = None  # schema of the fields of a form, which is no JSON
    error: str = "Error"  # schema of a response that is no success: a key of RESPONSES
    errors: Mapping[int, str] = field(default_factory=ERRORS.copy)  # status -> when it is sent


_VALUE = {
    "description": "Numbers, base64 of little-endian float32, or bytes with one bit per number. With several types, an "
    "object with one field per type.",
    "anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}, {"type": "object"}],
}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


_INT, _STR, _NUMBER = {"type": "integer"}, {"type": "string"}, {"type": "number"}
_USAGE = _object({"total_tokens": _INT}, {"prompt_tokens": _INT, "image_tokens": _INT})
_ROW = {
    "anyOf": [
        _object({"object": {"const": "embedding"}, "index": _INT, "embedding": _VALUE}),
        _object(
            {"object": {"const": "embeddings"}, "index": _INT, "embeddings": _list(_VALUE)},
            {"tokenized_input": _list(_STR)},
        ),
    ]
}
_LABELLED = _list(_object({"label": _STR, "score": _NUMBER}))
_PREDICTION = _object(
    {
        "object": {"const": "classification"},
        "index": _INT,
        "prediction": {"anyOf": [_STR, {"type": "object", "additionalProperties": _STR}]},
        "score": {"anyOf": [_NUMBER, {"type": "object", "additionalProperties": _NUMBER}]},
        "predictions": {"anyOf": [_LABELLED, {"type": "object", "additionalProperties": _LABELLED}]},
    }
)
_MODEL = _object(
    {
        "id": _STR,
        "object": {"const": "model"},
        "name": _STR,
        "created": _INT,
        "hugging_face_id": _STR,
        "input_modalities": _list(_STR),
        "output_modalities": _list(_STR),
        "context_length": _INT,
        "max_output_length": _INT,
        "description": _STR,
    }
)
_RERANKING = _object(
    {
        "model": _STR,
        "object": {"const": "list"},
        "usage": _USAGE,
        "results": _list(_object({"index": _INT, "relevance_score": _NUMBER}, {"document": {"type": "object"}})),
    }
)
_EMBEDDING = _object({"model": _STR, "object": {"const": "list"}, "usage": _USAGE, "data": _list(_ROW)})

_NESTED = {
    **_object({"message": _STR, "code": _STR, "request_id": _STR}),
    "description": "The whole error, under status 400 and 500.",
}

RESPONSES: dict[str, dict[str, Any]] = {
    "EmbeddingResponse": _EMBEDDING,
    "RerankingResponse": _RERANKING,
    "ClassificationResponse": _object({"usage": _USAGE, "data": _list(_PREDICTION)}),
    "TrainingResponse": _object({"classifier_id": _STR, "num_samples": _INT}, {"usage": _USAGE}),
    "SegmentResponse": _object(
        {"num_tokens": _INT, "tokenizer": _STR, "usage": _object({"tokens": _INT})},
        {
            "num_chunks": _INT,
            "chunk_positions": _list(_list(_INT)),
            "tokens": {"type": "array"},
            "chunks": _list(_STR),
        },
    ),
    "ReadResponse": _object(
        {
            "code": {"const": 200},
            "status": {"const": 20000},
            "data": _object(
                {"title": _STR, "description": _STR, "url": _STR, "usage": _object({"tokens": _INT})},
                {
                    "content": _STR,
                    "text": _STR,
                    "html": _STR,
                    "publishedTime": _STR,
                    "links": {"type": "object", "additionalProperties": _STR},
                    "images": {"type": "object", "additionalProperties": _STR},
                    "pages": _list(_object({"number": _INT, "content": _STR})),
                    "warning": _STR,
                },
            ),
        }
    ),
    "InvocationResponse": {"anyOf": [_EMBEDDING, _object({"data": _list(_RERANKING)})]},
    "ModelInfo": _MODEL,
    "ModelList": _object({"object": {"const": "list"}, "data": _list(_MODEL)}),
    "ClassifierList": _list(_object({"classifier_id": _STR, "model": _STR, "labels": _list(_STR), "access": _STR})),
    "Deleted": _object({"classifier_id": _STR, "deleted": {"const": True}}),
    "Status": _object({"status": _STR}),
    "Readiness": _object({"status": _STR, "models": {"type": "object", "additionalProperties": _STR}}),
    "Error": _object(
        {"detail": {"anyOf": [_STR, _NESTED]}},
        {
            "code": _STR,
            "request_id": _STR,
            "errors": _list(_object({"field": _STR, "message": _STR, "type": _STR, "input": {}})),
            "error": {"type": "object", "description": "The same in OpenAI's form, for its clients."},
        },
    ),
}


def document(operations: Sequence[Operation], more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The OpenAPI document of a server.

    Args:
        operations: What the server can do.
        more: Schemas of responses besides `RESPONSES`, by name.
    """
    paths: dict[str, dict[str, Any]] = {}
    components = {**RESPONSES, **(more or {})}
    for each in operations:
        paths.setdefault(_plain(each.path), {})[each.method.lower()] = _operation(each)
        if each.request is not None:
            described = each.request.model_json_schema(ref_template="#/components/schemas/{model}")
            components.update(described.pop("$defs", {}))
            components[each.request.__name__] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "polylens",
            "version": __version__,
            "description": "Universal embeddings one can run oneself, behind the interface of the published models.",
        },
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}],
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": f"{operation.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', _plain(operation.path)).strip('_')}",
        "responses": _responses(operation),
    }
    names = re.findall(r"{(\w+)", operation.path)
    if names:
        described["parameters"] = [{"name": name, "in": "path", "required": True, "schema": _STR} for name in names]
    if operation.request is not None:
        described["requestBody"] = {"required": True, "content": _json(operation.request.__name__)}
    if operation.form is not None:
        described["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": operation.form}}}
    return described


def _responses(operation: Operation) -> dict[str, dict[str, Any]]:
    """The responses of an operation, by status."""
    good = operation.response
    found = {"200": {"description": "OK.", "content": _json(good)}}
    if good == "Readiness":
        return {**found, "503": {"description": "Starting up or shutting down.", "content": _json(good)}}
    if good == "Status":
        return found
    return {
        **found,
        **{
            str(status): {"description": text, "content": _json(operation.error)}
            for status, text in operation.errors.items()
        },
    }


def _plain(path: str) -> str:
    """A path without the types of its parameters."""
    return re.sub(r"{(\w+):\w+}", r"{\1}", path)


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
