"""The model under training together with its reading head, for each family."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from polylens.checkpoints.export import save_checkpoint
from polylens.lab.nano.data.examples import AnyProcessor
from polylens.lab.nano.data.grounding import NUM_LETTERS, READING_POINTS
from polylens.lab.nano.schedule import Recipe
from polylens.lab.nano.tokenizer import CLIP_TOKENS, train_tokenizer
from polylens.models.jina_clip_v2 import processing as clip_processing
from polylens.models.jina_clip_v2.config import JinaClipConfig
from polylens.models.jina_clip_v2.family import FAMILY as JINA_CLIP_V2
from polylens.models.jina_clip_v2.model import JinaClip
from polylens.models.jina_clip_v2.processing import JinaClipProcessor
from polylens.models.jina_clip_v2.state_dict import LOGIT_SCALE
from polylens.models.jina_clip_v2.vision import VisionTower as JinaClipTower
from polylens.models.jina_v4 import processing as v4_processing
from polylens.models.jina_v4.config import JinaV4Config
from polylens.models.jina_v4.family import FAMILY as JINA_V4
from polylens.models.jina_v4.model import JinaV4
from polylens.models.jina_v4.processing import JinaV4Processor
from polylens.models.jina_v4.vision import VisionTower as JinaV4Tower
from polylens.models.protocol import Item, Outputs


class Trainee(nn.Module, ABC):
    """A model, and a head for training alone that reads letters from the vision tower's patches."""

    model: JinaV4 | JinaClip
    reader: nn.Linear

    @property
    def tower(self) -> JinaV4Tower | JinaClipTower:
        """The vision tower."""
        assert self.model.vision is not None
        return self.model.vision

    @property
    @abstractmethod
    def reading_module(self) -> nn.Module:
        """The module of the tower whose input the letters are read from."""

    @property
    def grounding_module(self) -> nn.Module:
        """The module of the tower whose input queries are grounded in."""
        return self.reading_module

    @property
    def reading_parts(self) -> Sequence[nn.Module | nn.Parameter]:
        """The parts of the tower that letters are read through; frozen in stages that do not train them."""
        return [self.tower.patch_embed, *self.tower.blocks]

    def rate_share(self, name: str) -> float:
        """The factor of a parameter's learning rate."""
        return 1.0 if self.is_matrix(name) else 0.3

    def finalize_reading(self, images: Sequence[Item]) -> None:
        """Prepares the tower for the later stages, once the stage that teaches reading has ended.

        Args:
            images: A sample of what it reads.
        """

    @abstractmethod
    def forward_vision(self, images: Sequence[Item]) -> None:
        """Runs the vision tower alone."""

    def is_matrix(self, name: str) -> bool:
        """Whether a parameter is a matrix between hidden states, as embeddings, heads and adapters are not."""
        outside = any(part in name for part in ("embed", "reader", "lora"))
        return self.get_parameter(name).ndim == 2 and not outside

    def freeze(self, *, reading: bool, task: str | None) -> None:
        """Freezes what a stage does not train, and unfreezes everything else.

        Args:
            reading: Whether to freeze `reading_parts`; the parts behind them are trained all the same.
            task: The only task whose adapter is trained, and nothing besides; None trains the model itself.
        """
        self.requires_grad_(task is None)
        for part in (*self.reading_parts, self.reader):
            part.requires_grad_(task is None and not reading)
        if task is not None:
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(name.endswith((f"lora_a.{task}", f"lora_b.{task}")))

    @abstractmethod
    def align_letters(self, rows: Tensor, letters: Tensor, images: Sequence[Item]) -> tuple[Tensor, Tensor]:
        """The rows that are patches, and the letters of each in the same order.

        Args:
            rows: The input of `reading_module`.
            letters: `ImageBatch.letters`.
            images: The images of the batch.
        """

    @abstractmethod
    def grounding_vectors(
        self, queries: Outputs, documents: Outputs, rows: Tensor, images: Sequence[Item]
    ) -> tuple[Tensor, Tensor]:
        """The two sides that grounding compares, as unit rows: query tokens or whole queries, and cells of images.

        Args:
            queries: The model's outputs for the queries.
            documents: The model's outputs for the images, and the texts after them.
            rows: The input of `grounding_module`.
            images: The images of the batch.
        """

    @abstractmethod
    def save(self, folder: Path, processor: AnyProcessor) -> None:
        """Writes the model in its family's layout."""


class V4Trainee(Trainee):
    """A model of jina-embeddings-v4's family under training."""

    def __init__(self, config: JinaV4Config) -> None:
        super().__init__()
        self.model: JinaV4 = JinaV4(config)
        self.reader = nn.Linear(config.vision.width, READING_POINTS * (NUM_LETTERS + 1))

    @property
    def reading_module(self) -> nn.Module:
        return self.model.vision.merger

    def forward_vision(self, images: Sequence[Item]) -> None:
        self.model.vision(torch.cat(_patches(images)), _grids(images))

    def align_letters(self, rows: Tensor, letters: Tensor, images: Sequence[Item]) -> tuple[Tensor, Tensor]:
        order, _ = self.model.vision.window_order(_grids(images))
        return rows, letters[self.model.vision.patches_of(order)]

    def grounding_vectors(
        self,
        queries: Outputs,
        documents: Outputs,
        rows: Tensor,  # noqa: ARG002  # for the other family
        images: Sequence[Item],
    ) -> tuple[Tensor, Tensor]:
        assert queries.multivector is not None and documents.multivector is not None
        image_token = self.model.config.image_token_id
        is_visual = torch.cat([torch.from_numpy(item.token_ids == image_token) for item in images])
        cells = documents.multivector[: len(is_visual)][is_visual.to(documents.multivector.device)]
        return queries.multivector, cells

    def save(self, folder: Path, processor: AnyProcessor) -> None:
        assert isinstance(processor, JinaV4Processor)
        save_checkpoint(folder, JINA_V4, self.model, processor)


