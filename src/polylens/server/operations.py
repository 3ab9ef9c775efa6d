"""What each endpoint does with a parsed request, knowing nothing of HTTP: requests in, values for JSON out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polylens.errors import FieldError, InputError, LabelError, ModelMismatchError, TooLargeError
from polylens.server.callers import Caller
from polylens.server.classifiers import Classifier, ClassifierStore
from polylens.server.embedding import Embedded, EmbeddingService, Wish, together
from polylens.server.published import KINDS
from polylens.server.registry import Registry, Served
from polylens.server.schemas import (
    MAX_GROUPS,
    MAX_LABELS,
    ClassifyRequest,
    EmbeddingsRequest,
    InvocationRequest,
    RerankRequest,
    SegmentRequest,
    TrainRequest,
    checked,
)
from polylens.server.segmenter import (
    PUBLISHED_TOKENIZERS,
    OffsetTokenizer,
    SegmentTokenizer,
    published_tokenizer,
    segment,
)
from polylens.server.sources import Pdf, Source, Text, TokenIds, parse_input, parse_item
from polylens.server.wire import multi, single, sized
from polylens.types import FloatArray

MAX_CLASSIFIED = 512  # inputs of one request to classify or to train, as published


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back, and what it is counted as."""

    value: Any
    tokens: int
    model: str = ""
    inputs: int = 0


