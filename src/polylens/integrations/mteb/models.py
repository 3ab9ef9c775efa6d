"""Models and rerankers as mteb's protocols: dense encoder, late interaction, cross-encoder.

The protocols are those of `mteb.models.models_protocols`, version 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, product
from typing import Any, Literal

import numpy as np
import torch
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.models.search_wrappers import SearchEncoderWrapper, chunked_full_corpus_search, rerank_top_ranked_documents
from mteb.types import PromptType
from torch import Tensor

from polylens.errors import InputError
from polylens.library.page_embedding import join
from polylens.nn.pooling import truncate
from polylens.runtime.embedder import Embedder
from polylens.runtime.options import EncodeOptions
from polylens.runtime.pairs import PairOptions
from polylens.runtime.prepare import Input
from polylens.runtime.progress import progress_bar
from polylens.runtime.reranker import Reranker
from polylens.types import Embedding, FloatArray

DENSE_CHUNK = 10_000  # documents whose vectors are in memory at once: 80 MB of 2048 numbers each
LATE_CHUNK = 500  # the same for multi-vectors: 200 MB of pages with 768 vectors each
PAIR_CHUNK = 256  # items of a query and a document whose images are in memory at once

SIDES = {PromptType.query: "query", PromptType.document: "passage"}

Kind = Literal["dense", "multi-vector", "score", "library"]


def encoder(
    embedder: Embedder,
    *,
    multivector: bool = False,
    task: str | None = None,
    truncate_dim: int | None = None,
    max_length: int | None = None,
    max_pixels: int | None = None,
    chunk: int | None = None,
) -> SearchEncoderWrapper | LateInteraction:
    """A model as mteb takes it, whose memory does not grow with a corpus.

    Args:
        embedder: The model.
        multivector: Whether to compare multi-vectors by MaxSim, which is for retrieval only, instead of dense vectors
            by the cosine.
        task: The adapter for every task of mteb; None chooses by the type of the task, as the published wrapper does.
        truncate_dim: As for `Embedder.encode_text`, for dense vectors.
        max_length: As for `Embedder.encode_text`.
        max_pixels: As for `Embedder.encode_image`.
        chunk: Documents whose vectors are in memory at once; None is 10,000, and 500 for multi-vectors.

    Raises:
        InputError: The model has no such output or task.
    """
    inner = PolylensEncoder(
        embedder,
        multivector=multivector,
        task=task,
        truncate_dim=truncate_dim,
        max_length=max_length,
        max_pixels=max_pixels,
    )
    if multivector:
        return LateInteraction(inner, chunk or LATE_CHUNK)
    return SearchEncoderWrapper(inner, corpus_chunk_size=chunk or DENSE_CHUNK)


class PolylensEncoder:
    """A model as mteb's `EncoderProtocol`. Where an item has a text and an image, their vectors are joined.

    Arguments are those of `encoder`.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        multivector: bool = False,
        task: str | None = None,
        truncate_dim: int | None = None,
        max_length: int | None = None,
        max_pixels: int | None = None,
    ) -> None:
        options = EncodeOptions(
            task=task,
            truncate_dim=truncate_dim,
            max_length=max_length,
            max_pixels=max_pixels,
            return_multivector=multivector,
        )
        options.require_outputs(embedder.matryoshka_dims, embedder.multivector_dim)
        options.roles(embedder.processor, 1)
        if multivector and truncate_dim is not None:
            raise InputError(f"truncate_dim cuts dense vectors; multi-vectors have one width, got {truncate_dim}")
        self.embedder = embedder
        self.task = task
        self.options = options
        settings = {"task": task, "dim": truncate_dim, "length": max_length, "pixels": max_pixels}
        self.mteb_model_meta = model_meta(
            embedder.model_id,
            "multi-vector" if multivector else "dense",
            modalities=embedder.modalities,
            settings=settings,
            width=embedder.multivector_dim if multivector else truncate_dim or embedder.dim,
        )

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        show_progress_bar: bool = False,
        **_options: Any,
    ) -> FloatArray | list[FloatArray]:
        """Embeds what a dataloader gives, batch by batch.

        Returns:
            Float32 `[N, dim]` with unit rows, or a list of multi-vectors.
        """
        del hf_split
        task, prompt_name = role(self.embedder, task_metadata, prompt_type, self.task)
        what = f"{task_metadata.name} {hf_subset}"
        found: list[FloatArray] = []
        with progress_bar(len(inputs.dataset), show_progress_bar, what) as progress:
            for batch in inputs:
                items = list(rows(batch))
                for embedding in self._embed(items, task, prompt_name):
                    found.append(embedding.multivector if self.options.return_multivector else embedding.dense)
                progress(len(items))
        if self.options.return_multivector:
            return found
        dense = np.stack(found) if found else np.zeros((0, self.embedder.dim), dtype=np.float32)
        return dense if self.options.truncate_dim is None else _cut(dense, int(self.options.truncate_dim))

    def _embed(
        self, items: Sequence[tuple[Input, ...]], task: str | None, prompt_name: str | None
    ) -> Iterator[Embedding]:
        parts = iter(
            self.embedder.embed(
                list(chain.from_iterable(items)),
                task=task,
                prompt_name=prompt_name,
                max_length=self.options.max_length,
                max_pixels=self.options.max_pixels,
            )
        )
        for item in items:
            yield join([next(parts) for _ in item])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """The cosines, or MaxSim: `[N, M]`. mteb gives arrays, tensors, or lists of one of them, and takes a tensor."""
        return torch.from_numpy(self.embedder.similarity(_arrays(embeddings1), _arrays(embeddings2)))

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """The scores of the pairs at the same place: `[N]`."""
        pairs = zip(embeddings1, embeddings2, strict=True)
        return torch.tensor([float(self.similarity([one], [other])) for one, other in pairs])


