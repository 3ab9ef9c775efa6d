"""The training kit of jina-clip-v2's family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from polylens.checkpoints.export import save_checkpoint
from polylens.lab.nano.data.grounding import NUM_LETTERS, READING_POINTS, PlacedQuery, ground_queries
from polylens.lab.nano.kits.kit import Cells, PixelProcessor, TrainingKit
from polylens.lab.nano.schedule import Recipe
from polylens.lab.nano.tokenizer import CLIP_TOKENS, train_tokenizer
from polylens.lab.nano.trainee import Trainee, capture_inputs, patches_in
from polylens.lab.synthetic.rendered import Rendered
from polylens.models.eva02.vision import VisionTower
from polylens.models.jina_clip_v2.config import JinaClipConfig
from polylens.models.jina_clip_v2.family import FAMILY
from polylens.models.jina_clip_v2.model import JinaClip
from polylens.models.jina_clip_v2.processing import JinaClipProcessor
from polylens.models.jina_clip_v2.state_dict import LOGIT_SCALE
from polylens.models.protocol import Item, Outputs, Processor


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
        assert config.vision is not None
        self.model: JinaClip = JinaClip(config, ("text", "image"))
        self.patch_size = config.vision.patch_size
        self.temperature = temperature
        self.reading_blocks = reading_blocks
        self.reader = nn.Linear(config.text.width, READING_POINTS * (NUM_LETTERS + 1))

    @property
    def tower(self) -> VisionTower:
        assert self.model.vision is not None
        return self.model.vision

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
        self.tower(torch.stack(patches_in(images)))

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

    def save(self, folder: Path, processor: Processor) -> None:
        scale = {LOGIT_SCALE: math.log(1 / self.temperature)}
        save_checkpoint(folder, FAMILY, self.model, processor, scale)


def _make_tokenizer(recipe: Recipe, more: Sequence[str]) -> Tokenizer:
    return train_tokenizer(vocab_size=recipe.model.text.vocab_size, seed=recipe.seed, special=CLIP_TOKENS, more=more)


def _make_processor(recipe: Recipe, tokenizer: Tokenizer) -> JinaClipProcessor:
    return JinaClipProcessor(recipe.model, recipe.images, tokenizer)


def _make_trainee(recipe: Recipe) -> ClipTrainee:
    return ClipTrainee(recipe.model, recipe.dense_temperature, recipe.reading_blocks)


def _cells(processor: PixelProcessor) -> Cells:
    vision = cast("JinaClipProcessor", processor).config.vision
    assert vision is not None
    return Cells(patch=vision.patch_size, merge=1)


def _ground(
    queries: Sequence[PlacedQuery],
    rendered: Sequence[Rendered],
    image_of: Sequence[int],
    processor: PixelProcessor,
    prompt_name: str,  # noqa: ARG001  # a whole query has one place, whatever its tokens are
) -> tuple[Tensor, Tensor]:
    """Grounds each query as a whole: this family has one vector per query."""
    return ground_queries(queries, rendered, image_of, _cells(processor).side)


KIT = TrainingKit(
    family=FAMILY,
    takes_any_size=False,
    make_tokenizer=_make_tokenizer,
    make_processor=_make_processor,
    make_trainee=_make_trainee,
    cells=_cells,
    ground=_ground,
)
