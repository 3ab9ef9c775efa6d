"""Training a model of jina-clip-v2's family in its stages.

Each part of the recipe is a run in a folder of its own, so an interrupted whole goes on where it was: parts that are
through are not made again. Both towers learn whole, in float32 with products in bfloat16 where the device has them.
Gradients are cached (`caching`), processes share a batch (`distributed`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from polylens.checkpoints.export import save_checkpoint
from polylens.checkpoints.fetch import resolve
from polylens.checkpoints.loading import load_model, read_header, read_scalars
from polylens.errors import InputError
from polylens.models.description import Header
from polylens.models.jina_clip_v2.model import JinaClip
from polylens.models.jina_clip_v2.processing import JinaClipProcessor
from polylens.models.jina_clip_v2.state_dict import LOGIT_SCALE
from polylens.models.protocol import Item
from polylens.nn.pooling import truncate
from polylens.runtime.devices import choose_dtype
from polylens.runtime.prepare import prepare
from polylens.train.caching import carry, in_parts, leaves
from polylens.train.clip_loss import both_ways_nce, known_right
from polylens.train.clip_recipe import ClipPart, ClipRecipe
from polylens.train.distributed import add_gradients, any_of, gathered_rows, processes, slice_of
from polylens.train.held_out import found_first
from polylens.train.journal import Journal
from polylens.train.pairs import Batch, Pair, Side, Source, batches, read_source
from polylens.train.progress import Progress
from polylens.train.record import data_of, is_finished, write_recipe
from polylens.train.state import load_state, save_state
from polylens.train.steps import Steps, cosine_rate
from polylens.types import Image

LARGEST_SCALE = math.log(100)
"""Of the logarithm that cosines are multiplied by; CLIP clips it there (arXiv 2103.00020, section 2.5)."""


@dataclass(frozen=True, slots=True)
class Data:
    """What a part reads."""

    texts: tuple[Source, ...]
    captions: tuple[Source, ...]
    """Each pair a caption and its image, in this order."""
    held_out: Source | None

    @property
    def sources(self) -> tuple[Source, ...]:
        """All of it."""
        return (*self.texts, *self.captions, *([] if self.held_out is None else [self.held_out]))


def run_clip_stages(
    recipe: ClipRecipe, folder: Path, *, report: Callable[[Progress], None], max_seconds: float | None = None
) -> Path | None:
    """Runs all parts of a recipe, or goes on with them.

    Args:
        recipe: What to do.
        folder: Of the whole run; each part has one in it, such as `1-short`, with `recipe.json`, `log.jsonl`,
            `tensorboard/`, `checkpoint/` and at the end `model/`, which `polylens.load` takes.
        report: Called after each step, with steps of the whole.
        max_seconds: Stop after a checkpoint once this much time has passed within a part.

    Returns:
        The folder of the finished model, that of the last part; None where time ran out first.

    Raises:
        InputError: The data cannot be used, the model has not both towers, or a folder holds another run.
    """
    everything = [read_data(part) for part in recipe.parts]  # what is wrong is said before hours have passed
    _require_sizes(recipe)
    at, done = Path(recipe.parts[0].model), 0

    def tell(progress: Progress) -> None:
        report(replace(progress, step=done + progress.step, total=recipe.steps))

    for part, data in zip(recipe.parts, everything, strict=True):
        begun = part if part.model else replace(part, model=str(at))
        at = folder / part.name
        if any_of(is_finished(at, part.steps)):
            write_recipe(begun, at, data_of(data.sources))  # or the refusal of another one
        elif not _run_part(begun, data, at, tell, max_seconds):
            return None
        done, at = done + part.steps, at / "model"
    return at


def _run_part(
    part: ClipPart, data: Data, folder: Path, report: Callable[[Progress], None], max_seconds: float | None
) -> bool:
    """Runs one part, or goes on with it where a checkpoint lies in the folder; False where time ran out first."""
    run = _Run(part, read_header(resolve(part.model)), data)
    if run.leads:
        folder.mkdir(parents=True, exist_ok=True)
        write_recipe(part, folder, data_of(data.sources))
    start = load_state(folder / "checkpoint", run.named, [run.optimiser])
    with Journal(folder, start) if run.leads else contextlib.nullcontext() as journal:
        finished = run.go(folder, start, journal, report, max_seconds)
    if finished and run.leads:
        run.save_model(folder / "model")
    processes().wait_for_everyone()  # the next part starts from what one of them writes
    return finished


def image_size_of(model: str) -> int:
    """Pixels a side of the pictures that a checkpoint takes.

    Raises:
        InputError: It is not of jina-clip-v2's family, or has no vision tower.
    """
    processor = read_header(resolve(model)).processor
    if not isinstance(processor, JinaClipProcessor) or processor.image_config is None:
        raise InputError(f"the stages of jina-clip-v2 train a model with two towers; {model} is none")
    return processor.image_config.size


def read_data(part: ClipPart) -> Data:
    """Reads what a part learns from.

    Raises:
        InputError: A file cannot be read, or holds other pairs than it should.
    """
    texts = tuple(_texts(read_source(Path(path)), part.hard_negatives) for path in part.texts)
    captions = tuple(_captions(read_source(Path(path))) for path in part.captions)
    if not texts or not captions:
        raise InputError(f"{part.name} needs files of text pairs and files of captions, both")
    if part.evaluation is None:
        return Data(texts, captions, None)
    held_out = read_source(Path(part.evaluation))
    pairs = tuple(_text_first(pair, f"{held_out.path}: pair {i}") for i, pair in enumerate(held_out.pairs, start=1))
    return Data(texts, captions, replace(held_out, pairs=pairs))


class _Run:
    """What a run holds in memory."""

    def __init__(self, part: ClipPart, header: Header, data: Data) -> None:
        self.part, self.header, self.data = part, header, data
        state = processes()
        self.device, self.leads = state.device, state.is_main_process
        self.rank, self.num_ranks = state.process_index, state.num_processes
        self.autocast = choose_dtype(part.dtype, self.device) != torch.float32
        self.model, self.processor = _at_size(header, part.image_size, self.device)
        self.instruction = self.processor.role("retrieval", "query")[1] if part.query_instruction else ""
        self.dims = [dim for dim in header.matryoshka_dims if dim >= part.narrowest * header.dim]
        begin = (
            read_scalars(header)[LOGIT_SCALE] if part.image_temperature is None else -math.log(part.image_temperature)
        )
        self.logit_scale = nn.Parameter(torch.tensor(begin, device=self.device))
        self.named = dict(self.model.named_parameters()) | {"logit_scale": self.logit_scale}
        self.optimiser = _optimiser(part, list(self.named.values()))

    def go(
        self,
        folder: Path,
        start: int,
        journal: Journal | None,
        report: Callable[[Progress], None],
        max_seconds: float | None,
    ) -> bool:
        """Steps until the end, or until time is up after a checkpoint."""
        steps: Steps[tuple[Batch, Batch]] = Steps(
            total=self.part.steps,
            checkpoint_every=self.part.checkpoint_every,
            take=self.step,
            sources=lambda drawn: ", ".join(batch.source.path.name for batch in drawn),
            evaluate=self.evaluate,
            save=lambda step: self.save(folder, step),
        )
        return steps.go(self.plan(), start, journal=journal, report=report, max_seconds=max_seconds)

    def plan(self) -> Iterator[tuple[Batch, Batch]]:
        """What each step takes: text pairs of one source, and captions of one."""
        part = self.part
        texts, captions = (
            batches(sources, size=part.batch_size, steps=part.steps, seed=part.seed + i)
            for i, sources in enumerate((self.data.texts, self.data.captions))
        )
        return zip(texts, captions, strict=True)

    def step(self, drawn: tuple[Batch, Batch], step: int) -> dict[str, float]:
        """One update of both towers; the loss of either batch, their sum, and the temperature of images before it."""
        texts, captions = drawn
        self.optimiser.zero_grad(set_to_none=True)
        temperature = float(self.logit_scale.detach().neg().exp())
        # One batch after the other: gradients add up in the weights, and only one batch's are in memory.
        losses = {
            "texts": self.backward(texts.pairs, self.instruction, lambda: self.part.text_temperature),
            "captions": self.backward(captions.pairs, "", lambda: self.logit_scale.neg().exp()),
        }
        assert self.logit_scale.grad is not None
        self.logit_scale.grad /= self.num_ranks  # each process has all of it, since each has the loss of all
        parameters = list(self.named.values())
        add_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.part.gradient_clip)
        self.update(step, usable=bool(torch.isfinite(norm)))
        total = sum(losses.values())
        return losses | {"total": total, "temperature": temperature, "gradient": float(norm)}

    def backward(self, pairs: Sequence[Pair], instruction: str, temperature: Callable[[], float | Tensor]) -> float:
        """Adds the gradient of one batch to the weights'; its loss, summed over the widths.

        Matryoshka: Kusupati et al. 2022, arXiv 2205.13147; a sum as in the paper.
        """
        mine = [pairs[index] for index in slice_of(len(pairs), self.rank, self.num_ranks)]
        negatives = [each for pair in mine for each in pair.negatives]

        def parts() -> Iterator[list[Item]]:  # made twice: pictures of a batch of thousands do not fit in memory
            queries = ((pair.query, instruction) for pair in mine)
            documents = ((side, "") for side in (*(pair.document for pair in mine), *negatives))
            return self.parts(chain(queries, documents))

        [vectors] = leaves(self.model, parts(), self.mixed)
        found = torch.split(vectors, [len(mine), len(mine), len(negatives)])
        queries, *documents = (gathered_rows(rows) for rows in found)
        right = known_right(pairs).to(self.device)
        total = 0.0
        for dim in self.dims:  # each goes back at once: the scores of one width are in memory, not those of all
            sides = truncate(queries, dim), truncate(torch.cat(documents), dim)
            loss = both_ways_nce(*sides, right, temperature())
            loss.backward()  # type: ignore[no-untyped-call]  # torch declares no types for it
            total += float(loss.detach())
        carry(self.model, parts(), (vectors,), self.mixed)
        return total

    def update(self, step: int, *, usable: bool) -> None:
        """Moves the weights by their gradients, unless these are no numbers."""
        part = self.part
        done = (part.steps_before + step - 1) / part.steps_of_stage  # so that a stage of one step learns too
        rate = cosine_rate(part.learning_rate, done, step, part.warmup_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        if usable:
            self.optimiser.step()
        with torch.no_grad():
            self.logit_scale.clamp_(0.0, LARGEST_SCALE)

    def parts(self, sides: Iterable[tuple[Side, str]]) -> Iterator[list[Item]]:
        """Sides of pairs, each with its instruction, in parts of so many tokens."""
        return in_parts((self.item(*side) for side in sides), self.part.part_tokens)

    def item(self, side: Side, instruction: str) -> Item:
        """What the model takes for one side of a pair."""
        return prepare(
            self.processor,
            self.header.modalities,
            side if isinstance(side, str) else Image(side),
            0,
            task=None,
            prompt_name=instruction,
            max_length=self.part.max_length,
            max_pixels=None,
        )

    def mixed(self) -> contextlib.AbstractContextManager[object]:
        """Products in bfloat16 where the device has them; the weights are float32."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.autocast else contextlib.nullcontext()

    def evaluate(self) -> dict[str, float]:
        """How often a held-out pair finds its other side first: texts, captions, and images from their captions."""
        if self.data.held_out is None:
            return {}
        found = {}
        for name, kind, instruction in (("texts", str, self.instruction), ("captions", Path, "")):
            pairs = [pair for pair in self.data.held_out.pairs if isinstance(pair.document, kind)]
            if not pairs:
                continue
            queries = self.vectors((pair.query, instruction) for pair in pairs)
            documents = self.vectors((pair.document, "") for pair in pairs)
            keys = [str(pair.document) for pair in pairs]
            found[f"recall@1 {name}"] = found_first(queries @ documents.T, keys)
            if kind is Path:
                found["recall@1 images"] = found_first(documents @ queries.T, keys)
        return found

    def vectors(self, sides: Iterable[tuple[Side, str]]) -> Tensor:
        """Of sides of pairs, each with its instruction, `[N, dim]`."""
        [found] = leaves(self.model, self.parts(sides), self.mixed)
        return found.detach()

    def save(self, folder: Path, step: int) -> None:
        """A checkpoint, by one process for all."""
        if self.leads:
            save_state(folder / "checkpoint", self.named, [self.optimiser], step)

    def save_model(self, folder: Path) -> None:
        """The model in its official layout."""
        model = self.model.to(choose_dtype(self.part.saved_dtype, self.device))
        scale = {LOGIT_SCALE: float(self.logit_scale.detach())}
        save_checkpoint(folder, self.header.family, model, self.processor, scale)