class Operations:
    """The endpoints of a server.

    Args:
        registry: Its models.
        embedding: Makes vectors.
        classifiers: Trained ones.
        max_inputs: Longest list in one request.
    """

    def __init__(
        self, registry: Registry, embedding: EmbeddingService, classifiers: ClassifierStore, max_inputs: int
    ) -> None:
        self.registry = registry
        self.embedding = embedding
        self.classifiers = classifiers
        self.max_inputs = max_inputs

    async def embeddings(self, request: EmbeddingsRequest, caller: Caller) -> Answer:
        """POST /v1/embeddings."""
        served = self.registry.find(request.model)
        sources = parse_input(request.input, max_items=self.max_inputs)
        _check_outputs(request, served, sources)
        wish = Wish(
            task=request.task,
            truncate=bool(request.truncate),
            wants_tokens=bool(request.return_multivector),
            shows_tokens=bool(request.return_tokenized_input),
            late_chunking=bool(request.late_chunking),
            caller=caller,
            listed=len(sources) > 1 or (isinstance(request.input, list) and not isinstance(sources[0], TokenIds)),
        )
        found = await self.embedding.embed(served, sources, wish)
        usage = _usage(found)
        rows = _rows(request, served, found)
        value = {"model": request.model, "object": "list", "usage": usage, "data": rows}
        return Answer(value, usage["total_tokens"], served.name, len(found))

    async def rerank(self, request: RerankRequest, caller: Caller) -> Answer:
        """POST /v1/rerank: MaxSim where the model has multi-vectors, cosine where it has not."""
        served = self.registry.find(request.model)
        query = parse_item(request.query, "query")
        documents = parse_input(request.documents, field="documents", max_items=self.max_inputs)
        if any(isinstance(source, Pdf) for source in (query, *documents)):
            raise FieldError("a PDF cannot be ranked; send its pages as images", "documents")
        asked, found = await self._both_sides(
            served, query, documents, truncate=bool(request.truncation), caller=caller
        )
        scores = [_relevance(served, asked, each) for each in found]
        best = sorted(range(len(scores)), key=lambda index: -scores[index])[: request.top_n]
        results: list[dict[str, Any]] = [{"index": index, "relevance_score": scores[index]} for index in best]
        if request.return_documents:
            for row in results:
                document = request.documents[row["index"]]
                row["document"] = {"text": document} if isinstance(document, str) else document
        tokens = asked.tokens + sum(each.tokens for each in found)
        value = {"model": request.model, "object": "list", "usage": {"total_tokens": tokens}, "results": results}
        return Answer(value, tokens, served.name, 1 + len(found))

    async def _both_sides(
        self, served: Served, query: Source, documents: Sequence[Source], *, truncate: bool, caller: Caller
    ) -> tuple[Embedded, list[Embedded]]:
        wants_tokens = served.header.multivector_dim is not None
        prompts = ("retrieval.query", "retrieval.passage") if served.header.processor.tasks else (None, None)
        wishes = [
            Wish(task=task, truncate=truncate, wants_tokens=wants_tokens, caller=caller, field=field)
            for task, field in zip(prompts, ("query", "documents"), strict=True)
        ]
        asked, found = await together(
            [
                self.embedding.embed(served, [query], wishes[0]),
                self.embedding.embed(served, documents, wishes[1]),
            ]
        )
        return asked[0], found

    async def classify(self, request: ClassifyRequest, caller: Caller) -> Answer:
        """POST /v1/classify."""
        if request.classifier_id is not None:
            return await self._classify_trained(request, request.classifier_id, caller)
        if request.model is None or request.labels is None:
            raise FieldError("model and labels are needed, or the classifier_id of a trained classifier", "labels")
        served = self.registry.find(request.model)
        groups = _label_groups(request.labels)
        sources = parse_input(request.input, max_items=MAX_CLASSIFIED)
        names = list(dict.fromkeys(label for labels in groups.values() for label in labels))
        wish, named = self._classifying(served, caller), self._classifying(served, caller, field="labels")
        found, labelled = await together(
            [
                self.embedding.embed(served, sources, wish),
                self.embedding.embed(served, [Text(name) for name in names], named),
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
        return Answer({"usage": {"total_tokens": tokens}, "data": rows}, tokens, served.name, len(found))

    async def _classify_trained(self, request: ClassifyRequest, classifier_id: str, caller: Caller) -> Answer:
        classifier = await asyncio.to_thread(self.classifiers.get, classifier_id, owner=caller.owner)
        served = self._model_of(classifier)
        sources = parse_input(request.input, max_items=MAX_CLASSIFIED)
        found = await self.embedding.embed(served, sources, self._classifying(served, caller))
        vectors = np.stack([each.embedding.dense for each in found])
        scores = classifier.scores(vectors, model_id=served.model_id)
        await asyncio.to_thread(self.classifiers.used, classifier_id)
        groups = {"": list(classifier.labels)}
        rows = [_prediction(index, {"": row}, groups) for index, row in enumerate(scores)]
        tokens = sum(each.tokens for each in found)
        return Answer({"usage": {"total_tokens": tokens}, "data": rows}, tokens, served.name, len(found))

    async def train(self, request: TrainRequest, caller: Caller) -> Answer:
        """POST /v1/train."""
        items = request.input if isinstance(request.input, list) else [request.input]
        labels, sources = _samples(items)
        if request.classifier_id is not None:
            classifier = await asyncio.to_thread(self.classifiers.get, request.classifier_id, owner=caller.owner)
            served = self._model_of(classifier)
        elif request.model is not None:
            served = self.registry.find(request.model)
            if len(set(labels)) < 2:
                raise LabelError("Invalid training labels. At least 2 unique labels are required for training.")
        else:
            raise FieldError("is needed for a new classifier, or classifier_id for one that is there", "model")
        found = await self.embedding.embed(served, sources, self._classifying(served, caller))
        vectors = np.stack([each.embedding.dense for each in found])
        trained = await asyncio.to_thread(self._learn, request, served, caller, vectors, labels)
        tokens = request.num_iters * sum(each.tokens for each in found)
        value = {
            "classifier_id": trained.classifier_id,
            "num_samples": len(labels),
            "usage": {"total_tokens": tokens},
        }
        return Answer(value, tokens, served.name, len(labels))

    def _learn(
        self, request: TrainRequest, served: Served, caller: Caller, vectors: FloatArray, labels: Sequence[str]
    ) -> Classifier:
        if request.classifier_id is not None:
            return self.classifiers.update(
                request.classifier_id,
                owner=caller.owner,
                model_id=served.model_id,
                vectors=vectors,
                labels=labels,
                num_iters=request.num_iters,
            )
        return self.classifiers.train(
            owner=caller.owner,
            model=served.name,
            model_id=served.model_id,
            vectors=vectors,
            labels=labels,
            num_iters=request.num_iters,
            access=request.access,
        )

    def _model_of(self, classifier: Classifier) -> Served:
        served = next((each for each in self.registry if each.model_id == classifier.model_id), None)
        if served is None:
            raise ModelMismatchError(
                f"the classifier was trained on {classifier.model_id}, which this server does not have"
            )
        return served

    def _classifying(self, served: Served, caller: Caller, field: str = "input") -> Wish:
        task = "classification" if "classification" in served.header.processor.tasks else None
        return Wish(task=task, truncate=True, caller=caller, field=field)

    async def segment(self, request: SegmentRequest) -> Answer:
        """POST /v1/segment."""
        tokenizer = self._segment_tokenizer(request.tokenizer)
        value = await asyncio.to_thread(
            segment,
            request.content,
            tokenizer,
            return_tokens=request.return_tokens,
            return_chunks=request.return_chunks,
            max_chunk_length=request.max_chunk_length,
            head=request.head,
            tail=request.tail,
        )
        return Answer(value, 0, tokenizer.name, 1)

    def _segment_tokenizer(self, name: str | None) -> SegmentTokenizer:
        """A published name, or a served model; nothing said is the first model's, whose tokens are what it embeds."""
        served = next(iter(self.registry)) if name is None else None
        if name is not None and name not in PUBLISHED_TOKENIZERS:
            try:
                served = self.registry.find(name)
            except LookupError as unknown:
                names = ", ".join((*PUBLISHED_TOKENIZERS, *self.registry.names()))
                raise FieldError(f"must be one of {names}, got {name[:40]!r}", "tokenizer", name) from unknown
        if served is None:
            assert name is not None
            return published_tokenizer(name)
        return OffsetTokenizer(served.name, served.header.processor.tokenizer)

    async def invoke(self, request: InvocationRequest, caller: Caller) -> Answer:
        """POST /invocations: SageMaker's form of embedding and of ranking."""
        parameters = request.parameters
        name = parameters.model or next(iter(self.registry)).name
        served = self.registry.find(name)
        data = request.data
        ranked = data[0] if isinstance(data, list) and len(data) == 1 else data
        if isinstance(ranked, dict) and "query" in ranked:
            answer = await self.rerank(checked({"model": name, **ranked}, RerankRequest), caller)
            return Answer({"data": [answer.value], "parameters": {}}, answer.tokens, served.name, answer.inputs)
        normalised = parameters.normalized
        if normalised is None:
            normalised = KINDS[served.kind].normalised_in_batch_jobs
        fields = {**parameters.model_dump(exclude_none=True), "model": name, "input": data, "normalized": normalised}
        return await self.embeddings(checked(fields, EmbeddingsRequest), caller)


def _check_outputs(request: EmbeddingsRequest, served: Served, sources: Sequence[Source]) -> None:
    """Refuses wishes that exclude each other, or that the model cannot fulfil, before anything is computed."""
    dim = served.header.dim
    if request.dimensions is not None and request.dimensions > dim:
        raise FieldError(f"must be between 1 and {dim} for this model", "dimensions", request.dimensions, "less_than")
    if request.return_multivector:
        if served.header.multivector_dim is None:
            raise FieldError(f"{served.name} has no multi-vectors, leave it out", "return_multivector", True)
        if request.dimensions is not None:
            raise FieldError("cannot be used with return_multivector, whose vectors have one size", "dimensions")
        if request.normalized is False:
            raise FieldError("multi-vectors have unit length, leave normalized out", "normalized", False)
    elif request.return_tokenized_input:
        raise FieldError("needs return_multivector: true", "return_tokenized_input", True)
    if request.late_chunking and any(isinstance(source, Pdf) for source in sources):
        raise FieldError("joins texts; a PDF's pages are images", "late_chunking", True)


def _rows(request: EmbeddingsRequest, served: Served, found: Sequence[Embedded]) -> list[dict[str, Any]]:
    kinds = request.embedding_type or ["float"]
    if request.return_multivector:
        tokenizer = served.header.processor.tokenizer
        shown = [
            [tokenizer.decode([token], skip_special_tokens=False) for token in each.token_ids or ()]
            if request.return_tokenized_input
            else None
            for each in found
        ]
        return [
            multi(index, each.embedding.multivector, kinds, tokens)
            for index, (each, tokens) in enumerate(zip(found, shown, strict=True))
        ]
    normalised = request.normalized is not False
    return [
        single(index, sized(each.embedding, request.dimensions, normalised=normalised), kinds)
        for index, each in enumerate(found)
    ]


def _usage(found: Sequence[Embedded]) -> dict[str, int]:
    total = sum(each.tokens for each in found)
    images = sum(each.tokens for each in found if each.is_image)
    usage = {"total_tokens": total, "prompt_tokens": total}
    return {**usage, "image_tokens": images} if images else usage


def _relevance(served: Served, query: Embedded, document: Embedded) -> float:
    """MaxSim a query token, or cosine: between -1 and 1, whatever the length of the query."""
    if served.header.multivector_dim is None:
        return float(query.embedding.dense @ document.embedding.dense)
    return float((query.embedding.multivector @ document.embedding.multivector.T).max(axis=1).mean())


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
    if any(isinstance(source, Pdf) for source in sources):
        raise InputError("a PDF cannot be a training item; send its pages as images")
    return [item["label"] for item in items], sources
