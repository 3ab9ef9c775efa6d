"""What a run needs of its teacher: lessons, targets, texts for the tokenizer, and a beginning for the token table."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from polylens.atomic import write_beside
from polylens.errors import InputError
from polylens.lab.nano.distillation.lesson_batches import LessonBatches, texts_of
from polylens.lab.nano.distillation.plan import Lessons
from polylens.lab.nano.distillation.targets import Targets, compute_targets, load_targets, save_targets
from polylens.lab.nano.distillation.taught import num_shards, shard, teach
from polylens.lab.nano.schedule import Recipe
from polylens.lab.teacher.teacher import Teacher, load_teacher
from polylens.models.protocol import Processor
from polylens.types import FloatArray

_log = logging.getLogger(__name__)

_SHARDS_TO_READ = 16  # from which the tokenizer learns
_TABLE_SCALE = 0.5
"""The deviation of the first numbers of the table, as that of `spelling_embeddings`."""


class Schooling:
    """Lessons on disk, and what follows from them. What is missing is made, and kept in the run's folder.

    Args:
        plan: The lessons.
        lessons: Their folder; the teacher is asked for what it lacks.
        run: The run's folder.
        teacher: The teacher; None is the one that an installed package has, loaded once it is needed.

    Raises:
        InputError: The folder has other lessons, or a source of texts is not installed.
        ModelNotFoundError: The teacher is not installed.
    """

    def __init__(self, plan: Lessons, lessons: Path, run: Path, teacher: Teacher | None = None) -> None:
        self._lessons, self._run, self._teacher = lessons, run, teacher
        if num_shards(lessons) < plan.shards:
            teach(plan, lessons, self._loaded(), lambda done, of: _log.info("%d of %d lessons are written", done, of))
        path = run / "targets.safetensors"
        if not path.exists():
            save_targets(compute_targets(lessons), path)
        self.targets: Targets = load_targets(path)

    def texts(self) -> list[str]:
        """Texts of the first lessons."""
        return [
            text
            for number in range(min(num_shards(self._lessons), _SHARDS_TO_READ))
            for text in texts_of(shard(self._lessons, number))
        ]

    def batches(self, recipe: Recipe, processor: Processor) -> LessonBatches:
        """The batches of lessons that a recipe trains on.

        Raises:
            InputError: Its vectors are not as wide as the teacher's.
        """
        assert recipe.distillation is not None
        width, wanted = recipe.model.decoder.width, len(self.targets.mean)
        if width != wanted:
            raise InputError(f"the decoder of {recipe.name} must be as wide as its teacher, {wanted}, got {width}")
        return LessonBatches(self._lessons, recipe.distillation, processor, self.targets)

    @torch.no_grad()
    def begin_table(self, table: Tensor, tokenizer: Tokenizer) -> None:
        """Writes into the token table what each token means by itself: the target of its letters as a text.

        The marks and lone bytes keep what they have.

        Args:
            table: `[tokens, W]`.
            tokenizer: Its vocabulary.
        """
        path = self._run / "table.safetensors"
        tokens, spelled = spellings(tokenizer)
        if not path.exists():
            made = self.targets(self._loaded().dense(spelled, "query"))
            with write_beside(path) as beside:
                save_file({"rows": made}, beside)
        rows: FloatArray = load_file(path)["rows"]
        scaled = torch.from_numpy(rows) * (_TABLE_SCALE / float(rows.std()))
        table[tokens] = scaled.to(table)

    def _loaded(self) -> Teacher:
        if self._teacher is None:
            self._teacher = load_teacher()
        return self._teacher


def spellings(tokenizer: Tokenizer) -> tuple[list[int], list[str]]:
    """The tokens that have letters of their own, and the letters of each without the space before them."""
    marks = tokenizer.get_added_tokens_decoder()
    spelled = {
        token: tokenizer.decode([token], skip_special_tokens=False)
        for token in range(tokenizer.get_vocab_size())
        if token not in marks
    }
    known = {token: text.strip() for token, text in spelled.items() if "\ufffd" not in text and text.strip()}
    return list(known), list(known.values())
