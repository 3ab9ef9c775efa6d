"""The endpoint POST /invocations: the form in which SageMaker asks for vectors and for rankings."""

from __future__ import annotations

from polylens.server.endpoints.embedding_service import EmbeddingService
from polylens.server.endpoints.embeddings import EmbeddingsEndpoint
from polylens.server.endpoints.rerank import RerankEndpoint
from polylens.server.engine.registry import Registry
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.schemas import EmbeddingsRequest, InvocationRequest, RerankRequest, checked


class InvocationsEndpoint:
    """Turns SageMaker's form into a request for vectors or for a ranking.

    Args:
        registry: The served models.
        embedding: The service whose threads read the inner requests.
        embeddings: The endpoint of requests for vectors.
        rerank: The endpoint of requests for a ranking.
    """

    def __init__(
        self,
        registry: Registry,
        embedding: EmbeddingService,
        embeddings: EmbeddingsEndpoint,
        rerank: RerankEndpoint,
    ) -> None:
        self._registry = registry
        self._embedding = embedding
        self._embeddings = embeddings
        self._rerank = rerank

    async def post(self, request: InvocationRequest, context: RequestContext) -> Result:
        """Answers POST /invocations."""
        parameters = request.parameters
        data = request.data
        ranking = data[0] if isinstance(data, list) and len(data) == 1 else data
        if isinstance(ranking, dict) and "query" in ranking:
            name = parameters.model or next(iter(self._registry)).name
            inner = await self._embedding.in_thread(checked, {"model": name, **ranking}, RerankRequest)
            result = await self._rerank.post(inner, context)
            return Result({"data": [result.value], "parameters": {}}, result.tokens, result.model, result.inputs)
        served = self._registry.find_embedder(parameters.model)
        normalised = parameters.normalized
        if normalised is None:
            normalised = served.header.usage.unit_vectors_in_batch_jobs
        fields = {
            **parameters.model_dump(exclude_none=True),
            "model": served.name,
            "input": data,
            "normalized": normalised,
        }
        return await self._embeddings.post(await self._embedding.in_thread(checked, fields, EmbeddingsRequest), context)
