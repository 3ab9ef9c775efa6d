"""What is trained, and the weights it begins with."""

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

from polylens.checkpoints.export import save_checkpoint, save_clip_checkpoint
from polylens.lab.nano.data.examples import NUM_LETTERS, READING_POINTS, AnyProcessor
from polylens.lab.nano.schedule import Recipe
from polylens.lab.nano.tokenizer import CLIP_TOKENS, train_tokenizer
from polylens.models.jina_clip_v2 import processing as clip_processing
from polylens.models.jina_clip_v2.config import JinaClipConfig
from polylens.models.jina_clip_v2.model import JinaClip
from polylens.models.jina_clip_v2.processing import JinaClipProcessor
from polylens.models.jina_clip_v2.vision import VisionTower as JinaClipTower
from polylens.models.jina_v4 import processing as v4_processing
from polylens.models.jina_v4.config import JinaV4Config
from polylens.models.jina_v4.model import JinaV4
from polylens.models.jina_v4.processing import JinaV4Processor
from polylens.models.jina_v4.vision import VisionTower as JinaV4Tower
from polylens.models.protocol import Item, Outputs


class Trainee(nn.Module, ABC):
    """A model and the head that only training uses, which reads letters off the vision tower's patches."""

    model: JinaV4 | JinaClip
    reader: nn.Linear

    @property
    def tower(self) -> JinaV4Tower | JinaClipTower:
        """The vision tower."""
        assert self.model.vision is not None
        return self.model.vision

    @property
    @abstractmethod
    def read_from(self) -> nn.Module:
        """The part of the tower that is handed what letters are read from."""

    @property
    def searched(self) -> nn.Module:
        """The part of the tower that is handed what queries are pointed at."""
        return self.read_from

    @property
    def reading(self) -> Sequence[nn.Module | nn.Parameter]:
        """What of the tower reads; it stands still in stages that do not teach it."""
        return [self.tower.patch_embed, *self.tower.blocks]

    def share(self, name: str) -> float:
        """How much of the step's learning rate a parameter takes."""
        return 1.0 if self.is_matrix(name) else 0.3

    def settle(self, images: Sequence[Item]) -> None:
        """What the tower needs once it can read, before something else learns from it.

        Args:
            images: Some that it reads.
        """

    @abstractmethod
    def look(self, images: Sequence[Item]) -> None:
        """Sends images through the vision tower alone."""

    def is_matrix(self, name: str) -> bool:
        """Whether a parameter maps one hidden state to another, as neither embeddings nor heads do."""
        outside = any(part in name for part in ("embed", "reader", "lora"))
        return self.get_parameter(name).ndim == 2 and not outside

    def hold(self, still: bool, task: str | None) -> None:
        """Keeps from learning what a stage does not teach, and lets the rest learn again.

        Args:
            still: What reads. What is behind it learns all the same.
            task: Everything but this task's adapter; None for no more than `still` says.
        """
        self.requires_grad_(task is None)
        for part in (*self.reading, self.reader):
            part.requires_grad_(task is None and not still)
        if task is not None:
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(name.endswith((f"lora_a.{task}", f"lora_b.{task}")))

    @abstractmethod
    def legible(self, rows: Tensor, letters: Tensor, images: Sequence[Item]) -> tuple[Tensor, Tensor]:
        """The rows that are patches, and the letters of each in the same order.

        Args:
            rows: What `read_from` was handed.
            letters: As `ImageBatch.letters` has them.
            images: What went in.
        """

    @abstractmethod
    def pointed_at(
        self, queries: Outputs, documents: Outputs, rows: Tensor, images: Sequence[Item]
    ) -> tuple[Tensor, Tensor]:
        """What grounding compares, unit rows both: the tokens of queries, or queries, and the cells of the pictures.

        Args:
            queries: What came out for the queries.
            documents: What came out for the pictures and the texts after them.
            rows: What `searched` was handed.
            images: The pictures.
        """

    @abstractmethod
    def save(self, folder: Path, processor: AnyProcessor) -> None:
        """Writes the model in its family's layout."""


class V4Trainee(Trainee):
    """jina-embeddings-v4."""

    def __init__(self, config: JinaV4Config) -> None:
        super().__init__()
        self.model: JinaV4 = JinaV4(config)
        self.reader = nn.Linear(config.vision.width, READING_POINTS * (NUM_LETTERS + 1))

    @property
    def read_from(self) -> nn.Module:
        return self.model.vision.merger

    def look(self, images: Sequence[Item]) -> None:
        self.model.vision(torch.cat(_patches(images)), _grids(images))

    def legible(self, rows: Tensor, letters: Tensor, images: Sequence[Item]) -> tuple[Tensor, Tensor]:
        order, _ = self.model.vision.window_order(_grids(images))
        return rows, letters[self.model.vision.patches_of(order)]

    def pointed_at(
        self,
        queries: Outputs,
        documents: Outputs,
        rows: Tensor,  # noqa: ARG002  # the other family's
        images: Sequence[Item],
    ) -> tuple[Tensor, Tensor]:
        assert queries.multivector is not None and documents.multivector is not None
        image_token = self.model.config.image_token_id
        is_visual = torch.cat([torch.from_numpy(item.token_ids == image_token) for item in images])
        cells = documents.multivector[: len(is_visual)][is_visual.to(documents.multivector.device)]
        return queries.multivector, cells

    def save(self, folder: Path, processor: AnyProcessor) -> None:
        assert isinstance(processor, JinaV4Processor)
        save_checkpoint(folder, self.model, processor)


