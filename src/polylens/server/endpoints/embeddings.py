"""The endpoint POST /v1/embeddings: vectors of texts, images and the pages of PDFs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from polylens.errors import FieldError
from polylens.server.endpoints.embedding_service import Embedded, EmbeddingService
from polylens.server.engine.published import INPUT_TYPES, TASK_TYPES, task_of
from polylens.server.engine.registry import Registry, Served
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.schemas import EmbeddingsRequest
from polylens.server.http.wire import Encode, encoded, multi, single, sized, written
from polylens.server.intake.options import EmbedOptions
from polylens.server.intake.sources import PdfInput, Source, TokenIds, parse_input
from polylens.types import FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the other interfaces can ask for, and the published one cannot."""

    truncate: bool = False  # cut texts that are too long, unless the request itself says
    max_tokens: int | None = None  # per text
    keeps_end: bool = False  # what is cut off a text is its start
    cut_by: str = "truncate: true"  # what a request says so that texts are cut, for error messages


NOTHING_MORE = Wish()


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The vectors of a request, before they are written in anyone's form."""

    served: Served
    request: EmbeddingsRequest
    embedded: Sequence[Embedded]

    @property
    def usage(self) -> dict[str, int]:
        """`usage` in the published form."""
        total = sum(each.tokens for each in self.embedded)
        images = sum(each.tokens for each in self.embedded if each.is_image)
        usage = {"total_tokens": total, "prompt_tokens": total}
        return {**usage, "image_tokens": images} if images else usage

    @property
    def tokens(self) -> int:
        """The tokens that are billed."""
        return self.usage["total_tokens"]

    def vectors(self) -> list[FloatArray]:
        """One dense vector per input, in the size and length that were asked for."""
        normalised = self.request.normalized is not False
        return [sized(each.embedding, self.request.dimensions, normalised=normalised) for each in self.embedded]

    def result(self, value: Any) -> Result:
        """The result of the request, counted."""
        return Result(value, self.tokens, self.served.name, len(self.embedded))


class EmbeddingsEndpoint:
    """Embeds the inputs of a request.

    Args:
        registry: The served models.
        embedding: The service that computes the vectors.
        max_inputs: The most items in one list.
    """

    def __init__(self, registry: Registry, embedding: EmbeddingService, max_inputs: int) -> None:
        self._registry = registry
        self._embedding = embedding
        self._max_inputs = max_inputs

    async def post(self, request: EmbeddingsRequest, context: RequestContext) -> Result:
        """Answers POST /v1/embeddings."""
        answer = await self.embed(request, context)
        rows = await self._embedding.in_thread(_rows, answer)
        return answer.result({"model": request.model, "object": "list", "usage": answer.usage, "data": rows})

    async def embed(self, request: EmbeddingsRequest, context: RequestContext, wish: Wish = NOTHING_MORE) -> Answer:
        """Computes the vectors of a request, whatever interface it came through."""
        served = self._registry.find_embedder(request.model)
        sources = await self._embedding.in_thread(parse_input, request.input, max_items=self._max_inputs)
        _check_outputs(request, served, sources)
        options = EmbedOptions(
            task=_task(request, served),
            truncate=wish.truncate if request.truncate is None else request.truncate,
            max_length=wish.max_tokens,
            keeps_end=wish.keeps_end,
            cut_by=wish.cut_by,
            wants_tokens=bool(request.return_multivector),
            shows_tokens=bool(request.return_tokenized_input),
            late_chunking=bool(request.late_chunking),
            context=context,
            listed=len(sources) > 1 or (isinstance(request.input, list) and not isinstance(sources[0], TokenIds)),
        )
        return Answer(served=served, request=request, embedded=await self._embedding.embed(served, sources, options))


def _task(request: EmbeddingsRequest, served: Served) -> str | None:
    """The published task of a request, which may name it as other interfaces do."""
    if request.input_type is not None:
        return task_of(served.header, request.input_type, INPUT_TYPES, "input_type")
    if request.task is not None and request.task in TASK_TYPES:
        return task_of(served.header, request.task, TASK_TYPES, "task")
    return request.task


def _check_outputs(request: EmbeddingsRequest, served: Served, sources: Sequence[Source]) -> None:
    """Refuses options that exclude each other, or that the model cannot fulfil, before anything is computed."""
    dim = served.header.dim
    if request.dimensions is not None and request.dimensions > dim:
        raise FieldError(f"must be between 1 and {dim} for this model", "dimensions", request.dimensions, "less_than")
    if request.return_multivector:
        if served.header.multivector_dim is None:
            raise FieldError(
                f"{served.name} does not produce multi-vectors; leave this field out", "return_multivector", True
            )
        if request.dimensions is not None:
            raise FieldError(
                "cannot be combined with return_multivector: multi-vectors have one fixed size", "dimensions"
            )
        if request.normalized is False:
            raise FieldError("multi-vectors always have unit length; leave this field out", "normalized", False)
    elif request.return_tokenized_input:
        raise FieldError("requires return_multivector: true", "return_tokenized_input", True)
    if request.late_chunking and any(isinstance(source, PdfInput) for source in sources):
        raise FieldError("applies to texts only; the pages of a PDF are images", "late_chunking", True)


def _rows(answer: Answer) -> list[dict[str, Any]]:
    """The rows of the response, the vectors encoded as the request asks. Takes seconds for many multi-vectors."""
    request = answer.request
    kinds = request.embedding_type or ["float"]
    encode: Encode = partial(encoded, kinds=kinds)
    if request.output_dtype is not None:
        encode = partial(written, dtype=request.output_dtype, as_base64="base64" in kinds)
    if not request.return_multivector:
        return [single(index, vector, encode) for index, vector in enumerate(answer.vectors())]
    shows = bool(request.return_tokenized_input)
    return [
        multi(index, each.embedding.multivector, encode, token_texts(answer.served, each) if shows else None)
        for index, each in enumerate(answer.embedded)
    ]


def token_texts(served: Served, embedded: Embedded) -> list[str]:
    """The text of each token of an input; empty for an image."""
    tokenizer = served.header.processor.tokenizer
    return [tokenizer.decode([token], skip_special_tokens=False) for token in embedded.token_ids]
