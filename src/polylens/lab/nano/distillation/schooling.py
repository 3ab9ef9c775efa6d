"""What a run needs of its teacher: lessons, targets, texts for the tokenizer, and a beginning for the token table."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from polylens.atomic import write_beside
from polylens.errors import InputError
from polylens.lab.corpora.streams import PairDraws, TextDraws
from polylens.lab.nano.distillation.lesson_batches import LessonBatch, LessonBatches
from polylens.lab.nano.distillation.plan import Distillation, Lessons
from polylens.lab.nano.distillation.targets import Targets, compute_targets, load_targets, save_targets
from polylens.lab.nano.distillation.token_table import Answered, TableSchool, begin_decoder, weighted
from polylens.lab.nano.schedule import Recipe
from polylens.lab.nano.trainee import Trainee
from polylens.lab.teacher.teacher import Teacher, load_teacher
from polylens.models.protocol import Processor

_log = logging.getLogger(__name__)

MEASURED = "measured.safetensors"  # the teacher's vectors that the targets were computed from

_TABLE_SCALE = 0.5
"""The deviation of the first numbers of the table, as that of `spelling_embeddings`."""


class Schooling:
    """The sources of texts, the teacher, and what follows from them; what takes long is kept in the run's folder.

    Args:
        plan: The lessons.
        run: The run's folder.
        teacher: The teacher; None is the one that an installed package has.

    Raises:
        InputError: A source of texts is not installed.
        ModelNotFoundError: The teacher is not installed.
    """

    def __init__(self, plan: Lessons, run: Path, teacher: Teacher | None = None) -> None:
        self.plan, self._run = plan, run
        self.teacher = load_teacher() if teacher is None else teacher
        _log.info("reading the texts to teach with, which takes minutes")
        self._texts = TextDraws(plan.shares, plan.languages)
        self._pairs = PairDraws(plan.pair_shares, plan.languages)
        path = run / "targets.safetensors"
        if not path.exists() or not (plan.table is None or (run / MEASURED).exists()):
            save_targets(self._measured(), path)
        self._targets: Targets = load_targets(path).to(self.teacher.device)

    def texts(self) -> list[str]:
        """Texts that a tokenizer learns from."""
        return [text for text, _ in self._sample(self.plan.texts_to_read)]

    def wanted(self, batch: LessonBatch) -> Tensor:
        """What the dense vectors of a batch should be: unit rows `[N, W]` on the teacher's device."""
        _, vectors = self.teacher.encode(batch.teachers.ids, batch.teachers.lengths)
        return self._targets(F.normalize(vectors.float(), dim=-1))

    def dense(self, texts: list[str]) -> Tensor:
        """The targets of texts, unit rows `[N, W]`."""
        found = torch.from_numpy(self.teacher.dense(texts, self.plan.prompt_name))
        return self._targets(found.to(self.teacher.device)).cpu()

    def batches(self, recipe: Recipe, processor: Processor) -> LessonBatches:
        """The batches of lessons that a recipe trains on.

        Raises:
            InputError: Its vectors are not as wide as the teacher's.
        """
        assert recipe.distillation is not None
        width, wanted = recipe.model.decoder.width, len(self._targets.mean)
        if width != wanted:
            raise InputError(f"the decoder of {recipe.name} must be as wide as its teacher, {wanted}, got {width}")
        return LessonBatches(
            self._texts, self._pairs, recipe.distillation, processor, self.teacher, self.plan.prompt_name
        )

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
            with write_beside(path) as beside:
                save_file({"rows": self.dense(spelled)}, beside)
        rows = load_file(path)["rows"]
        table[tokens] = (rows * (_TABLE_SCALE / rows.std())).to(table)

    def begin(self, trainee: Trainee, processor: Processor, distillation: Distillation) -> None:
        """Writes the table, as `begin_table` does, and teaches it where the plan says so.

        Args:
            trainee: Its decoder's blocks add nothing yet.
            processor: Of the trainee.
            distillation: How the answers are learned.
        """
        table = trainee.get_parameter("model.decoder.embed.weight")
        self.begin_table(table, processor.tokenizer)
        plan = self.plan.table
        if plan is None:
            return
        texts = [text for text, _ in self._sample(self.plan.texts_to_measure)]
        vectors = load_file(self._run / MEASURED)["vectors"].to(self.teacher.device).float()
        school = TableSchool(plan, distillation, self._pairs, Answered(texts, self._targets(vectors)), processor)
        path = self._run / "taught_table.safetensors"
        rows = table.detach().clone()
        if not path.exists():
            rows = weighted(rows, school.shares(len(rows)), plan.rare)
        rows = school.teach(rows.to(self.teacher.device), path)
        begin_decoder(dict(trainee.model.named_parameters()), rows, _TABLE_SCALE)

    def _measured(self) -> Targets:
        said = self._sample(self.plan.texts_to_measure)
        texts, languages = [text for text, _ in said], [language for _, language in said]
        vectors = torch.from_numpy(self.teacher.dense(texts, self.plan.prompt_name))
        if self.plan.table is not None:
            with write_beside(self._run / MEASURED) as beside:
                save_file({"vectors": vectors.half()}, beside)
        return compute_targets(vectors, languages, texts)

    def _sample(self, count: int) -> list[tuple[str, str]]:
        """Texts, and both sides of half as many pairs, with the language of each."""
        rng = random.Random(0)
        alone = [self._texts(rng) for _ in range(count)]
        pairs = [self._pairs(rng) for _ in range(count // 2)]
        said = [(each.text, each.language) for each in alone]
        return said + [side for each in pairs for side in ((each.english, "en"), (each.other, each.language))]


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
