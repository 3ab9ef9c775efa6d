"""The student: a model of jina-embeddings-v4's family with a vocabulary of its own, that learns from texts alone.

Shapes: N texts, V width of the teacher's vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from polylens.lab.nano.distillation.plan import StudentPlan
from polylens.lab.nano.initial_weights import initialise
from polylens.lab.nano.kits.table import kit_of
from polylens.lab.nano.nano_recipe import nano
from polylens.lab.teacher.file import TeacherFile
from polylens.lab.teacher.tokenizer import TeacherTokenizer
from polylens.models.protocol import Item
from polylens.runtime.batching import batches, token_budget
from polylens.runtime.devices import mixed_precision
from polylens.runtime.engines.torch import TorchEngine
from polylens.runtime.similarity import similarity
from polylens.types import Embedding, FloatArray

_TABLE_SCALE = 0.5
"""The deviation of the first numbers of the table, as that of `spelling_embeddings`."""


class Student:
    """The student, which benchmarks can ask as they ask a model.

    Args:
        plan: Its sizes.
        tokenizer: Its vocabulary.
    """

    tasks = ()

    def __init__(self, plan: StudentPlan, tokenizer: Tokenizer) -> None:
        self.plan = plan
        recipe = replace(nano(), model=plan.model)
        kit = kit_of(recipe)
        self.processor = kit.make_processor(recipe, tokenizer)
        self.trainee = kit.make_trainee(recipe)
        self.multivector_dim = plan.model.multivector_dim

    def item(self, text: str, prompt_name: str) -> Item:
        """The model's input for a text."""
        return self.processor.text(text, task=None, prompt_name=prompt_name, max_length=self.plan.longest)

    @torch.inference_mode()
    def embed(
        self,
        inputs: Sequence[Any],
        *,
        task: str | None = None,  # noqa: ARG002  # adapters are not trained here
        prompt_name: str | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Embedding]:
        """Embeds texts; see `Embedder.embed`."""
        items = [self.item(text, prompt_name or "query") for text in inputs]
        found: dict[int, Embedding] = {}
        engine = TorchEngine(self.trainee.model)
        device = self.trainee.reader.weight.device
        for batch in batches([item.num_tokens for item in items], max_items=None, token_budget=token_budget(device)):
            with mixed_precision(device):
                rows = [rows[0] for rows in engine.run([items[index] for index in batch])]
            found.update(zip(batch, rows, strict=True))
            progress(len(batch))
        return [found[index] for index in range(len(items))]

    def similarity(self, queries: Any, documents: Any) -> FloatArray:
        """Scores queries against documents, as `Embedder.similarity` does."""
        return similarity(queries, documents)


def initialise_student(student: Student, teacher: TeacherFile, tokenizer: Tokenizer) -> None:
    """Begins with random weights, and with what the teacher's table says of each token's pieces.

    A token's row is the mean of the teacher's rows of the pieces that it is cut into, without the mean of all, along
    their main directions where the student is narrower; the marks and lone bytes keep their random code.
    """
    initialise(student.trainee, student.plan.seed, tokenizer)
    width = teacher.sizes.width
    table = torch.from_numpy(teacher.tensors["emb.word"].reshape(-1, width)).float()
    marks = tokenizer.get_added_tokens_decoder()
    spelled = [tokenizer.decode([token], skip_special_tokens=False) for token in range(tokenizer.get_vocab_size())]
    known = [
        token for token, text in enumerate(spelled) if token not in marks and "\ufffd" not in text and text.strip()
    ]
    pieces = TeacherTokenizer(teacher.pieces)([spelled[token] for token in known])
    rows = torch.stack([table[ids].mean(dim=0) if ids else torch.zeros(width) for ids in pieces])
    rows = rows - rows.mean(dim=0)
    embed: Tensor = student.trainee.get_parameter("model.decoder.embed.weight")
    if embed.shape[1] < width:
        directions = torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)
        rows = rows @ directions[:, : embed.shape[1]]
    with torch.no_grad():
        embed[known, : rows.shape[1]] = rows * (_TABLE_SCALE / rows.std())


def trained_parameters(student: Student) -> dict[str, nn.Parameter]:
    """The parameters that texts can teach: all but the vision tower, the reading head and the adapters."""
    return {
        name: parameter
        for name, parameter in student.trainee.named_parameters()
        if not name.startswith(("model.vision", "reader")) and "lora" not in name
    }
