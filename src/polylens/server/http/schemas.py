"""Requests as clients send them. Unknown fields are ignored, as the published interface does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, cast

import orjson
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from polylens.errors import FieldError
from polylens.server.http.wire import Dtype, EmbeddingType

MAX_LABELS = 512
MAX_GROUPS, MAX_GROUP_LABELS = 8, 64

_TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
_IMAGE = {
    "type": "object",
    "properties": {"image": {"type": "string", "description": "An http(s) URL, a data: URI or base64."}},
    "required": ["image"],
}
_PDF = {
    "type": "object",
    "properties": {"pdf": {"type": "string", "description": "An http(s) URL, a data: URI or base64."}},
    "required": ["pdf"],
}
_CONTENT = {
    "type": "object",
    "properties": {
        "content": {"type": "array", "minItems": 1, "items": {"anyOf": [{"type": "string"}, _TEXT, _IMAGE]}}
    },
    "required": ["content"],
    "description": "Parts of one input, which gets one vector.",
}
_IDS = {"type": "array", "items": {"type": "integer"}, "description": "Token ids of the model's own tokenizer."}
_ITEM = {"anyOf": [{"type": "string"}, _TEXT, _IMAGE]}
_LIST = {"type": "array", "minItems": 1, "items": {"anyOf": [*_ITEM["anyOf"], _CONTENT, _IDS]}}


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _numeric(value: Any) -> Any:
    """Accepts a number as a string, as in Jina's own examples."""
    return int(value) if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() else value


Input = Annotated[Any, WithJsonSchema({"anyOf": [*_ITEM["anyOf"], _CONTENT, _PDF, _IDS, _LIST]})]
"""Read by `polylens.server.intake.sources`, whose messages name the item."""

Item = Annotated[Any, WithJsonSchema(_ITEM)]
Types = Annotated[list[EmbeddingType], BeforeValidator(_listed), Field(min_length=1)]
Dimensions = Annotated[int, BeforeValidator(_numeric), Field(strict=True, gt=0)]
Count = Annotated[int, Field(strict=True, ge=1)]
Flag = Annotated[bool, Field(strict=True)]


class Request(BaseModel):
    """The base of all requests."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class RawBody(Request):
    """A body whose reading is somebody else's."""

    content: bytes


class EmbeddingsRequest(Request):
    """Embed texts, images or a PDF."""

    model: str
    input: Input = Field(validation_alias=AliasChoices("input", "content", "texts"))
    task: str | None = Field(default=None, validation_alias=AliasChoices("task", "task_type"))
    input_type: str | None = Field(
        default=None, description="What Voyage's and Cohere's clients call a task: query, document, search_query, ..."
    )
    dimensions: Dimensions | None = Field(
        default=None, validation_alias=AliasChoices("dimensions", "output_dimensionality", "output_dimension")
    )
    normalized: Flag | None = Field(default=None, description="Whether vectors have unit length; default true.")
    truncate: Flag | None = Field(
        default=None,
        description="Whether texts that are too long are cut instead of refused.",
        validation_alias=AliasChoices("truncate", "truncation"),
    )
    embedding_type: Types | None = Field(
        default=None,
        validation_alias=AliasChoices("embedding_type", "encoding_type", "encoding_format", "embedding_types"),
    )
    output_dtype: Dtype | None = Field(
        default=None, description="The numbers of a vector, whose form is then a list, or base64 if embedding_type is."
    )
    late_chunking: Flag | None = None
    return_multivector: Flag | None = None
    return_tokenized_input: Flag | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        """Leaves out what is null: it must not hide the same field under another name. An input says so itself."""
        if not isinstance(value, dict):
            return value
        return {key: each for key, each in value.items() if each is not None or key == "input"}


class RerankRequest(Request):
    """Rank documents by their relevance to a query."""

    model: str
    query: Item
    documents: Annotated[
        list[Any], Field(min_length=1), WithJsonSchema({"type": "array", "minItems": 1, "items": _ITEM})
    ]
    top_n: Count | None = None
    top_k: Count | None = Field(
        default=None, description="Voyage's name of `top_n`; with it, the results are also in `data`, as there."
    )
    return_documents: Flag | None = True
    truncation: Flag | None = Field(
        default=True,
        description="Whether texts that are too long are cut instead of refused.",
        validation_alias=AliasChoices("truncation", "truncate"),
    )
    max_doc_length: Count | None = Field(
        default=None,
        description="Tokens at which a document's text is too long, if the model takes more.",
        validation_alias=AliasChoices("max_doc_length", "max_tokens_per_doc"),
    )


