"""The document at /openapi.json: what FastAPI knows of the routes, and the bodies that the handlers read and write
themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from polylens.server.http import schemas

REQUESTS: tuple[type[schemas.Request], ...] = (
    schemas.EmbeddingsRequest,
    schemas.RerankRequest,
    schemas.ClassifyRequest,
    schemas.TrainRequest,
    schemas.SegmentRequest,
    schemas.InvocationRequest,
)

_VALUE = {
    "description": "Numbers, base64 of little-endian float32, or bytes of one bit a number; with several types an "
    "object with a field for each.",
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

ANSWERS: dict[str, dict[str, Any]] = {
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
    "InvocationResponse": {"anyOf": [_EMBEDDING, _object({"data": _list(_RERANKING)})]},
    "ModelInfo": _MODEL,
    "ModelList": _object({"object": {"const": "list"}, "data": _list(_MODEL)}),
    "ClassifierList": _list(_object({"classifier_id": _STR, "model": _STR, "labels": _list(_STR), "access": _STR})),
    "Deleted": _object({"classifier_id": _STR, "deleted": {"const": True}}),
    "Status": _object({"status": _STR}),
    "Readiness": _object({"status": _STR, "models": {"type": "object", "additionalProperties": _STR}}),
    "Error": _object(
        {"detail": _STR, "code": _STR, "request_id": _STR},
        {
            "errors": _list(_object({"field": _STR, "message": _STR, "type": _STR, "input": {}})),
            "error": {"type": "object", "description": "OpenAI's form, for its clients."},
        },
    ),
}

ERRORS = {
    400: "The model is not served, or the labels do not fit.",
    401: "No API key, or not a known one.",
    404: "There is no such thing, or not for this key.",
    409: "It is being changed, or belongs to another model.",
    413: "More than one request may hold.",
    422: "A field cannot be used as it came; `errors` names it.",
    429: "Too much for this minute; Retry-After says when to try again.",
    500: "Our own fault.",
    503: "Busy, not ready or shutting down; Retry-After says when to try again.",
    504: "It took too long.",
}


def responses(answer: str) -> dict[int | str, dict[str, Any]]:
    """The answers of a route.

    Args:
        answer: Name of the schema of a good one.
    """
    good: dict[int | str, dict[str, Any]] = {200: {"description": "As asked.", "content": _json(answer)}}
    if answer == "Readiness":
        return {**good, 503: {"description": "Not yet, or no more.", "content": _json(answer)}}
    if answer == "Status":
        return good
    return {**good, **{status: {"description": text, "content": _json("Error")} for status, text in ERRORS.items()}}


def describe(app: FastAPI) -> None:
    """Adds the schemas of bodies, and the key, to the document."""
    document = app.openapi()
    components = document.setdefault("components", {}).setdefault("schemas", {})
    components.update(ANSWERS)
    for schema in REQUESTS:
        described = schema.model_json_schema(ref_template="#/components/schemas/{model}")
        components.update(described.pop("$defs", {}))
        components[schema.__name__] = described
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}]


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