def _at_size(header: Header, image_size: int, device: torch.device) -> tuple[JinaClip, JinaClipProcessor]:
    """Model and processor for pictures of that size, all of its weights in float32 and learning."""
    model = load_model(header, device=device, dtype=torch.float32)
    assert isinstance(model, JinaClip) and isinstance(header.processor, JinaClipProcessor)
    model.resize(image_size)
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()  # it may be a view of the file that it was read from
    return model.requires_grad_(True), header.processor.resized(image_size)


def _optimiser(part: ClipPart, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW; as in open_clip only matrices decay."""
    groups = [
        {"params": [each for each in parameters if each.ndim >= 2], "weight_decay": part.weight_decay},
        {"params": [each for each in parameters if each.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=part.learning_rate, betas=part.betas, eps=part.epsilon)


def _require_sizes(recipe: ClipRecipe) -> None:
    model = recipe.parts[0].model
    image_size_of(model)  # or its refusal
    vision = read_header(resolve(model)).config.vision
    assert vision is not None
    smallest = min(part.image_size for part in recipe.parts)
    if smallest < vision.patch_size:
        raise InputError(
            f"image_size must leave a patch of {vision.patch_size} pixels to the smallest pictures, which are 224/512 "
            f"of it; got {recipe.parts[-1].image_size}, which makes them {smallest}"
        )


def _texts(source: Source, hard_negatives: int) -> Source:
    """A file of text pairs; those with hard negatives keep as many of them as are wanted."""
    if source.graded:
        raise InputError(f"{source.path} has pairs with scores; the stages take pairs that simply belong together")
    if source.has_images:
        raise InputError(f"{source.path} has images among its texts; pairs with images are captions, in a file apart")
    bare = next((i for i, pair in enumerate(source.pairs, start=1) if not pair.negatives), None)
    if hard_negatives and bare is not None:
        raise InputError(
            f"{source.path}: pair {bare} has no negatives, a triplet needs at least one; `polylens mine` finds them"
        )
    pairs = tuple(replace(pair, negatives=pair.negatives[:hard_negatives]) for pair in source.pairs)
    return replace(source, pairs=pairs)


def _captions(source: Source) -> Source:
    """A file of captions and their images, in whichever order, to the same with the captions first."""
    if source.graded:
        raise InputError(f"{source.path} has pairs with scores; the stages take pairs that simply belong together")
    pairs = []
    for i, pair in enumerate(source.pairs, start=1):
        turned = _text_first(pair, f"{source.path}: pair {i}")
        if isinstance(turned.document, str):
            raise InputError(f"{source.path}: pair {i} has no image; a caption is paired with one")
        if pair.negatives:
            raise InputError(f"{source.path}: pair {i} has negatives; captions are told from those of their batch only")
        pairs.append(turned)
    return replace(source, pairs=tuple(pairs))


def _text_first(pair: Pair, where: str) -> Pair:
    if isinstance(pair.query, str):
        return pair
    if isinstance(pair.document, str):
        return replace(pair, query=pair.document, document=pair.query)
    raise InputError(f"{where} has an image on either side; one of them must be a text")
