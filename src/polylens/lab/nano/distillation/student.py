"""A model under training as benchmarks ask one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from polylens.lab.benchmarks import meaning
from polylens.lab.benchmarks.texts import overall
from polylens.lab.nano.trainee import Trainee
from polylens.models.protocol import Item, Processor
from polylens.runtime.batching import batches, token_budget
from polylens.runtime.devices import mixed_precision
from polylens.runtime.engines.torch import TorchEngine
from polylens.runtime.similarity import similarity
from polylens.types import Embedding, FloatArray


class Student:
    """A model under training, with the interface by which benchmarks ask an `Embedder`.

    Args:
        trainee: The model.
        processor: Its processor.
        multivector_dim: Width of its multi-vectors.
    """

    tasks = ()

    def __init__(self, trainee: Trainee, processor: Processor, multivector_dim: int) -> None:
        self.trainee, self.processor, self.multivector_dim = trainee, processor, multivector_dim

    @torch.inference_mode()
    def embed(
        self,
        inputs: Sequence[Any],
        *,
        task: str | None = None,  # noqa: ARG002  # the model is asked without its adapters
        prompt_name: str | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Embedding]:
        """Embeds texts; see `Embedder.embed`."""
        role = prompt_name or "query"
        items = [self.processor.text(text, task=None, prompt_name=role, max_length=None) for text in inputs]
        found: dict[int, Embedding] = {}
        engine = TorchEngine(self.trainee.model)
        device = self.trainee.reader.weight.device
        for batch in batches([item.num_tokens for item in items], max_items=None, token_budget=token_budget(device)):
            chosen: list[Item] = [items[index] for index in batch]
            with mixed_precision(device):
                found.update(zip(batch, (rows[0] for rows in engine.run(chosen)), strict=True))
            progress(len(batch))
        return [found[index] for index in range(len(items))]

    def similarity(self, queries: Any, documents: Any) -> FloatArray:
        """Scores queries against documents, as `Embedder.similarity` does."""
        return similarity(queries, documents)


def recall_of_meaning(student: Student) -> dict[str, float]:
    """The recall@1 of `eval meaning` by kind of vectors: the mean of the languages, and each language's dense one."""
    results = meaning.run(student)
    means = {f"meaning {way}": overall(results, way).mean for way in ("multi-vector", "dense")}
    return means | {f"meaning {result.task}": result.mean("dense").mean for result in results}