class ClassifyRequest(Request):
    """Classify inputs: zero-shot with `model` and `labels`, few-shot with `classifier_id`."""

    input: Input
    model: str | None = None
    labels: (
        Annotated[list[str], Field(min_length=1)]
        | dict[str, Annotated[list[str], Field(min_length=1, max_length=MAX_GROUP_LABELS)]]
        | None
    ) = None
    classifier_id: str | None = None


class TrainRequest(Request):
    """Train a new classifier with `model`, or an existing one further with `classifier_id`."""

    input: Annotated[
        Any,
        WithJsonSchema(
            {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "text": {"type": "string"},
                        "image": {"type": "string"},
                        "label": {"type": "string"},
                    },
                    "required": ["label"],
                },
            }
        ),
    ]
    model: str | None = None
    classifier_id: str | None = None
    num_iters: Annotated[int, Field(strict=True, ge=1, le=100)] = 10
    access: Literal["public", "private"] = "public"


class SegmentRequest(Request):
    """Split a text into tokens and chunks."""

    content: str
    tokenizer: str | None = None
    return_tokens: bool = False
    return_chunks: bool = False
    max_chunk_length: int = 1_000
    head: int | None = None
    tail: int | None = None


class ReadRequest(Request):
    """Read a web page, a PDF or an office file as clean Markdown."""

    url: str | None = Field(default=None, description="An http(s) address; or the one that `html` came from.")
    html: str | None = Field(default=None, description="The source of a web page.")
    file: str | None = Field(
        default=None,
        description="A file as a data: URI or as base64; `name` says its kind.",
        validation_alias=AliasChoices("file", "pdf"),
    )
    name: str | None = Field(default=None, description="The name of the file, such as report.docx.")
    return_format: str | None = Field(
        default=None,
        description="content (the main content), markdown (all of the page), text or html.",
        validation_alias=AliasChoices("return_format", "returnFormat", "respond_with", "respondWith"),
    )
    with_links_summary: Flag | None = Field(
        default=None, validation_alias=AliasChoices("with_links_summary", "withLinksSummary")
    )
    with_images_summary: Flag | None = Field(
        default=None, validation_alias=AliasChoices("with_images_summary", "withImagesSummary")
    )
    target_selector: str | None = Field(
        default=None,
        description="A CSS selector: only what it selects.",
        validation_alias=AliasChoices("target_selector", "targetSelector"),
    )
    remove_selector: str | None = Field(
        default=None,
        description="A CSS selector: what it selects is left out.",
        validation_alias=AliasChoices("remove_selector", "removeSelector"),
    )


class InvocationParameters(Request):
    """The `parameters` of SageMaker's form."""

    model: str | None = None
    task: str | None = None
    dimensions: Dimensions | None = None
    normalized: Flag | None = None
    truncate: Flag | None = None
    embedding_type: Types | None = None
    late_chunking: Flag | None = None
    return_multivector: Flag | None = None


class InvocationRequest(Request):
    """Embed a list of inputs or `{"pdf"}`, or rank by a query, as jina-sagemaker's client sends it."""

    data: Any
    parameters: InvocationParameters = Field(default_factory=InvocationParameters)


R = TypeVar("R", bound=Request)


def parse(body: bytes | bytearray, schema: type[R]) -> R:
    """Reads the body of a request.

    Raises:
        FieldError: The body is not JSON, or a field is missing or of a wrong type.
    """
    if schema is RawBody:
        return cast("R", RawBody(content=bytes(body)))
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise FieldError(f"the body is not valid JSON: {error}", kind="json_invalid") from error
    if not isinstance(value, dict):
        raise FieldError("the body must be a JSON object", kind="json_invalid")
    return checked(value, schema)


def checked(value: Mapping[str, Any], schema: type[R]) -> R:
    """Reads a JSON object as a request.

    Raises:
        FieldError: A field is missing or of a wrong type; the first one is named.
    """
    try:
        return schema.model_validate(value)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise FieldError(first["msg"], field, first["input"], first["type"]) from invalid