class LateInteraction:
    """Late interaction as mteb's `SearchProtocol`: a corpus is embedded and scored in chunks.

    It has no `encode`, so that mteb refuses it for tasks that need one vector per text.

    Args:
        model: The encoder, with multi-vectors.
        chunk: Documents whose vectors are in memory at once.
    """

    def __init__(self, model: PolylensEncoder, chunk: int = LATE_CHUNK) -> None:
        self._model = model
        self.chunk = chunk
        self.mteb_model_meta = model.mteb_model_meta
        self._corpus: Any = None

    def index(self, corpus: Any, **_options: Any) -> None:
        """Takes a corpus. It is embedded by `search`, chunk by chunk."""
        self._corpus = corpus

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        encode_kwargs: Mapping[str, Any],
        top_ranked: Any = None,
        num_proc: int | None = None,
        **_options: Any,
    ) -> dict[str, dict[str, float]]:
        """The best documents of each query, or its candidates with their scores."""
        from mteb._create_dataloaders import create_dataloader

        about = {"task_metadata": task_metadata, "hf_split": hf_split, "hf_subset": hf_subset}
        loader = create_dataloader(
            queries,
            task_metadata=task_metadata,
            prompt_type=PromptType.query,
            num_proc=num_proc,
            batch_size=encode_kwargs.get("batch_size", 32),
        )
        shared = {
            **about,
            "task_corpus": self._corpus,
            "query_idx_to_id": dict(enumerate(queries["id"])),
            "query_embeddings": self._model.encode(loader, **about, prompt_type=PromptType.query),
            "top_k": top_k,
            "encode_kwargs": dict(encode_kwargs),
            "encode_fn": self._model.encode,
            "similarity_fn": self._similarity,
            "num_proc": num_proc,
        }
        if top_ranked is None:
            best = chunked_full_corpus_search(corpus_chunk_size=self.chunk, **shared)
        else:
            best = rerank_top_ranked_documents(top_ranked=top_ranked, **shared)
        self._corpus = None
        return {query: {document: score for score, document in scored} for query, scored in best.items()}

    def _similarity(self, queries: Any, documents: Any) -> Tensor:
        return self._model.similarity(list(queries), list(documents))


class RerankerScores:
    """A reranker as mteb's `CrossEncoderProtocol`, for its reranking tasks and for candidates from elsewhere.

    Args:
        reranker: From `polylens.load_reranker`.
    """

    def __init__(self, reranker: Reranker) -> None:
        self.reranker = reranker
        self.mteb_model_meta = model_meta(reranker.model_id, "score", modalities=reranker.modalities)

    def predict(
        self,
        inputs1: Any,
        inputs2: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        show_progress_bar: bool = False,
        **_options: Any,
    ) -> FloatArray:
        """Scores the query and the document at each place: `[N]`.

        Where an item has a text and an image, which a reranker does not read together, each part makes pairs of its
        own. A document counts by its better part, and a query by the mean over its parts, as in `Library.search`.
        """
        del hf_split, prompt_type
        sides = zip(_shared(inputs1), _shared(inputs2), strict=True)
        scores: list[float] = []
        with progress_bar(len(inputs1.dataset), show_progress_bar, f"{task_metadata.name} {hf_subset}") as progress:
            for items in _runs(sides, PAIR_CHUNK):
                pairs = [pair for query, document in items for pair in product(query, document)]
                found = self.reranker.score(pairs, PairOptions(), partial(_in_items, progress, len(items) / len(pairs)))
                place = 0
                for query, document in items:
                    grid = found[place : place + len(query) * len(document)].reshape(len(query), len(document))
                    scores.append(float(grid.max(axis=1).mean()))
                    place += grid.size
        return np.array(scores, dtype=np.float32)


