"""Fine-tuning one task's adapter of a checkpoint of jina-embeddings-v4's family on a person's own pairs.

The backbone is frozen and stays in the type it was loaded in; the adapter learns in float32 with the paper's joint
objective. Gradients are cached (Gao et al. 2021, https://arxiv.org/abs/2101.06983): vectors first, without gradients;
then the loss and its gradient for each vector; then each part of the batch once more, to carry that gradient into the
adapter. So a batch of thousands needs the memory of one part of it, and the result is the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
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
from polylens.runtime.prepare import prepare
from polylens.train.caching import carry, in_parts, leaves
from polylens.train.distributed import add_gradients, any_of, gathered, processes, slice_of
from polylens.train.held_out import rank_correlation, recall_at_1
from polylens.train.joint import Objective, TermWeights, Vectors, contrastive_loss, graded_loss, same_documents
from polylens.train.journal import Journal
from polylens.train.pairs import Batch, Side, Source, paired_batches, read_source
from polylens.train.progress import Progress
from polylens.train.record import data_of, is_finished, write_recipe
from polylens.train.state import load_state, save_state
from polylens.train.steps import Steps, cosine_rate
from polylens.types import Image


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneRecipe:
    """A run."""

    name: str
    model: str  # a name of the catalog or a folder
    data: tuple[str, ...]  # files of pairs
    evaluation: str | None  # file of pairs that are held out
    task: str  # whose adapter learns
    objective: Objective
    steps: int
    batch_size: int  # pairs of each of a step's batches, of all processes together
    learning_rate: float  # at its highest, falling along a cosine to zero
    warmup_steps: int
    weight_decay: float
    gradient_clip: float  # largest norm
    max_length: int  # tokens of a text
    max_pixels: int | None  # area of an image; None is the checkpoint's own
    part_tokens: int  # of the part of a batch whose activations are in memory at once
    dtype: str | None  # of the frozen weights; None goes by the device
    seed: int
    checkpoint_every: int  # steps


def finetune(
    model: str,
    data: Sequence[str],
    *,
    evaluation: str | None = None,
    task: str = "retrieval",
    steps: int = 500,
    batch_size: int = 64,
    learning_rate: float = 2e-4,
    divergence: float = 1.0,
) -> FinetuneRecipe:
    """One task's adapter of a checkpoint, on your own pairs.

    The paper prints neither batch size nor rate. 2e-4 is what LoRA of rank 32 is usually given; 64 pairs give each
    query 63 negatives, and more help if there are more. `divergence` is the weight of that term, for texts and images
    alike; the others have 1.
    """
    weights = TermWeights(dense=1.0, late=1.0, divergence=divergence)
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
        part_tokens=8_192,
        dtype=None,
        seed=20261124,
        checkpoint_every=50,
    )


def run_finetune(
    recipe: FinetuneRecipe, folder: Path, *, report: Callable[[Progress], None], max_seconds: float | None = None
) -> Path | None:
    """Runs a recipe, or goes on with it where a checkpoint lies in the folder.

    Args:
        recipe: What to do. `objective.dims` may be empty: then the checkpoint's own.
        folder: Of the run: `recipe.json`, `log.jsonl`, `tensorboard/`, `checkpoint/`, at the end `model/`, which
            `polylens.load` takes.
        report: Called after each step.
        max_seconds: Stop after a checkpoint once this much time has passed.

    Returns:
        The folder of the finished model, None where time ran out first.

    Raises:
        InputError: The data cannot be used, the model has no such adapter, or the folder holds another run.
    """
    sources = [read_source(Path(path)) for path in recipe.data]
    held_out = read_source(Path(recipe.evaluation)) if recipe.evaluation is not None else None
    base = resolve(recipe.model)
    header = read_header(base)
    _require_adapter(header, recipe.task)
    if any_of(is_finished(folder, recipe.steps)):
        write_recipe(recipe, folder, data_of(sources))  # or the refusal of another one
        return folder / "model"
    run = _Run(recipe, header)
    if run.leads:
        folder.mkdir(parents=True, exist_ok=True)
        write_recipe(recipe, folder, data_of(sources))
    start = load_state(folder / "checkpoint", run.named, [run.optimiser])
    with Journal(folder, start) if run.leads else contextlib.nullcontext() as journal:
        finished = run.go(folder, sources, held_out, start, report, max_seconds, journal)
    if finished and run.leads:
        save_adapters(folder / "model", base, header.family, run.model)
    processes().wait_for_everyone()  # what comes next may start from what one of them writes
    return folder / "model" if finished else None


class _Run:
    """What a run holds in memory."""

    def __init__(self, recipe: FinetuneRecipe, header: Header) -> None:
        self.recipe, self.header = recipe, header
        state = processes()
        self.device, self.leads = state.device, state.is_main_process
        self.rank, self.num_ranks = state.process_index, state.num_processes
        dtype = choose_dtype(recipe.dtype, self.device, float16_overflows=header.family.overflows_in_float16)
        self.model = load_model(header, device=self.device, dtype=dtype)
        self.autocast = dtype != torch.float32
        self.named = _unfreeze(self.model, recipe.task)
        self.optimiser = torch.optim.AdamW(
            self.named.values(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
        )
        self.objective = replace(recipe.objective, dims=recipe.objective.dims or header.matryoshka_dims)

    def go(
        self,
        folder: Path,
        sources: Sequence[Source],
        held_out: Source | None,
        start: int,
        report: Callable[[Progress], None],
        max_seconds: float | None,
        journal: Journal | None,
    ) -> bool:
        """Steps until the end, or until time is up after a checkpoint."""
        recipe = self.recipe
        plan = paired_batches(sources, size=recipe.batch_size, steps=recipe.steps, seed=recipe.seed)
        steps: Steps[tuple[Batch, ...]] = Steps(
            total=recipe.steps,
            checkpoint_every=recipe.checkpoint_every,
            take=self.step,
            sources=lambda drawn: ", ".join(batch.source.path.name for batch in drawn),
            evaluate=lambda: self.evaluate(held_out),
            save=lambda step: self.save(folder, step),
        )
        return steps.go(plan, start, journal=journal, report=report, max_seconds=max_seconds)

    def save(self, folder: Path, step: int) -> None:
        """A checkpoint, by one process for all."""
        if self.leads:
            save_state(folder / "checkpoint", self.named, [self.optimiser], step)

    def step(self, drawn: Sequence[Batch], step: int) -> dict[str, float]:
        """One update of the adapter; each term of the loss, and what they add up to."""
        self.optimiser.zero_grad(set_to_none=True)
        # One batch after the other: gradients add up in the adapter, and only one batch's are in memory.
        losses = [self.backward(batch) for batch in drawn]
        parameters = list(self.named.values())
        add_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.recipe.gradient_clip)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(step)
        if bool(torch.isfinite(norm)):
            self.optimiser.step()
        return _terms(drawn, losses) | {"gradient": float(norm)}

    def backward(self, batch: Batch) -> dict[str, float]:
        """Adds the gradient of one batch to the adapter's; each term of its loss, and `total`."""
        mine = [batch.pairs[index] for index in slice_of(len(batch.pairs), self.rank, self.num_ranks)]
        queries = [self.item(pair.query, "query") for pair in mine]
        documents = [self.item(pair.document, "passage") for pair in mine]
        negatives = [self.item(each, "passage") for pair in mine for each in pair.negatives]
        cached = self.cache([*queries, *documents, *negatives])
        sides = _sides(cached, len(queries), len(documents))
        losses = self.loss(batch, [gathered(side) for side in sides])
        losses["total"].backward()  # type: ignore[no-untyped-call]  # torch declares no types for it
        self.carry([*queries, *documents, *negatives], cached)
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def loss(self, batch: Batch, sides: Sequence[Vectors]) -> dict[str, Tensor]:
        """Of the whole batch, from everyone's vectors."""
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

    def cache(self, items: Sequence[Item]) -> Vectors:
        """Vectors of a batch, part by part, as leaves that gradients will gather in."""
        dense, tokens = leaves(self.model, self.parts(items), self.mixed)
        return Vectors(dense, tokens, tuple(item.num_tokens for item in items))

    def carry(self, items: Sequence[Item], cached: Vectors) -> None:
        """The gradients of the vectors into the adapter, part by part."""
        carry(self.model, self.parts(items), (cached.dense, cached.tokens), self.mixed)

    def parts(self, items: Sequence[Item]) -> Iterator[list[Item]]:
        """The batch in order, in parts of so many tokens."""
        return in_parts(items, self.recipe.part_tokens)

    def item(self, side: Side, prompt_name: str) -> Item:
        """What the model takes for one side of a pair."""
        value = side if isinstance(side, str) else Image(side)
        return prepare(
            self.header.processor,
            self.header.modalities,
            value,
            0,
            task=self.recipe.task,
            prompt_name=prompt_name,
            max_length=self.recipe.max_length,
            max_pixels=self.recipe.max_pixels,
        )

    def mixed(self) -> contextlib.AbstractContextManager[object]:
        """Products in bfloat16 where the frozen weights are; the adapter itself is float32."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.autocast else contextlib.nullcontext()

    def rate(self, step: int) -> float:
        """Warm-up, then a cosine to zero."""
        recipe = self.recipe
        return cosine_rate(recipe.learning_rate, step / recipe.steps, step, recipe.warmup_steps)

    def evaluate(self, source: Source | None) -> dict[str, float]:
        """How well the adapter as it stands does on held-out pairs."""
        if source is None:
            return {}
        queries = self.cache([self.item(pair.query, "query") for pair in source.pairs])
        documents = self.cache([self.item(pair.document, "passage") for pair in source.pairs])
        if source.graded:
            return rank_correlation(queries, documents, [float(pair.score or 0) for pair in source.pairs])
        return recall_at_1(queries, documents, [str(pair.document) for pair in source.pairs])


def _require_adapter(header: Header, task: str) -> None:
    tasks = header.processor.tasks
    if header.family.adapters is None:
        raise InputError(
            f"models of the family {header.family.name} have no adapters to fine-tune; jina-embeddings-v4 and nano have"
        )
    if task not in tasks:
        raise InputError(f"task must be one of {', '.join(tasks)}, got {task!r}")


def _unfreeze(model: Model, task: str) -> dict[str, nn.Parameter]:
    """One task's adapter, in float32 and learning; everything else stands still."""
    named = {}
    for name, parameter in model.named_parameters():
        learns = name.endswith((f"lora_a.{task}", f"lora_b.{task}"))
        parameter.requires_grad_(learns)
        if learns:
            parameter.data = parameter.data.float()
            named[name] = parameter
    return named


def _sides(vectors: Vectors, num_queries: int, num_documents: int) -> list[Vectors]:
    """Queries, documents and hard negatives, which were embedded together."""
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
    """A step's terms by name and their sum; where there are two batches, such as `late texts` and `late images`."""
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
