"""The endpoint POST /v1/train: a classifier trained on labelled inputs, or trained further."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from polylens.errors import FieldError, InputError, LabelError, TooLargeError
from polylens.server.classifiers.record import Classifier
from polylens.server.classifiers.store import ClassifierStore
from polylens.server.endpoints.classify import MAX_INPUTS, classification_options, model_of
from polylens.server.endpoints.embedding_service import Embedded, EmbeddingService
from polylens.server.engine.registry import Registry, Served
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.schemas import TrainRequest
from polylens.server.intake.sources import PdfInput, Source, parse_item


class TrainEndpoint:
    """Trains classifiers.

    Args:
        registry: The served models.
        embedding: The service that computes the vectors.
        classifiers: The store of the classifiers.
    """

    def __init__(self, registry: Registry, embedding: EmbeddingService, classifiers: ClassifierStore) -> None:
        self._registry = registry
        self._embedding = embedding
        self._classifiers = classifiers

    async def post(self, request: TrainRequest, context: RequestContext) -> Result:
        """Answers POST /v1/train."""
        items = request.input if isinstance(request.input, list) else [request.input]
        labels, sources = await self._embedding.in_thread(_parse_samples, items)
        if request.classifier_id is not None:
            classifier = await asyncio.to_thread(self._classifiers.get, request.classifier_id, owner=context.owner)
            served = model_of(classifier, self._registry)
        elif request.model is not None:
            served = self._registry.find_embedder(request.model)
            if len(set(labels)) < 2:
                raise LabelError("Invalid training labels. At least 2 unique labels are required for training.")
        else:
            raise FieldError("is required for a new classifier; send classifier_id to train an existing one", "model")
        embedded = await self._embedding.embed(served, sources, classification_options(served, context))
        trained = await asyncio.to_thread(self._train, request, served, context.owner, embedded, labels)
        tokens = request.num_iters * sum(each.tokens for each in embedded)
        value = {
            "classifier_id": trained.classifier_id,
            "num_samples": len(labels),
            "usage": {"total_tokens": tokens},
        }
        return Result(value, tokens, served.name, len(labels))

    def _train(
        self, request: TrainRequest, served: Served, owner: str, embedded: Sequence[Embedded], labels: Sequence[str]
    ) -> Classifier:
        vectors = np.stack([each.embedding.dense for each in embedded])
        if request.classifier_id is not None:
            return self._classifiers.update(
                request.classifier_id,
                owner=owner,
                model_id=served.model_id,
                vectors=vectors,
                labels=labels,
                num_iters=request.num_iters,
            )
        return self._classifiers.train(
            owner=owner,
            model=served.name,
            model_id=served.model_id,
            vectors=vectors,
            labels=labels,
            num_iters=request.num_iters,
            access=request.access,
        )


def _parse_samples(items: Sequence[Any]) -> tuple[list[str], list[Source]]:
    """The labels and the sources of training samples.

    Raises:
        FieldError: A sample has no label or no input.
        TooLargeError: There are too many.
    """
    if not items:
        raise FieldError("is an empty list; send objects with a label and a text or an image", "input")
    if len(items) > MAX_INPUTS:
        raise TooLargeError(
            f"input has {len(items)} items, and the limit is {MAX_INPUTS} per request; split it into several requests"
        )
    for index, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get("label"), str):
            raise FieldError("must be an object with a label and a text or an image", f"input.{index}", item)
    sources = [
        parse_item({key: value for key, value in item.items() if key != "label"}, f"input.{index}")
        for index, item in enumerate(items)
    ]
    if any(isinstance(source, PdfInput) for source in sources):
        raise InputError("a PDF cannot be a training sample; send its pages as images")
    return [item["label"] for item in items], sources
