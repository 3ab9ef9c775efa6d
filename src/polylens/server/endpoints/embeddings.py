"""The endpoint POST /v1/embeddings: vectors of texts, images and the pages of PDFs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polylens.errors import FieldError
from polylens.server.endpoints.embedding_service import Embedded, EmbeddingService
from polylens.server.engine.registry import Registry, Served
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.schemas import EmbeddingsRequest
from polylens.server.http.wire import multi, single, sized
from polylens.server.intake.options import EmbedOptions
from polylens.server.intake.sources import PdfInput, Source, TokenIds, parse_input


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
        served = self._registry.find_embedder(request.model)
        sources = await self._embedding.in_thread(parse_input, request.input, max_items=self._max_inputs)
        _check_outputs(request, served, sources)
        options = EmbedOptions(
            task=request.task,
            truncate=bool(request.truncate),
            wants_tokens=bool(request.return_multivector),
            shows_tokens=bool(request.return_tokenized_input),
            late_chunking=bool(request.late_chunking),
            context=context,
            listed=len(sources) > 1 or (isinstance(request.input, list) and not isinstance(sources[0], TokenIds)),
        )
        embedded = await self._embedding.embed(served, sources, options)
        usage = _usage(embedded)
        rows = await self._embedding.in_thread(_rows, request, served, embedded)
        value = {"model": request.model, "object": "list", "usage": usage, "data": rows}
        return Result(value, usage["total_tokens"], served.name, len(embedded))


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


def _rows(request: EmbeddingsRequest, served: Served, embedded: Sequence[Embedded]) -> list[dict[str, Any]]:
    """The rows of the response, the vectors encoded as the request asks. Takes seconds for many multi-vectors."""
    types = request.embedding_type or ["float"]
    if not request.return_multivector:
        normalised = request.normalized is not False
        vectors = [sized(each.embedding, request.dimensions, normalised=normalised) for each in embedded]
        return [single(index, vector, types) for index, vector in enumerate(vectors)]
    return [
        multi(
            index,
            each.embedding.multivector,
            types,
            token_texts(served, each) if request.return_tokenized_input else None,
        )
        for index, each in enumerate(embedded)
    ]


def token_texts(served: Served, embedded: Embedded) -> list[str]:
    """The text of each token of an input; empty for an image."""
    tokenizer = served.header.processor.tokenizer
    return [tokenizer.decode([token], skip_special_tokens=False) for token in embedded.token_ids]


def _usage(embedded: Sequence[Embedded]) -> dict[str, int]:
    total = sum(each.tokens for each in embedded)
    images = sum(each.tokens for each in embedded if each.is_image)
    usage = {"total_tokens": total, "prompt_tokens": total}
    return {**usage, "image_tokens": images} if images else usage
