"""Fine-tuning one task's adapter of a checkpoint of jina-embeddings-v4's family on a person's own pairs.

The backbone is frozen and stays in the type it was loaded in; the adapter is trained in float32 with the paper's joint
objective. Gradients are cached, so a batch of thousands needs the memory of one part of it, and the result is the same;
the layers of a large model are checkpointed, so a part needs little more than the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from polylens.checkpoints.export import save_adapters
from polylens.checkpoints.fetch import resolve
from polylens.checkpoints.loading import load_model, read_header
from polylens.errors import InputError
from polylens.models.description import Header
from polylens.models.protocol import Item, Model
from polylens.runtime.devices import choose_dtype
from polylens.train.caching import backprop_cached, embed_cached
from polylens.train.distributed import gathered, processes, slice_of
from polylens.train.held_out import rank_correlation, recall_at_1
from polylens.train.joint import (
    Objective,
    TermWeights,
    Vectors,
    as_vectors,
    contrastive_loss,
    graded_loss,
    same_documents,
)
from polylens.train.pair_run import PairRun, SideInput, cosine_rate, finished_before
from polylens.train.pairs import Batch, PairFile, draw_paired_batches, read_pairs
from polylens.train.progress import TrainingProgress
from polylens.train.settings import RunSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneRecipe(RunSettings):
    """A run that fine-tunes one adapter."""

    data: tuple[str, ...]  # files of pairs
    task: str  # whose adapter is trained
    objective: Objective
    max_pixels: int | None  # area of an image; None is the checkpoint's own


def finetune(
    model: str,
    data: Sequence[str],
    *,
    evaluation: str | None = None,
    task: str = "retrieval",
    steps: int = 500,
    batch_size: int = 64,
    learning_rate: float = 2e-4,
    kl_weight: float = 1.0,
    part_tokens: int = 8_192,
    gradient_checkpointing: bool | None = None,
) -> FinetuneRecipe:
    """One task's adapter of a checkpoint, on your own pairs.

    The paper prints neither batch size nor rate. 2e-4 is what LoRA of rank 32 is usually given; 64 pairs give each
    query 63 negatives, and more help if there are more. `kl_weight` is the weight of the KL distillation term, for
    texts and images alike; the other terms have 1. `part_tokens` and `gradient_checkpointing` change the memory and the
    time that a step needs, and nothing else.
    """
    weights = TermWeights(dense=1.0, late=1.0, kl=kl_weight)
    return FinetuneRecipe(
        name="finetune",
        model=model,
        data=tuple(data),
        evaluation=evaluation,
        task=task,
        objective=Objective(temperature=0.02, dims=(), texts=weights, images=weights, late_teaches=True),
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_steps=max(1, steps // 20),
        weight_decay=0.01,
        gradient_clip=1.0,
        max_length=512,
        max_pixels=None,
        part_tokens=part_tokens,
        gradient_checkpointing=gradient_checkpointing,
        dtype=None,
        seed=20261124,
        checkpoint_every=50,
    )


def run_finetune(
    recipe: FinetuneRecipe,
    folder: Path,
    *,
    report: Callable[[TrainingProgress], None],
    max_seconds: float | None = None,
) -> Path | None:
    """Runs a recipe, or resumes it where a checkpoint lies in the folder.

    Args:
        recipe: The recipe. `objective.dims` may be empty, which stands for the checkpoint's own.
        folder: Of the run: `recipe.json`, `log.jsonl`, `tensorboard/`, `checkpoint/`, at the end `model/`, which
            `polylens.load` takes.
        report: Called after each step.
        max_seconds: Stop after a checkpoint once this much time has passed.

    Returns:
        The folder of the finished model, None where time ran out first.

    Raises:
        InputError: The data cannot be used, the model has no such adapter, or the folder holds another run.
    """
    sources = [read_pairs(Path(path)) for path in recipe.data]
    held_out = read_pairs(Path(recipe.evaluation)) if recipe.evaluation is not None else None
    header = read_header(resolve(recipe.model))
    _require_adapter(header, recipe.task)
    if finished_before(recipe, folder, sources):
        return folder / "model"
    run = FinetuneRun(recipe, header, sources, held_out)
    return folder / "model" if run.run(folder, sources, report=report, max_seconds=max_seconds) else None


class FinetuneRun(PairRun):
    """A run that fine-tunes one adapter."""

    settings: FinetuneRecipe

    def __init__(
        self, recipe: FinetuneRecipe, header: Header, sources: Sequence[PairFile], held_out: PairFile | None
    ) -> None:
        device = processes().device
        dtype = choose_dtype(recipe.dtype, device, float16_overflows=header.family.overflows_in_float16)
        model = load_model(header, device=device, dtype=dtype)
        named = unfreeze_adapter(model, recipe.task)
        optimiser = torch.optim.AdamW(
            named.values(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
        )
        super().__init__(
            recipe,
            header,
            model,
            header.processor,
            named,
            optimiser,
            autocast=dtype != torch.float32,
            task=recipe.task,
            max_pixels=recipe.max_pixels,
        )
        self.sources, self.held_out = sources, held_out
        self.objective = replace(recipe.objective, dims=recipe.objective.dims or header.matryoshka_dims)

    def plan(self) -> Iterator[tuple[Batch, ...]]:
        """Batches of texts and batches with images, one of each per step where there are both."""
        recipe = self.settings
        return draw_paired_batches(self.sources, size=recipe.batch_size, steps=recipe.steps, seed=recipe.seed)

    def learning_rate(self, step: int) -> float:
        """A warm-up, then a cosine to zero."""
        recipe = self.settings
        return cosine_rate(recipe.learning_rate, step / recipe.steps, step, recipe.warmup_steps)

    def backward(self, drawn: Sequence[Batch]) -> dict[str, float]:
        """Adds the gradients of a step's batches to the adapter's; returns each term of the loss, and `total`."""
        # One batch after the other: gradients add up in the adapter, and only one batch's are in memory.
        return _terms(drawn, [self._backward(batch) for batch in drawn])

    def _backward(self, batch: Batch) -> dict[str, float]:
        mine = [batch.pairs[index] for index in slice_of(len(batch.pairs), self.rank, self.num_ranks)]
        negatives = [each for pair in mine for each in pair.negatives]

        def parts() -> Iterator[list[Item]]:  # made twice: the pictures of a batch of thousands do not fit in memory
            queries = ((pair.query, "query") for pair in mine)
            documents = ((side, "passage") for side in (*(pair.document for pair in mine), *negatives))
            return self.parts(chain(queries, documents))

        cached = embed_cached(self.model, parts(), self.make_context)
        sides = _sides(as_vectors(cached), len(mine), len(mine))
        losses = self.loss(batch, [gathered(side) for side in sides])
        losses["total"].backward()  # type: ignore[no-untyped-call]  # torch declares no types for it
        backprop_cached(self.model, parts(), cached, self.make_context)
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def loss(self, batch: Batch, sides: Sequence[Vectors]) -> dict[str, Tensor]:
        """The terms of the loss of a whole batch, and `total`, from the vectors of all processes.

        Args:
            batch: All of its pairs.
            sides: Queries, documents, hard negatives.
        """
        queries, documents, negatives = sides
        source, pairs = batch.source, batch.pairs
        if source.graded:
            truth = torch.tensor([pair.score for pair in pairs], device=self.device)
            return graded_loss(queries, documents, truth, self.objective, images=source.has_images)
        keys = [str(pair.document) for pair in pairs] + [str(each) for pair in pairs for each in pair.negatives]
        own = list(range(len(pairs)))
        return contrastive_loss(
            queries,
            _joined(documents, negatives),
            torch.tensor(own, device=self.device),
            same_documents(keys, own).to(self.device),
            self.objective,
            images=source.has_images,
        )

    def evaluate(self) -> dict[str, float]:
        """Recall, or rank correlation for graded pairs, on held-out pairs."""
        source = self.held_out
        if source is None:
            return {}
        queries = self._vectors((pair.query, "query") for pair in source.pairs)
        documents = self._vectors((pair.document, "passage") for pair in source.pairs)
        if source.graded:
            return rank_correlation(queries, documents, [float(pair.score or 0) for pair in source.pairs])
        return recall_at_1(queries, documents, [str(pair.document) for pair in source.pairs])

    def _vectors(self, sides: Iterable[SideInput]) -> Vectors:
        return as_vectors(self.embed(sides))

    def save_model(self, folder: Path) -> None:
        """Writes the checkpoint with the trained adapter; the backbone's files are linked where that is possible."""
        save_adapters(folder, self.header.folder, self.header.family, self.model)