class ClipTrainee(Trainee):
    """jina-clip-v2. Its tower pools patches itself, so its last blocks have to do what nano's decoder does.

    Args:
        config: Sizes.
        temperature: Of the dense contrast; a checkpoint says which.
        reading_blocks: The first of the tower's blocks, from which letters are read; at least one comes behind them.
    """

    def __init__(self, config: JinaClipConfig, temperature: float, reading_blocks: int) -> None:
        super().__init__()
        self.model: JinaClip = JinaClip(config, ("text", "image"))
        self.temperature = temperature
        self.reading_blocks = reading_blocks
        self.reader = nn.Linear(config.text.width, READING_POINTS * (NUM_LETTERS + 1))

    @property
    def read_from(self) -> nn.Module:
        return self.tower.blocks[self.reading_blocks]

    @property
    def searched(self) -> nn.Module:
        # The last block's class token sees the patches as they come into that block.
        return self.tower.blocks[-1]

    @property
    def reading(self) -> Sequence[nn.Module | nn.Parameter]:
        first = (self.tower.get_parameter(name) for name in ("class_token", "positions"))
        return [*first, self.tower.patch_embed, *self.tower.blocks[: self.reading_blocks]]

    @torch.no_grad()
    def settle(self, images: Sequence[Item]) -> None:
        """Brings what comes out of the reading blocks to unit size, without changing what is in it.

        At the rates of reading the sums that blocks add to grow to a size of 30, beside which nothing that a fresh
        block adds is seen behind the last norm: every picture keeps one vector (docs/log.md, 2026-11-28). A block sees
        its input through a norm, so all that is added may be made smaller together. What optimisers remember of these
        weights is left as it is: no stage behind this one teaches them.
        """
        with handed(self.read_from) as rows:
            self.look(images)
        size = self._patch_rows(rows[0], len(images)).float().square().mean().sqrt()
        for name, parameter in self.tower.named_parameters():
            if name.startswith(("class_token", "positions", "patch_embed")) or ".out." in name or ".down." in name:
                parameter.div_(size)

    def share(self, name: str) -> float:
        # Post-norm blocks that begin as the identity are soon mostly noise at the rates of the pre-norm tower, and all
        # texts become one; a token's own vector may learn fast (docs/log.md, 2026-11-25).
        if name.startswith("model.text.blocks"):
            return 0.1
        if name.startswith("model.text.embed.weight"):
            return 1.0
        return super().share(name)

    def look(self, images: Sequence[Item]) -> None:
        self.tower(torch.stack(_patches(images)))

    def legible(self, rows: Tensor, letters: Tensor, images: Sequence[Item]) -> tuple[Tensor, Tensor]:
        return self._patch_rows(rows, len(images)), letters

    def pointed_at(
        self,
        queries: Outputs,
        documents: Outputs,  # noqa: ARG002  # the other family's
        rows: Tensor,
        images: Sequence[Item],
    ) -> tuple[Tensor, Tensor]:
        # Patches have no place in the common space when the model is used. They are taught one because a class token
        # is one attention away from them, and its own contrast tells little from a few pictures a step.
        norm = self.tower.get_submodule("norm")
        return queries.dense, F.normalize(norm(self._patch_rows(rows, len(images))).float(), dim=-1)

    @staticmethod
    def _patch_rows(rows: Tensor, num_images: int) -> Tensor:
        """Without those of the class tokens."""
        return rows.view(num_images, -1, rows.shape[1])[:, 1:].flatten(0, 1)

    def save(self, folder: Path, processor: AnyProcessor) -> None:
        assert isinstance(processor, JinaClipProcessor)
        save_clip_checkpoint(folder, self.model, processor, math.log(1 / self.temperature))


@contextlib.contextmanager
def handed(module: nn.Module) -> Iterator[list[Tensor]]:
    """What a part of a model is handed while the context lasts, call after call."""
    seen: list[Tensor] = []
    with module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0])):
        yield seen


