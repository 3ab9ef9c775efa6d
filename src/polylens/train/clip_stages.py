"""Training a model of jina-clip-v2's family in its stages.

Each part of the recipe is a run in a folder of its own, so an interrupted training resumes where it was: finished parts
are not run again. Both towers are trained whole, in float32 with products in bfloat16 where the device has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from polylens.checkpoints.export import save_checkpoint
from polylens.checkpoints.fetch import resolve
from polylens.checkpoints.loading import load_model, read_header, read_scalars
from polylens.errors import InputError
from polylens.models.description import Header
from polylens.models.jina_clip_v2.family import FAMILY
from polylens.models.jina_clip_v2.model import JinaClip
from polylens.models.jina_clip_v2.processing import JinaClipProcessor
from polylens.models.jina_clip_v2.state_dict import LOGIT_SCALE
from polylens.models.protocol import Item
from polylens.nn.pooling import truncate
from polylens.runtime.devices import choose_dtype
from polylens.train.caching import backprop_cached, embed_cached
from polylens.train.clip_data import ClipData, read_data
from polylens.train.clip_loss import both_ways_nce, known_right
from polylens.train.clip_recipe import ClipPart, ClipRecipe
from polylens.train.distributed import gathered_rows, processes, slice_of
from polylens.train.held_out import found_first
from polylens.train.pair_run import PairRun, SideInput, cosine_rate, finished_before
from polylens.train.pairs import Batch, Pair, draw_batches
from polylens.train.progress import TrainingProgress

LARGEST_SCALE = math.log(100)
"""The upper bound of the logarithm that cosines are multiplied by, as in CLIP (arXiv 2103.00020, section 2.5)."""


def run_clip_stages(
    recipe: ClipRecipe, folder: Path, *, report: Callable[[TrainingProgress], None], max_seconds: float | None = None
) -> Path | None:
    """Runs all parts of a recipe, or resumes them.

    Args:
        recipe: The recipe.
        folder: The folder of the whole run; each part has its own in it, such as `1-short`, with `recipe.json`,
            `log.jsonl`, `tensorboard/`, `checkpoint/` and at the end `model/`, which `polylens.load` takes.
        report: Called after each step, with steps of the whole.
        max_seconds: Stop after a checkpoint once this much time has passed within a part.

    Returns:
        The folder of the finished model, that of the last part; None where time ran out first.

    Raises:
        InputError: The data cannot be used, the model lacks a tower, or a folder holds another run.
    """
    everything = [read_data(part) for part in recipe.parts]  # so that errors come before hours have passed
    _require_sizes(recipe)
    at, done = Path(recipe.parts[0].model), 0

    def tell(progress: TrainingProgress) -> None:
        report(replace(progress, step=done + progress.step, total=recipe.steps))

    for part, data in zip(recipe.parts, everything, strict=True):
        begun = part if part.model else replace(part, model=str(at))
        at = folder / part.name
        if not finished_before(begun, at, data.sources):
            run = ClipRun(begun, read_header(resolve(begun.model)), data)
            if not run.run(at, data.sources, report=tell, max_seconds=max_seconds):
                return None
        done, at = done + part.steps, at / "model"
    return at


def image_size_of(model: str) -> int:
    """The side of the pictures that a checkpoint takes, in pixels.

    Raises:
        InputError: The checkpoint is not of jina-clip-v2's family, or has no vision tower.
    """
    header = read_header(resolve(model))
    _require_two_towers(header, model)
    return header.config.vision.image_size


class ClipRun(PairRun):
    """A run of one part: both towers and the temperature of images are trained."""

    settings: ClipPart
    model: JinaClip
    processor: JinaClipProcessor

    def __init__(self, part: ClipPart, header: Header, data: ClipData) -> None:
        _require_two_towers(header, part.model)
        device = processes().device
        model, processor = _at_size(header, part.image_size, device)
        temperature = part.image_temperature
        begin = read_scalars(header)[LOGIT_SCALE] if temperature is None else -math.log(temperature)
        self.logit_scale = nn.Parameter(torch.tensor(begin, device=device))
        named = dict(model.named_parameters()) | {"logit_scale": self.logit_scale}
        super().__init__(
            part,
            header,
            model,
            processor,
            named,
            _optimiser(part, list(named.values())),
            autocast=choose_dtype(part.dtype, device) != torch.float32,
            task=None,
            max_pixels=None,
        )
        self.data = data
        self.instruction = processor.role("retrieval", "query")[1] if part.query_instruction else ""
        self.dims = [dim for dim in header.matryoshka_dims if dim >= part.narrowest * header.dim]

    def plan(self) -> Iterator[tuple[Batch, ...]]:
        """Two batches per step: text pairs of one source, and captions of one."""
        part = self.settings
        texts, captions = (
            draw_batches(sources, size=part.batch_size, steps=part.steps, seed=part.seed + i)
            for i, sources in enumerate((self.data.texts, self.data.captions))
        )
        return zip(texts, captions, strict=True)

    def learning_rate(self, step: int) -> float:
        """A warm-up, and a cosine to zero over the whole stage, of which this run may be the second half."""
        part = self.settings
        done = (part.steps_before + step - 1) / part.steps_of_stage  # so that a stage of one step learns too
        return cosine_rate(part.learning_rate, done, step, part.warmup_steps)

    def backward(self, drawn: Sequence[Batch]) -> dict[str, float]:
        """Adds the gradients of both batches to the weights.

        Returns:
            The loss of either batch, their sum as `total`, and the temperature of images that they were computed with.
        """
        texts, captions = drawn
        temperature = float(self.logit_scale.detach().neg().exp())
        # One batch after the other: gradients add up in the weights, and only one batch's are in memory.
        losses = {
            "texts": self._backward(texts.pairs, self.instruction, lambda: self.settings.text_temperature),
            "captions": self._backward(captions.pairs, "", lambda: self.logit_scale.neg().exp()),
        }
        assert self.logit_scale.grad is not None
        self.logit_scale.grad /= self.num_ranks  # each process has all of it, since each has the loss of all
        return losses | {"total": sum(losses.values()), "temperature": temperature}

    def _backward(self, pairs: Sequence[Pair], instruction: str, temperature: Callable[[], float | Tensor]) -> float:
        """Adds the gradients of one batch to the weights; returns its loss, summed over the Matryoshka widths.

        Matryoshka: Kusupati et al. 2022, arXiv 2205.13147; a sum as in the paper.
        """
        mine = [pairs[index] for index in slice_of(len(pairs), self.rank, self.num_ranks)]
        negatives = [each for pair in mine for each in pair.negatives]

        def parts() -> Iterator[list[Item]]:  # made twice: the pictures of a batch of thousands do not fit in memory
            queries = ((pair.query, instruction) for pair in mine)
            documents = ((side, "") for side in (*(pair.document for pair in mine), *negatives))
            return self.parts(chain(queries, documents))

        cached = embed_cached(self.model, parts(), self.make_context)
        [vectors] = cached.leaves
        rows = torch.split(vectors, [len(mine), len(mine), len(negatives)])
        queries, *documents = (gathered_rows(each) for each in rows)
        right = known_right(pairs).to(self.device)
        total = 0.0
        for dim in self.dims:  # each goes back at once: the scores of one width are in memory, not those of all
            sides = truncate(queries, dim), truncate(torch.cat(documents), dim)
            loss = both_ways_nce(*sides, right, temperature())
            loss.backward()  # type: ignore[no-untyped-call]  # torch declares no types for it
            total += float(loss.detach())
        backprop_cached(self.model, parts(), cached, self.make_context)
        return total

    def update(self, step: int, *, usable: bool) -> None:
        """As for any run; then brings the temperature of images back within its bounds."""
        super().update(step, usable=usable)
        with torch.no_grad():
            self.logit_scale.clamp_(0.0, LARGEST_SCALE)

    def evaluate(self) -> dict[str, float]:
        """Recall@1 on held-out pairs: documents from texts, images from captions, and captions from images."""
        if self.data.held_out is None:
            return {}
        recalls = {}
        for name, kind, instruction in (("texts", str, self.instruction), ("captions", Path, "")):
            pairs = [pair for pair in self.data.held_out.pairs if isinstance(pair.document, kind)]
            if not pairs:
                continue
            queries = self._vectors((pair.query, instruction) for pair in pairs)
            documents = self._vectors((pair.document, "") for pair in pairs)
            keys = [str(pair.document) for pair in pairs]
            recalls[f"recall@1 {name}"] = found_first(queries @ documents.T, keys)
            if kind is Path:
                recalls["recall@1 images"] = found_first(documents @ queries.T, keys)
        return recalls

    def _vectors(self, sides: Iterable[SideInput]) -> Tensor:
        """The dense vectors of sides of pairs, `[N, dim]`."""
        [vectors] = self.embed(sides).leaves
        return vectors.detach()

    def save_model(self, folder: Path) -> None:
        """Writes the model in its official layout."""
        model = self.model.to(choose_dtype(self.settings.saved_dtype, self.device))
        scale = {LOGIT_SCALE: float(self.logit_scale.detach())}
        save_checkpoint(folder, self.header.family, model, self.processor, scale)


def _at_size(header: Header, image_size: int, device: torch.device) -> tuple[JinaClip, JinaClipProcessor]:
    """Model and processor for pictures of that size; all weights are float32 and trained."""
    model = cast("JinaClip", load_model(header, device=device, dtype=torch.float32))
    model.resize(image_size)
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()  # it may be a view of the file that it was read from
    return model.requires_grad_(True), cast("JinaClipProcessor", header.processor).resized(image_size)


def _optimiser(part: ClipPart, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW; as in open_clip, only matrices decay."""
    groups = [
        {"params": [each for each in parameters if each.ndim >= 2], "weight_decay": part.weight_decay},
        {"params": [each for each in parameters if each.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=part.learning_rate, betas=part.betas, eps=part.epsilon)


def _require_two_towers(header: Header, model: str) -> None:
    """Refuses a checkpoint that these stages cannot train: one of another family, or without a vision tower."""
    if header.family is not FAMILY or "image" not in header.modalities:
        takes = " and ".join(f"{modality}s" for modality in header.modalities)
        raise InputError(
            f"the stages of jina-clip-v2 train a model of the family {FAMILY.name} with two towers, for texts and "
            f"images; {model} is of the family {header.family.name} and takes {takes}"
        )


def _require_sizes(recipe: ClipRecipe) -> None:
    model = recipe.parts[0].model
    header = read_header(resolve(model))
    _require_two_towers(header, model)
    patch_size = header.config.vision.patch_size
    smallest = min(part.image_size for part in recipe.parts)
    if smallest < patch_size:
        raise InputError(
            f"image_size must leave the smallest pictures, 224/512 of it, a patch of {patch_size} pixels; "
            f"got {recipe.parts[-1].image_size}, which makes them {smallest}"
        )