def role(
    embedder: Embedder, metadata: Any, prompt_type: PromptType | None, task: str | None = None
) -> tuple[str | None, str | None]:
    """Which task and prompt of a model fit a task of mteb.

    Retrieval and reranking take `retrieval`, retrieval about programs `code`; all else takes `text-matching`, and
    `classification` or `separation` where the model has an adapter for that. A model without any of these takes its
    default.

    Args:
        embedder: The model.
        metadata: The task's `TaskMetadata`.
        prompt_type: The side.
        task: What was asked for; None chooses.

    Returns:
        Task and prompt name as `Embedder.encode_text` takes them.
    """
    side = None if prompt_type is None else SIDES[prompt_type]
    if task is None:
        task = next((each for each in _fitting(metadata) if each in embedder.tasks), None)
    return task, side if task is not None else None


def _fitting(metadata: Any) -> Iterator[str]:
    kind = metadata.type
    if "Retrieval" in kind or "Reranking" in kind or kind in ("DocumentUnderstanding", "VisionCentricQA"):
        if "Retrieval" in kind and "Programming" in (metadata.domains or ()):
            yield "code"
        yield "retrieval"
        return
    if "Classification" in kind and "Pair" not in kind:
        yield "classification"
    if "Clustering" in kind:
        yield "separation"
    yield "text-matching"


def rows(batch: Mapping[str, Any]) -> Iterator[tuple[Input, ...]]:
    """The items of a batch: each is a text, an image, or both.

    Raises:
        InputError: The batch has neither.
    """
    columns = [batch[name] for name in ("text", "image") if name in batch]
    if not columns:
        raise InputError(f"an item must have a text or an image, got {', '.join(batch)}")
    yield from zip(*columns, strict=True)


def _shared(loader: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Input, ...]]:
    """The items of a dataloader; equal texts in a row are one object, which a reranker prepares once."""
    last: Input | None = None
    for batch in loader:
        for item in rows(batch):
            parts = [last if isinstance(part, str) and part == last else part for part in item]
            last = next((part for part in parts if isinstance(part, str)), None)
            yield tuple(parts)


def _in_items(progress: Callable[[float], None], share: float, pairs: int) -> None:
    """Tells of finished pairs as of items, a pair being a `share` of one."""
    progress(pairs * share)


def _runs(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    run: list[Any] = []
    for item in items:
        run.append(item)
        if len(run) == size:
            yield run
            run = []
    if run:
        yield run


def _arrays(vectors: Any) -> Any:
    return list(map(np.asarray, vectors)) if isinstance(vectors, list) else np.asarray(vectors)


def _cut(dense: FloatArray, dim: int) -> FloatArray:
    import torch

    cut: FloatArray = truncate(torch.from_numpy(dense), dim).numpy()
    return cut


def model_meta(
    model_id: str,
    kind: Kind,
    *,
    modalities: Sequence[str],
    settings: Mapping[str, Any] | None = None,
    width: int | None = None,
) -> ModelMeta:
    """What mteb files the results under: the model's name, and as revision its fingerprint with everything that counts.

    Args:
        model_id: As of `Embedder.model_id`.
        kind: What is compared.
        modalities: What the model takes.
        settings: What was set, by name; None values are left out.
        width: Width of the vectors.
    """
    name, _, fingerprint = model_id.partition("@")
    chosen = [f"{key}-{value}" for key, value in (settings or {}).items() if value is not None]
    types = {"multi-vector": "late-interaction", "score": "cross-encoder"}
    functions = {"dense": ScoringFunction.COSINE, "multi-vector": ScoringFunction.MAX_SIM}
    return ModelMeta.create_empty(
        overwrites={
            "name": f"polylens/{name.replace('/', '--')}",
            "revision": "_".join([fingerprint.replace("/", "-"), kind, *chosen]),
            "modalities": list(modalities),
            "model_type": [types.get(kind, "dense")],
            "similarity_fn_name": functions.get(kind),
            "embed_dim": width,
            "framework": ["PyTorch"],
        }
    )