def make_trainee(recipe: Recipe) -> Trainee:
    """Of the family that the recipe's model belongs to."""
    if isinstance(recipe.model, JinaV4Config):
        return V4Trainee(recipe.model)
    return ClipTrainee(recipe.model, recipe.dense_temperature, recipe.reading_blocks)


def make_processor(recipe: Recipe, tokenizer: Tokenizer) -> AnyProcessor:
    """Of the same family."""
    if isinstance(recipe.model, JinaV4Config):
        assert isinstance(recipe.images, v4_processing.ImageConfig)
        return JinaV4Processor(recipe.model, recipe.images, tokenizer)
    assert isinstance(recipe.images, clip_processing.ImageConfig)
    return JinaClipProcessor(recipe.model, recipe.images, tokenizer)


def make_tokenizer(recipe: Recipe) -> Tokenizer:
    """Learned anew, with the family's special tokens."""
    if isinstance(recipe.model, JinaV4Config):
        return train_tokenizer(vocab_size=recipe.model.decoder.vocab_size, seed=recipe.seed)
    return train_tokenizer(vocab_size=recipe.model.text.vocab_size, seed=recipe.seed, special=CLIP_TOKENS)


def _patches(images: Sequence[Item]) -> list[Tensor]:
    return [item.patches for item in images if item.patches is not None]


def _grids(images: Sequence[Item]) -> list[tuple[int, int]]:
    return [item.grid for item in images if item.grid is not None]


def initialise(trainee: Trainee, seed: int, tokenizer: Tokenizer) -> None:
    """Fresh weights: normal with fan-in scaling; biases, adapters' B and whatever ends a residual branch zero.

    So each block begins as the identity (for the adapters, arXiv 2106.09685, section 4.1). The patch embedding begins
    as a cosine transform: an orthogonal view of the ink, where a random one would mostly show how white the paper is.
    The token embeddings begin as spellings.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in trainee.named_parameters():
            if name.endswith(("bias", "out.weight", "down.weight", "segment.weight")) or "lora_b" in name:
                parameter.zero_()
            elif "norm" in name:
                parameter.fill_(1.0)
            elif name.endswith(("decoder.embed.weight", "text.embed.weight")):
                parameter.copy_(spellings(tokenizer, parameter.shape[1], generator))
            else:
                parameter.normal_(0.0, parameter.shape[-1] ** -0.5, generator=generator)
        tower, vision = trainee.tower, trainee.tower.config
        shown = vision.patch_dim // vision.patch_size**2  # how often each pixel comes: in every channel and frame
        basis = cosine_basis(vision.patch_size)[: vision.width].repeat(1, shown) / shown
        tower.patch_embed.weight[: len(basis)] = basis
        trainee.reader.weight.zero_()


def spellings(tokenizer: Tokenizer, width: int, generator: torch.Generator) -> Tensor:
    """A vector for each token of the vocabulary, `[tokens, width]`: the sum of random codes of its letters.

    A letter has one code wherever it stands, one as the first and one as the last. So tokens that share letters begin
    alike, and a rare one need not learn from nothing what it looks like.
    """
    codes: dict[tuple[str, str], Tensor] = {}

    def code(place: str, letter: str) -> Tensor:
        if (place, letter) not in codes:
            codes[place, letter] = torch.randn(width, generator=generator)
        return codes[place, letter]

    marks = tokenizer.get_added_tokens_decoder()
    rows = []
    for token in range(tokenizer.get_vocab_size()):
        spelled = tokenizer.decode([token], skip_special_tokens=False)
        bare = spelled.strip().lower() or spelled
        parts = [code("any", letter) for letter in bare] + [code("first", bare[:1]), code("last", bare[-1:])]
        if spelled != spelled.lstrip():
            parts.append(code("space", ""))
        if spelled == "\ufffd" or token in marks:  # a lone byte, or a mark: nothing that is spelled
            parts = [code("token", str(token))]
        rows.append(torch.stack(parts).sum(dim=0) * (0.5 / len(parts) ** 0.5))
    return torch.stack(rows)


def cosine_basis(side: int) -> Tensor:
    """The two-dimensional discrete cosine transform of a square, slow waves first, orthonormal: `[side^2, side^2]`.

    The constant one, which only tells light paper from dark, is scaled down to a tenth.

    Example:
        >>> basis = cosine_basis(3)
        >>> bool(torch.allclose(basis[1:] @ basis[1:].T, torch.eye(8), atol=1e-6))
        True
    """
    at = torch.arange(side)
    waves = torch.cos(torch.pi * (2 * at[None, :] + 1) * at[:, None] / (2 * side)) * (2 / side) ** 0.5
    waves[0] /= 2**0.5
    both = torch.einsum("iy,jx->ijyx", waves, waves).flatten(2).flatten(0, 1)
    basis = both[(at[:, None] + at[None, :]).flatten().argsort(stable=True)]
    basis[0] *= 0.1
    return basis
