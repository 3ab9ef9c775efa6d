"""A training run on someone's pairs: from its last checkpoint to its end, or until time is up.

Gradients are cached (`caching`), and processes share each batch (`distributed`): the memory of a step is that of one
part of its batches, and of the inputs of a second part, which are prepared meanwhile.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import nn

from polylens.errors import InputError
from polylens.models.description import Header
from polylens.models.protocol import Item, Model, Processor
from polylens.runtime.prepare import prepare
from polylens.train.caching import CachedVectors, embed_cached, in_parts
from polylens.train.checkpointing import checkpoint_layers, wants_checkpointing
from polylens.train.distributed import add_gradients, any_of, processes
from polylens.train.lookahead import in_threads, one_ahead
from polylens.train.pairs import Batch, PairFile, Side
from polylens.train.progress import TrainingProgress
from polylens.train.run_logger import RunLogger
from polylens.train.run_metadata import fingerprints, is_finished, write_recipe
from polylens.train.settings import RunSettings
from polylens.train.state import load_state, save_state
from polylens.types import Image

LOG_EVERY = 10  # steps
MOST_THREADS = 8  # that prepare the inputs of a process; a GPU that embeds pages keeps about as many busy

SideInput = tuple[Side, str]
"""One side of a pair, and the name of its prompt."""


class PairRun(ABC):
    """A run's state in memory, and its steps. Each kind of run says what a step learns from, and by which loss.

    Args:
        settings: The recipe of the run.
        header: Of the checkpoint that it starts from.
        model: On the device of this process.
        processor: Of the model.
        named: The parameters that are trained, by name.
        optimiser: Of those parameters.
        autocast: Whether the model's products are computed in bfloat16 while its trained parameters are float32.
        task: The task whose adapter embeds; None for no adapter.
        max_pixels: Area to which an image is shrunk; None is the model's own.
    """

    def __init__(
        self,
        settings: RunSettings,
        header: Header,
        model: Model,
        processor: Processor,
        named: Mapping[str, nn.Parameter],
        optimiser: torch.optim.Optimizer,
        *,
        autocast: bool,
        task: str | None,
        max_pixels: int | None,
    ) -> None:
        state = processes()
        self.device, self.leads = state.device, state.is_main_process
        self.rank, self.num_ranks = state.process_index, state.num_processes
        self.settings, self.header = settings, header
        self.model, self.processor = model, processor
        self.named, self.optimiser = named, optimiser
        self.autocast, self.task, self.max_pixels = autocast, task, max_pixels
        self.num_threads = threads_for_inputs(self.device, self.num_ranks)
        network = cast("nn.Module", model)
        if wants_checkpointing(settings.gradient_checkpointing, network, self.device):
            checkpoint_layers(network)

    @abstractmethod
    def plan(self) -> Iterator[tuple[Batch, ...]]:
        """The batches of each step, from the first step of the run."""

    @abstractmethod
    def backward(self, drawn: Sequence[Batch]) -> dict[str, float]:
        """Adds the gradients of a step's batches to the weights; returns the losses by name, `total` among them."""

    @abstractmethod
    def learning_rate(self, step: int) -> float:
        """The learning rate of a step; steps count from 1."""

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Scores of the model on held-out pairs, by name; empty where the run has none."""

    @abstractmethod
    def save_model(self, folder: Path) -> None:
        """Writes the trained model as a checkpoint that `polylens.load` takes."""

    def run(
        self,
        folder: Path,
        sources: Sequence[PairFile],
        *,
        report: Callable[[TrainingProgress], None],
        max_seconds: float | None,
    ) -> bool:
        """Trains until the end, from the checkpoint in the folder if there is one; False where time ran out first.

        Args:
            folder: Of the run.
            sources: Everything that the run reads, for `recipe.json`.
            report: Called after each step.
            max_seconds: Stop after a checkpoint once this much time has passed.

        Raises:
            InputError: The folder holds another run.
        """
        if self.leads:
            folder.mkdir(parents=True, exist_ok=True)
            write_recipe(self.settings, folder, fingerprints(sources))
        start = load_state(folder / "checkpoint", self.named, [self.optimiser])
        with RunLogger(folder, start) if self.leads else contextlib.nullcontext() as logger:
            finished = self._take_steps(folder, start, logger, report, max_seconds)
        if finished and self.leads:
            self.save_model(folder / "model")
        processes().wait_for_everyone()  # what comes next may start from what one of them writes
        return finished

    def _take_steps(
        self,
        folder: Path,
        start: int,
        logger: RunLogger | None,
        report: Callable[[TrainingProgress], None],
        max_seconds: float | None,
    ) -> bool:
        """All steps after the first `start`, which are drawn and not taken; False where time ran out first."""
        began, total = time.monotonic(), self.settings.steps
        if logger and start == 0:
            logger.log(0, self.evaluate())
        for step, drawn in enumerate(self.plan(), start=1):
            if step <= start:
                continue
            tick = time.monotonic()
            losses = self.step(drawn, step)
            report(TrainingProgress(step, total, losses["total"], time.monotonic() - tick))
            checkpoint = step % self.settings.checkpoint_every == 0 or step == total
            if logger and (step % LOG_EVERY == 0 or checkpoint):
                rounded = {name: round(value, 6) for name, value in losses.items()}
                scores = self.evaluate() if checkpoint else {}
                logger.log(step, {**rounded, **scores}, source=", ".join(batch.source.path.name for batch in drawn))
            if checkpoint and self.leads:
                save_state(folder / "checkpoint", self.named, [self.optimiser], step)
            if checkpoint and max_seconds is not None and step < total:
                late = time.monotonic() - began > max_seconds
                if any_of(late):  # clocks differ, and one that stops alone leaves the others waiting
                    return False
        return True

    def step(self, drawn: Sequence[Batch], step: int) -> dict[str, float]:
        """One update of the weights; returns the losses by name, `total` among them, and the norm of the gradient.

        Raises:
            InputError: A part of a batch does not fit in the memory of the device.
        """
        self.optimiser.zero_grad(set_to_none=True)
        try:
            losses = self.backward(drawn)
        except torch.OutOfMemoryError as full:
            raise InputError(
                f"a part of {self.settings.part_tokens:,} tokens does not fit in the memory of {self.device}; "
                "choose fewer with --part-tokens, or checkpoint the layers with --gradient-checkpointing"
            ) from full
        parameters = list(self.named.values())
        add_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.settings.gradient_clip)
        self.update(step, usable=bool(torch.isfinite(norm)))
        return losses | {"gradient": float(norm)}

    def update(self, step: int, *, usable: bool) -> None:
        """Sets the learning rate, and moves the weights by their gradients where these are finite."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(step)
        if usable:
            self.optimiser.step()

    def item(self, side: Side, prompt_name: str) -> Item:
        """The model's input for one side of a pair."""
        return prepare(
            self.processor,
            self.header.modalities,
            side if isinstance(side, str) else Image(side),
            0,
            task=self.task,
            prompt_name=prompt_name,
            max_length=self.settings.max_length,
            max_pixels=self.max_pixels,
        )

    def parts(self, sides: Iterable[SideInput]) -> Iterator[list[Item]]:
        """Sides of pairs in order, in parts of at most `part_tokens` tokens.

        Each part is prepared in the background while the model computes the one before.
        """
        items = in_threads(lambda side: self.item(*side), sides, self.num_threads)
        return one_ahead(in_parts(items, self.settings.part_tokens))

    def embed(self, sides: Iterable[SideInput]) -> CachedVectors:
        """The vectors of sides of pairs."""
        return embed_cached(self.model, self.parts(sides), self.make_context)

    def make_context(self) -> contextlib.AbstractContextManager[object]:
        """The context in which the model computes: bfloat16 products, or nothing special."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.autocast else contextlib.nullcontext()


def threads_for_inputs(device: torch.device, num_ranks: int) -> int:
    """Returns how many threads prepare the inputs of a process.

    One where the model computes on the processor itself; for a GPU the process's share of the cores.

    Args:
        device: Where the model computes.
        num_ranks: Processes that train together; those of this machine, where `torchrun` says how many these are.
    """
    if device.type == "cpu":
        return 1
    sharing = int(os.environ.get("LOCAL_WORLD_SIZE", num_ranks))
    return max(1, min(MOST_THREADS, (os.cpu_count() or 1) // sharing))


def finished_before(settings: RunSettings, folder: Path, sources: Sequence[PairFile]) -> bool:
    """Whether the folder holds this run, finished, in the view of any process.

    Raises:
        InputError: It holds a finished run of another recipe, or on other data.
    """
    if not any_of(is_finished(folder, settings.steps)):
        return False
    write_recipe(settings, folder, fingerprints(sources))
    return True


def cosine_rate(peak: float, done: float, step: int, warmup_steps: int) -> float:
    """The learning rate of a step: a linear warm-up, and a cosine to zero.

    Args:
        peak: The highest rate.
        done: Share of the cosine that is completed, from 0 to 1.
        step: From 1; it decides the warm-up.
        warmup_steps: At least one.

    Example:
        >>> [round(cosine_rate(1.0, step / 10, step, 2), 2) for step in (1, 2, 5, 10)]
        [0.49, 0.9, 0.5, 0.0]
    """
    return peak * 0.5 * (1 + math.cos(math.pi * done)) * min(1.0, step / warmup_steps)
