"""The training kit of jina-embeddings-v4's family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from polylens.checkpoints.export import save_checkpoint
from polylens.lab.nano.data.grounding import NUM_LETTERS, READING_POINTS, PlacedQuery, ground_tokens
from polylens.lab.nano.kits.kit import Cells, PixelProcessor, TrainingKit
from polylens.lab.nano.schedule import Recipe
from polylens.lab.nano.tokenizer import train_tokenizer
from polylens.lab.nano.trainee import Trainee, grids_in, patches_in
from polylens.lab.synthetic.rendered import Rendered
from polylens.models.jina_v4.config import JinaV4Config
from polylens.models.jina_v4.family import FAMILY
from polylens.models.jina_v4.model import JinaV4
from polylens.models.jina_v4.processing import JinaV4Processor
from polylens.models.protocol import Item, Outputs, Processor
from polylens.models.qwen_vl.vision_qwen25 import Qwen25VisionTower


class V4Trainee(Trainee):
    """A model of jina-embeddings-v4's family under training."""

    def __init__(self, config: JinaV4Config) -> None:
        super().__init__()
        self.model: JinaV4 = JinaV4(config)
        self.patch_size = config.vision.patch_size
        self.reader = nn.Linear(config.vision.width, READING_POINTS * (NUM_LETTERS + 1))

    @property
    def tower(self) -> Qwen25VisionTower:
        return self.model.vision

    @property
    def reading_module(self) -> nn.Module:
        return self.model.vision.merger

    @property
    def reading_parts(self) -> Sequence[nn.Module]:
        return [self.tower.patch_embed, *self.tower.blocks]

    def forward_vision(self, images: Sequence[Item]) -> None:
        self.model.vision(torch.cat(patches_in(images)), grids_in(images))

    def align_letters(self, rows: Tensor, letters: Tensor, images: Sequence[Item]) -> tuple[Tensor, Tensor]:
        order, _ = self.model.vision.window_order(grids_in(images))
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

    def save(self, folder: Path, processor: Processor) -> None:
        save_checkpoint(folder, FAMILY, self.model, processor)


def _make_tokenizer(recipe: Recipe, more: Sequence[str]) -> Tokenizer:
    return train_tokenizer(vocab_size=recipe.model.decoder.vocab_size, seed=recipe.seed, more=more)


def _make_processor(recipe: Recipe, tokenizer: Tokenizer) -> JinaV4Processor:
    return JinaV4Processor(recipe.model, recipe.images, tokenizer)


def _make_trainee(recipe: Recipe) -> V4Trainee:
    return V4Trainee(recipe.model)


def _cells(processor: PixelProcessor) -> Cells:
    images = cast("JinaV4Processor", processor).image_config
    return Cells(patch=images.patch_size, merge=images.merge_size)


def _ground(
    queries: Sequence[PlacedQuery],
    rendered: Sequence[Rendered],
    image_of: Sequence[int],
    processor: PixelProcessor,
    prompt_name: str,
) -> tuple[Tensor, Tensor]:
    """Grounds each token of a text by itself: this family has late interaction."""
    assert FAMILY.heat_maps is not None
    tokens = [FAMILY.heat_maps.spans(processor, query.text, prompt_name) for query in queries]
    return ground_tokens(queries, tokens, rendered, image_of, _cells(processor).side)


KIT = TrainingKit(
    family=FAMILY,
    takes_any_size=True,
    make_tokenizer=_make_tokenizer,
    make_processor=_make_processor,
    make_trainee=_make_trainee,
    cells=_cells,
    ground=_ground,
)