class ClipTrainee(Trainee):
    """A model of jina-clip-v2's family under training.

    Its tower pools patches itself, so its last blocks have to do what nano's decoder does.

    Args:
        config: Sizes.
        temperature: Of the dense contrast; stored in the checkpoint.
        reading_blocks: The number of first blocks of the tower, from whose output letters are read; at least one more
            block follows.
    """

    def __init__(self, config: JinaClipConfig, temperature: float, reading_blocks: int) -> None:
        super().__init__()
        self.model: JinaClip = JinaClip(config, ("text", "image"))
        self.temperature = temperature
        self.reading_blocks = reading_blocks
        self.reader = nn.Linear(config.text.width, READING_POINTS * (NUM_LETTERS + 1))

    @property
    def reading_module(self) -> nn.Module:
        return self.tower.blocks[self.reading_blocks]

    @property
    def grounding_module(self) -> nn.Module:
        # The last block's class token sees the patches as they come into that block.
        return self.tower.blocks[-1]

    @property
    def reading_parts(self) -> Sequence[nn.Module | nn.Parameter]:
        first = (self.tower.get_parameter(name) for name in ("class_token", "positions"))
        return [*first, self.tower.patch_embed, *self.tower.blocks[: self.reading_blocks]]

    @torch.no_grad()
    def finalize_reading(self, images: Sequence[Item]) -> None:
        """Scales the output of the reading blocks to unit size, without changing its direction.

        At the learning rates of reading the residual stream grows to a size of 30. Beside it nothing that a fresh block
        adds survives the last norm, and every picture keeps one vector (docs/log.md, 2026-11-28). A block sees its
        input through a norm, so everything that is added to the stream may be scaled down together. The optimisers'
        state of these weights is left as it is: no later stage trains them.
        """
        with capture_inputs(self.reading_module) as rows:
            self.forward_vision(images)
        size = self._patch_rows(rows[0], len(images)).float().square().mean().sqrt()
        for name, parameter in self.tower.named_parameters():
            if name.startswith(("class_token", "positions", "patch_embed")) or ".out." in name or ".down." in name:
                parameter.div_(size)

    def rate_share(self, name: str) -> float:
        # Post-norm blocks that begin as the identity are soon mostly noise at the rates of the pre-norm tower, and all
        # texts become one; a token's own vector may learn fast (docs/log.md, 2026-11-25).
        if name.startswith("model.text.blocks"):
            return 0.1
        if name.startswith("model.text.embed.weight"):
            return 1.0
        return super().rate_share(name)

    def forward_vision(self, images: Sequence[Item]) -> None:
        self.tower(torch.stack(_patches(images)))

    def align_letters(self, rows: Tensor, letters: Tensor, images: Sequence[Item]) -> tuple[Tensor, Tensor]:
        return self._patch_rows(rows, len(images)), letters

    def grounding_vectors(
        self,
        queries: Outputs,
        documents: Outputs,  # noqa: ARG002  # for the other family
        rows: Tensor,
        images: Sequence[Item],
    ) -> tuple[Tensor, Tensor]:
        # Patches have no place in the common space when the model is used. They are taught one because a class token
        # is one attention away from them, and its own contrast tells little from a few pictures per step.
        norm = self.tower.get_submodule("norm")
        return queries.dense, F.normalize(norm(self._patch_rows(rows, len(images))).float(), dim=-1)

    @staticmethod
    def _patch_rows(rows: Tensor, num_images: int) -> Tensor:
        """The rows of patches, without those of the class tokens."""
        return rows.view(num_images, -1, rows.shape[1])[:, 1:].flatten(0, 1)

    def save(self, folder: Path, processor: AnyProcessor) -> None:
        assert isinstance(processor, JinaClipProcessor)
        scale = {LOGIT_SCALE: math.log(1 / self.temperature)}
        save_checkpoint(folder, JINA_CLIP_V2, self.model, processor, scale)


@contextlib.contextmanager
def capture_inputs(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the first input of every call of a module while the context lasts."""
    seen: list[Tensor] = []
    with module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0])):
        yield seen


def make_trainee(recipe: Recipe) -> Trainee:
    """The trainee of the recipe's family, with uninitialised weights."""
    if isinstance(recipe.model, JinaV4Config):
        return V4Trainee(recipe.model)
    return ClipTrainee(recipe.model, recipe.dense_temperature, recipe.reading_blocks)


def make_processor(recipe: Recipe, tokenizer: Tokenizer) -> AnyProcessor:
    """The processor of the recipe's family."""
    if isinstance(recipe.model, JinaV4Config):
        assert isinstance(recipe.images, v4_processing.ImageConfig)
        return JinaV4Processor(recipe.model, recipe.images, tokenizer)
    assert isinstance(recipe.images, clip_processing.ImageConfig)
    return JinaClipProcessor(recipe.model, recipe.images, tokenizer)


def make_tokenizer(recipe: Recipe) -> Tokenizer:
    """Trains the tokenizer of the recipe, with the special tokens of its family."""
    if isinstance(recipe.model, JinaV4Config):
        return train_tokenizer(vocab_size=recipe.model.decoder.vocab_size, seed=recipe.seed)
    return train_tokenizer(vocab_size=recipe.model.text.vocab_size, seed=recipe.seed, special=CLIP_TOKENS)


def _patches(images: Sequence[Item]) -> list[Tensor]:
    return [item.patches for item in images if item.patches is not None]


def _grids(images: Sequence[Item]) -> list[tuple[int, int]]:
    return [item.grid for item in images if item.grid is not None]
