"""The table of tokens as a model of its own, which is taught before the decoder's blocks are.

As long as the blocks add nothing, the decoder gives each token its row, scaled to one length by the last norm, and each
text the mean of them. Such a model costs a thousandth of the whole, so its table can see millions of pairs while
the blocks would see thousands: what words mean is learned first, and what sentences make of them afterwards.

Words are to weigh differently in that mean, although the last norm gives all rows one length. So the last number of a
row is kept for what the text should not get: the norm's gain is zero there, and a row that lies mostly in that
direction hardly counts. The rows begin with weights by frequency (Arora et al. 2017,
https://openreview.net/forum?id=SyK00v5xx) and learn their own. In a multi-vector, such a token is left with the
projector's bias, which every text has.

Shapes: V tokens of the vocabulary, W width, N texts, T tokens of all texts together, P pairs.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from polylens.atomic import write_beside
from polylens.errors import InputError
from polylens.lab.corpora.streams import PairDraws
from polylens.lab.nano.distillation.objective import distribution, divergence, partners
from polylens.lab.nano.distillation.plan import Distillation, TableLessons
from polylens.models.protocol import Processor
from polylens.train.losses import info_nce

_log = logging.getLogger(__name__)

_BETAS = (0.9, 0.98)
_BIAS = 0.3  # of the projector's bias, relative to the length of a row
_LOG_EVERY = 50  # steps


@dataclass(frozen=True, slots=True)
class Answered:
    """Texts whose targets are known."""

    texts: Sequence[str]
    wanted: Tensor
    """The targets, unit rows `[N, W]`."""


def text_vectors(rows: Tensor, ids: Tensor, starts: Tensor) -> Tensor:
    """The dense vectors of texts, as the decoder has them without its blocks: unit rows `[N, W - 1]`.

    Args:
        rows: The table, `[V, W]`.
        ids: The tokens of all texts, one text after the other, `[T]`.
        starts: The place of each text's first token, `[N]`.

    Example:
        >>> rows = torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 3.0, 4.0]])
        >>> text_vectors(rows, torch.tensor([0, 1, 2, 1]), torch.tensor([0, 2]))
        tensor([[1., 0.],
                [0., 1.]])
    """
    units = F.normalize(rows, dim=1)[:, :-1]
    return F.normalize(F.embedding_bag(ids, units, starts, mode="sum"), dim=1, eps=1e-6)


def weighted(rows: Tensor, shares: Tensor, rare: float) -> Tensor:
    """Rows of length 1 in which frequent tokens lie mostly in the last direction, `[V, W]`.

    Args:
        rows: What each token means, `[V, W]`; its last number is dropped.
        shares: The share of each token among all tokens of texts, `[V]`.
        rare: The share at which half is left.
    """
    weights = (rare / (rare + shares)).to(rows)[:, None]
    meant = F.normalize(rows[:, :-1], dim=1) * weights
    return torch.cat([meant, (1 - weights**2).clamp_min(0.0).sqrt()], dim=1)


@torch.no_grad()
def begin_decoder(named: dict[str, nn.Parameter], rows: Tensor, scale: float) -> None:
    """Writes a table into a decoder whose blocks add nothing yet, so that its vectors are those of the table.

    Args:
        named: The parameters of a model of jina-embeddings-v4's family, by their names in it.
        rows: The table, unit rows `[V, W]`.
        scale: The deviation that its numbers should have.
    """
    width = rows.shape[1]
    named["decoder.embed.weight"].copy_(rows * scale * width**0.5)
    named["decoder.norm.weight"][-1] = 0.0
    weight, bias = named["projector.weight"], named["projector.bias"]
    kept = len(bias) - 1  # the targets have their main directions first
    weight.zero_()
    weight[:kept, :kept] = torch.eye(kept).to(weight)
    bias.zero_()
    bias[kept] = _BIAS * width**0.5


class TableSchool:
    """Teaches a table: pairs prefer each other, and the texts that the teacher has answered become their targets.

    Args:
        plan: The steps.
        distillation: Its temperature and weight of the cosine, for the answered texts.
        pairs: Draws pairs.
        answered: Texts with targets.
        processor: Cuts texts into tokens, the prompts included.
        prompts: The names of the prompts.
    """

    def __init__(
        self,
        plan: TableLessons,
        distillation: Distillation,
        pairs: PairDraws,
        answered: Answered,
        processor: Processor,
        prompts: Sequence[str] = ("query", "passage"),
    ) -> None:
        self._plan, self._distillation, self._draw, self._answered = plan, distillation, pairs, answered
        self._processor, self._prompts = processor, prompts
        self.silent = torch.unique(torch.cat([torch.from_numpy(self._cut("", prompt)) for prompt in prompts]))
        """The tokens of the prompts, which say nothing."""

    def shares(self, size: int) -> Tensor:
        """The share of each token among those of the answered texts, `[V]`."""
        counts = np.ones(size)
        for text in self._answered.texts:
            np.add.at(counts, self._cut(text, self._prompts[0]), 1)
        return torch.from_numpy(counts / counts.sum()).float()

    def teach(self, rows: Tensor, path: Path, told: Callable[[int, float], None] = lambda _step, _loss: None) -> Tensor:
        """Teaches a table, or goes on where a file of it lies; returns its unit rows `[V, W]`.

        Args:
            rows: The table at the beginning; it is changed.
            path: The file, which is written every few steps and at the end.
            told: Called after each step with its number and loss.

        Raises:
            InputError: The file has a table of another size.
        """
        rows = F.normalize(self._silenced(rows), dim=1)
        state = {"rows": rows, "first": torch.zeros_like(rows), "second": torch.zeros_like(rows)}
        step = 0
        if path.exists():
            kept = load_file(path)
            step = int(kept.pop("step"))
            if kept["rows"].shape != rows.shape:
                raise InputError(
                    f"the table in {path} must be {list(rows.shape)}, as tokenizer and teacher of this run have it, "
                    f"got {list(kept['rows'].shape)}; delete the file to teach it anew"
                )
            state = {name: tensor.to(rows) for name, tensor in kept.items()}
        first, began = step, time.monotonic()
        while step < self._plan.steps:
            loss = self._step(state, step)
            step += 1
            told(step, loss)
            if step % _LOG_EVERY == 0:
                left = (self._plan.steps - step) * (time.monotonic() - began) / (step - first) / 60
                _log.info("table: step %d of %d, loss %.3f, %.0f minutes left", step, self._plan.steps, loss, left)
            if step % self._plan.checkpoint_every == 0 or step == self._plan.steps:
                with write_beside(path) as beside:
                    save_file({**{n: t.cpu() for n, t in state.items()}, "step": torch.tensor(step)}, beside)
        return state["rows"]

    def _step(self, state: dict[str, Tensor], step: int) -> float:
        """One step of Adam on the rows of the tokens that come in it (Kingma & Ba 2015, arXiv 1412.6980)."""
        plan, device = self._plan, state["rows"].device
        ids, starts, answered, same = self._batch(step)
        touched, places = torch.unique(ids, return_inverse=True)
        touched, places = touched.to(device), places.to(device)
        rows = state["rows"][touched].requires_grad_()
        vectors = text_vectors(rows, places, starts.to(device))
        loss = self._loss(vectors, self._answered.wanted[answered].to(rows), same.to(device))
        (gradient,) = torch.autograd.grad(loss, rows)
        falls = 0.5 * (1 + math.cos(math.pi * step / plan.steps))
        with torch.no_grad():
            first, second = state["first"][touched], state["second"][touched]
            first.lerp_(gradient, 1 - _BETAS[0])
            second.lerp_(gradient.square(), 1 - _BETAS[1])
            state["first"][touched], state["second"][touched] = first, second
            moved = rows.detach() - plan.learning_rate * falls * first / (second.sqrt() + 1e-9)
            state["rows"][touched] = F.normalize(moved, dim=1)
            self._silenced(state["rows"])
        return float(loss.detach())

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens and starts of a step's texts, the answered ones by number, and which pairs have the same English.

        The texts are the pairs' English sides, their other sides, and the answered texts.
        """
        rng, plan = random.Random(step), self._plan
        pairs = [self._draw(rng) for _ in range(plan.pairs_a_step)]
        answered = rng.choices(range(len(self._answered.texts)), k=plan.texts_a_step)
        said = [*(each.english for each in pairs), *(each.other for each in pairs)]
        said += [self._answered.texts[number] for number in answered]
        cut = [self._cut(text, self._prompts[0]) for text in said]
        starts = np.cumsum([0, *map(len, cut)])[:-1]
        numbers: dict[str, int] = {}
        english = torch.tensor([numbers.setdefault(each.english, len(numbers)) for each in pairs])
        same = (english[:, None] == english[None, :]).fill_diagonal_(False)
        return torch.from_numpy(np.concatenate(cut)), torch.from_numpy(starts), torch.tensor(answered), same

    def _loss(self, vectors: Tensor, wanted: Tensor, same: Tensor) -> Tensor:
        count, plan = len(same), self._distillation
        own = torch.arange(count, device=vectors.device)
        scores = vectors[:count] @ vectors[count : 2 * count].T
        paired = [info_nce(each, own, same, self._plan.temperature) for each in (scores, scores.T)]
        found, wanted = vectors[2 * count :], F.normalize(wanted[:, :-1], dim=1)
        should = distribution(wanted @ wanted.T, partners(len(wanted), 0, wanted.device), plan)
        apart = divergence(found @ found.T / plan.temperature, should)
        cosine = (1 - (found * wanted).sum(dim=1)).mean()
        return (paired[0] + paired[1]) / 2 + plan.cosine_weight * cosine + apart

    def _silenced(self, rows: Tensor) -> Tensor:
        """The table with the prompts' tokens in the last direction alone."""
        rows[self.silent.to(rows.device)] = torch.eye(rows.shape[1])[-1].to(rows)
        return rows

    def _cut(self, text: str, prompt: str) -> np.ndarray:
        item = self._processor.text(text, task=None, prompt_name=prompt, max_length=self._plan.longest)
        return item.token_ids
