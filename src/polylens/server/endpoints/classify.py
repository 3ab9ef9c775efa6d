"""Classifying and training: POST /v1/classify and /v1/train."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polylens.errors import FieldError, InputError, LabelError, ModelMismatchError, TooLargeError
from polylens.server.classifiers.store import Classifier, ClassifierStore
from polylens.server.concurrency import together
from polylens.server.endpoints.embedding_service import EmbeddingService
from polylens.server.engine.registry import Registry, Served
from polylens.server.http.context import RequestContext, Result
from polylens.server.http.schemas import MAX_GROUPS, MAX_LABELS, ClassifyRequest, TrainRequest
from polylens.server.intake.options import EmbedOptions
from polylens.server.intake.sources import PdfInput, Source, TextInput, parse_input, parse_item
from polylens.types import FloatArray

MAX_CLASSIFIED = 512  # inputs of one request to classify or to train, as published


class Labelling:
    """The endpoints that give labels to inputs.

    Args:
        registry: Models.
        embedding: Makes vectors.
        classifiers: Trained ones.
    """

    def __init__(self, registry: Registry, embedding: EmbeddingService, classifiers: ClassifierStore) -> None:
        self.registry = registry
        self.embedding = embedding
        self.classifiers = classifiers

    async def classify(self, request: ClassifyRequest, context: RequestContext) -> Result:
        """POST /v1/classify."""
        if request.classifier_id is not None:
            return await self._classify_trained(request, request.classifier_id, context)
        if request.model is None or request.labels is None:
            raise FieldError("model and labels are needed, or the classifier_id of a trained classifier", "labels")
        served = self.registry.find(request.model)
        groups = _label_groups(request.labels)
        sources = parse_input(request.input, max_items=MAX_CLASSIFIED)
        names = list(dict.fromkeys(label for labels in groups.values() for label in labels))
        options, named = self._classifying(served, context), self._classifying(served, context, field="labels")
        found, labelled = await together(
            [
                self.embedding.embed(served, sources, options),
                self.embedding.embed(served, [TextInput(name) for name in names], named),
            ]
        )
        vectors = dict(zip(names, (each.embedding.dense for each in labelled), strict=True))
        rows = [
            _prediction(
                index,
                {
                    group: _softmax(np.array([each.embedding.dense @ vectors[label] for label in labels]))
                    for group, labels in groups.items()
                },
                groups,
            )
            for index, each in enumerate(found)
        ]
        tokens = sum(each.tokens for each in (*found, *labelled))
        return Result({"usage": {"total_tokens": tokens}, "data": rows}, tokens, served.name, len(found))

    async def _classify_trained(self, request: ClassifyRequest, classifier_id: str, context: RequestContext) -> Result:
        classifier = await asyncio.to_thread(self.classifiers.get, classifier_id, owner=context.owner)
        served = self._model_of(classifier)
        sources = parse_input(request.input, max_items=MAX_CLASSIFIED)
        found = await self.embedding.embed(served, sources, self._classifying(served, context))
        vectors = np.stack([each.embedding.dense for each in found])
        scores = classifier.scores(vectors, model_id=served.model_id)
        await asyncio.to_thread(self.classifiers.used, classifier_id)
        groups = {"": list(classifier.labels)}
        rows = [_prediction(index, {"": row}, groups) for index, row in enumerate(scores)]
        tokens = sum(each.tokens for each in found)
        return Result({"usage": {"total_tokens": tokens}, "data": rows}, tokens, served.name, len(found))

    async def train(self, request: TrainRequest, context: RequestContext) -> Result:
        """POST /v1/train."""
        items = request.input if isinstance(request.input, list) else [request.input]
        labels, sources = _samples(items)
        if request.classifier_id is not None:
            classifier = await asyncio.to_thread(self.classifiers.get, request.classifier_id, owner=context.owner)
            served = self._model_of(classifier)
        elif request.model is not None:
            served = self.registry.find(request.model)
            if len(set(labels)) < 2:
                raise LabelError("Invalid training labels. At least 2 unique labels are required for training.")
        else:
            raise FieldError("is needed for a new classifier, or classifier_id for one that is there", "model")
        found = await self.embedding.embed(served, sources, self._classifying(served, context))
        vectors = np.stack([each.embedding.dense for each in found])
        trained = await asyncio.to_thread(self._learn, request, served, context, vectors, labels)
        tokens = request.num_iters * sum(each.tokens for each in found)
        value = {
            "classifier_id": trained.classifier_id,
            "num_samples": len(labels),
            "usage": {"total_tokens": tokens},
        }
        return Result(value, tokens, served.name, len(labels))

    def _learn(
        self, request: TrainRequest, served: Served, context: RequestContext, vectors: FloatArray, labels: Sequence[str]
    ) -> Classifier:
        if request.classifier_id is not None:
            return self.classifiers.update(
                request.classifier_id,
                owner=context.owner,
                model_id=served.model_id,
                vectors=vectors,
                labels=labels,
                num_iters=request.num_iters,
            )
        return self.classifiers.train(
            owner=context.owner,
            model=served.name,
            model_id=served.model_id,
            vectors=vectors,
            labels=labels,
            num_iters=request.num_iters,
            access=request.access,
        )

    def _model_of(self, classifier: Classifier) -> Served:
        served = self.registry.made(classifier.model_id)
        if served is None:
            raise ModelMismatchError(
                f"the classifier was trained on {classifier.model_id}, which this server does not have"
            )
        return served

    def _classifying(self, served: Served, context: RequestContext, field: str = "input") -> EmbedOptions:
        task = "classification" if "classification" in served.header.processor.tasks else None
        return EmbedOptions(task=task, truncate=True, context=context, field=field)


def _label_groups(labels: list[str] | Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Group -> its labels; a plain list is the one group "".

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


def _softmax(scores: FloatArray) -> FloatArray:
    """At temperature 1, as the published answers look (jina_http_api facts, section 5)."""
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def _prediction(index: int, scores: Mapping[str, FloatArray], groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """One row of an answer: plain values for a plain list of labels, one a group for groups."""
    best = {group: groups[group][int(row.argmax())] for group, row in scores.items()}
    top = {group: float(row.max()) for group, row in scores.items()}
    every = {
        group: [{"label": label, "score": float(score)} for label, score in zip(groups[group], row, strict=True)]
        for group, row in scores.items()
    }
    values = (best[""], top[""], every[""]) if list(groups) == [""] else (best, top, every)
    names = ("prediction", "score", "predictions")
    return {"object": "classification", "index": index, **dict(zip(names, values, strict=True))}


def _samples(items: Sequence[Any]) -> tuple[list[str], list[Source]]:
    """Labels and sources of training items.

    Raises:
        FieldError: One has no label or no input.
    """
    if not items:
        raise FieldError("is an empty list; send items with text or image and a label", "input")
    if len(items) > MAX_CLASSIFIED:
        raise TooLargeError(f"input has {len(items)} items, the limit is {MAX_CLASSIFIED} a request; send several")
    for index, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get("label"), str):
            raise FieldError("must be an object with a label and a text or an image", f"input.{index}", item)
    sources = [
        parse_item({key: value for key, value in item.items() if key != "label"}, f"input.{index}")
        for index, item in enumerate(items)
    ]
    if any(isinstance(source, PdfInput) for source in sources):
        raise InputError("a PDF cannot be a training item; send its pages as images")
    return [item["label"] for item in items], sources