def _require_adapter(header: Header, task: str) -> None:
    tasks = header.processor.tasks
    if header.family.adapters is None:
        raise InputError(f"models of the family {header.family.name} have no adapters, so they cannot be fine-tuned")
    if task not in tasks:
        raise InputError(f"task must be one of {', '.join(tasks)}, got {task!r}")


def unfreeze_adapter(model: Model, task: str) -> dict[str, nn.Parameter]:
    """Freezes everything but one task's adapter, which becomes float32; returns the adapter's parameters by name."""
    named = {}
    for name, parameter in model.named_parameters():
        learns = name.endswith((f"lora_a.{task}", f"lora_b.{task}"))
        parameter.requires_grad_(learns)
        if learns:
            parameter.data = parameter.data.float()
            named[name] = parameter
    return named


def _sides(vectors: Vectors, num_queries: int, num_documents: int) -> list[Vectors]:
    """The vectors of queries, documents and hard negatives, which were embedded together."""
    bounds = [0, num_queries, num_queries + num_documents, len(vectors.lengths)]
    starts = np.cumsum([0, *vectors.lengths])
    return [
        Vectors(
            vectors.dense[first:stop],
            vectors.tokens[int(starts[first]) : int(starts[stop])],
            vectors.lengths[first:stop],
        )
        for first, stop in pairwise(bounds)
    ]


def _terms(drawn: Sequence[Batch], losses: Sequence[dict[str, float]]) -> dict[str, float]:
    """A step's terms by name and their sum; with two batches, names such as `late texts` and `late images`."""
    if len(drawn) == 1:
        return losses[0]
    named = {
        f"{name} {'images' if batch.source.has_images else 'texts'}": value
        for batch, terms in zip(drawn, losses, strict=True)
        for name, value in terms.items()
        if name != "total"
    }
    return named | {"total": sum(terms["total"] for terms in losses)}


def _joined(left: Vectors, right: Vectors) -> Vectors:
    return Vectors(
        torch.cat((left.dense, right.dense)), torch.cat((left.tokens, right.tokens)), left.lengths + right.lengths
    )
