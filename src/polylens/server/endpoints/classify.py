"""The endpoint POST /v1/classify: labels for inputs, zero-shot by their names or few-shot by a trained classifier."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polylens.errors import FieldError, LabelError, ModelMismatchError
from polylens.server.classifiers.record import Classifier
from polylens.server.classifiers.store import ClassifierStore
from polylens.server.concurrency import together
from polylens.server.endpoints.embedding_service import Embedded, EmbeddingService
from polylens.server.engine.registry import Registry, Served
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.schemas import MAX_GROUPS, MAX_LABELS, ClassifyRequest
from polylens.server.intake.options import EmbedOptions
from polylens.server.intake.sources import TextInput, parse_input
from polylens.types import FloatArray

MAX_INPUTS = 512  # of one request to classify or to train, as published


class ClassifyEndpoint:
    """Classifies inputs.

    Args:
        registry: The served models.
        embedding: The service that computes the vectors.
        classifiers: The trained classifiers.
    """

    def __init__(self, registry: Registry, embedding: EmbeddingService, classifiers: ClassifierStore) -> None:
        self._registry = registry
        self._embedding = embedding
        self._classifiers = classifiers

    async def post(self, request: ClassifyRequest, context: RequestContext) -> Result:
        """Answers POST /v1/classify."""
        if request.classifier_id is not None:
            return await self._classify_few_shot(request, request.classifier_id, context)
        if request.model is None or request.labels is None:
            raise FieldError("send model and labels, or the classifier_id of a trained classifier", "labels")
        return await self._classify_zero_shot(request, request.model, request.labels, context)

    async def _classify_zero_shot(
        self,
        request: ClassifyRequest,
        model: str,
        labels: list[str] | Mapping[str, list[str]],
        context: RequestContext,
    ) -> Result:
        served = self._registry.find_embedder(model)
        groups = _label_groups(labels)
        sources = await self._embedding.in_thread(parse_input, request.input, max_items=MAX_INPUTS)
        names = list(dict.fromkeys(label for labels in groups.values() for label in labels))
        embedded, embedded_labels = await together(
            [
                self._embedding.embed(served, sources, classification_options(served, context)),
                self._embedding.embed(
                    served, [TextInput(name) for name in names], classification_options(served, context, "labels")
                ),
            ]
        )
        label_vectors = dict(zip(names, (each.embedding.dense for each in embedded_labels), strict=True))
        rows = await self._embedding.in_thread(_zero_shot_rows, embedded, label_vectors, groups)
        tokens = sum(each.tokens for each in (*embedded, *embedded_labels))
        return Result({"usage": {"total_tokens": tokens}, "data": rows}, tokens, served.name, len(embedded))

    async def _classify_few_shot(self, request: ClassifyRequest, classifier_id: str, context: RequestContext) -> Result:
        classifier = await asyncio.to_thread(self._classifiers.get, classifier_id, owner=context.owner)
        served = model_of(classifier, self._registry)
        sources = await self._embedding.in_thread(parse_input, request.input, max_items=MAX_INPUTS)
        embedded = await self._embedding.embed(served, sources, classification_options(served, context))
        rows = await self._embedding.in_thread(_few_shot_rows, embedded, classifier, served.model_id)
        await asyncio.to_thread(self._classifiers.used, classifier_id)
        tokens = sum(each.tokens for each in embedded)
        return Result({"usage": {"total_tokens": tokens}, "data": rows}, tokens, served.name, len(embedded))


def model_of(classifier: Classifier, registry: Registry) -> Served:
    """The model that a classifier was trained with.

    Raises:
        ModelMismatchError: It is not served.
    """
    served = registry.made(classifier.model_id)
    if served is None:
        raise ModelMismatchError(
            f"the classifier was trained with {classifier.model_id}, which this server does not serve"
        )
    return served


def classification_options(served: Served, context: RequestContext, field: str = "input") -> EmbedOptions:
    """The options by which a model embeds what is to be classified, or learned from."""
    task = "classification" if "classification" in served.header.processor.tasks else None
    return EmbedOptions(task=task, truncate=True, context=context, field=field)


def _label_groups(labels: list[str] | Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The labels of each group; a plain list is the one group "".

    Raises:
        LabelError: There are none, or too many.
    """
    groups = {"": labels} if isinstance(labels, list) else dict(labels)
    if not groups:
        raise LabelError("labels is empty; send at least one group")
    if len(groups) > MAX_GROUPS:
        raise LabelError(f"Label limit exceeded: {len(groups)} groups provided, maximum {MAX_GROUPS} allowed.")
    if isinstance(labels, list) and len(labels) > MAX_LABELS:
        raise LabelError(f"Label limit exceeded: {len(labels)} labels provided, maximum {MAX_LABELS} allowed.")
    return {group: list(dict.fromkeys(names)) for group, names in groups.items()}


def _zero_shot_rows(
    embedded: Sequence[Embedded], label_vectors: Mapping[str, FloatArray], groups: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    rows = []
    for index, each in enumerate(embedded):
        scores = {
            group: softmax(np.array([each.embedding.dense @ label_vectors[label] for label in labels]))
            for group, labels in groups.items()
        }
        rows.append(_row(index, scores, groups))
    return rows


def _few_shot_rows(embedded: Sequence[Embedded], classifier: Classifier, model_id: str) -> list[dict[str, Any]]:
    scores = classifier.scores(np.stack([each.embedding.dense for each in embedded]), model_id=model_id)
    groups = {"": list(classifier.labels)}
    return [_row(index, {"": row}, groups) for index, row in enumerate(scores)]


def softmax(scores: FloatArray) -> FloatArray:
    """Softmax at temperature 1, as in the published answers."""
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def _row(index: int, scores: Mapping[str, FloatArray], groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """One row of the response: plain values for a plain list of labels, one value per group for groups."""
    best = {group: groups[group][int(row.argmax())] for group, row in scores.items()}
    top = {group: float(row.max()) for group, row in scores.items()}
    every = {
        group: [{"label": label, "score": float(score)} for label, score in zip(groups[group], row, strict=True)]
        for group, row in scores.items()
    }
    values = (best[""], top[""], every[""]) if list(groups) == [""] else (best, top, every)
    names = ("prediction", "score", "predictions")
    return {"object": "classification", "index": index, **dict(zip(names, values, strict=True))}
