"""nano-clip: the same loop on the other family."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file
from tests.support.small_recipes import LANGUAGES, STATE, disturb, ignore, learned_from, logged, small_clip

import polylens
from polylens.errors import InputError
from polylens.lab.nano import loop, objective, tokenizer
from polylens.lab.nano.data.batches import Batches
from polylens.lab.nano.data.examples import placeless_batch
from polylens.lab.nano.initial_weights import initialise
from polylens.lab.nano.kits.table import kit_of
from polylens.lab.nano.loop import make_optimisers, train
from polylens.lab.nano.trainee import Trainee, capture_inputs
from polylens.lab.synthetic import fonts
from polylens.models.protocol import Item, Outputs
from polylens.train.losses import caption_nce

# Python from 3.12 on warns of a fork while threads run; the loader's worker is forked on purpose.
pytestmark = [pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"), pytest.mark.usefixtures("plain")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip") / "parts"
    try:
        for language in LANGUAGES:
            fonts.faces(language, "train")
    except InputError as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.shutil, "which", lambda _: None)
        patch.setattr(loop, "LOG_EVERY", 1)
        patch.setattr(tokenizer, "_corpus", lambda _: learned_from())
        assert train(small_clip(), folder, report=ignore, max_seconds=0) is None
        disturb()
        assert train(small_clip(), folder, report=ignore) == folder / "model"
        whole = folder.with_name("whole")
        assert train(small_clip(), whole, report=ignore) == whole / "model"
    assert (folder / STATE).read_bytes() == (whole / STATE).read_bytes()  # in two parts as in one
    return folder


class TestDualEncoder:
    def test_losses(self, finished: Path) -> None:
        lines = logged(finished)
        read, texts, crops = lines[:3], lines[3], lines[4:]
        assert not any("dense" in line for line in read) and all("dense" in line for line in (texts, *crops))
        assert not any("late" in line for line in lines)
        for name in ("caption", "grounding"):  # texts alone stand nowhere
            assert name not in texts and all(name in line for line in crops)
        assert texts["recall@1"] in (0.0, 0.3333, 0.6667, 1.0)  # of three texts
        assert all(np.isfinite(value) for line in lines for value in line.values())

    def test_every_part_has_moved(self, finished: Path) -> None:
        state = load_file(finished / STATE)
        fresh = kit_of(small_clip()).make_trainee(small_clip())
        initialise(fresh, small_clip().seed, loop._tokenizer(small_clip(), finished))
        still = [name for name, tensor in fresh.named_parameters() if torch.equal(state[f"weights.{name}"], tensor)]
        assert still == []

    def test_the_model_loads_and_says_what_was_trained(self, finished: Path) -> None:
        embedder = polylens.load(finished / "model", dtype="bfloat16", device="cpu")
        assert (embedder.dim, embedder.multivector_dim, embedder.tasks) == (32, None, ("retrieval",))
        state = load_file(finished / STATE)
        for name, tensor in embedder.model.named_parameters():
            assert torch.equal(tensor, state[f"weights.model.{name}"].bfloat16()), name
        vectors = embedder.encode(["ein Hafen", PIL.Image.new("RGB", (300, 200), "white")])
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=0, atol=1e-6)

    def test_a_querys_words_stand_in_its_own_picture(self, finished: Path) -> None:
        recipe = small_clip()
        processor = kit_of(recipe).make_processor(recipe, loop._tokenizer(recipe, finished))
        batch = Batches(recipe, processor)[4]
        assert batch.here.shape == batch.same.shape == (7, 3 * 64)  # six queries of pictures, one of a text
        assert not (batch.here & ~batch.same).any()
        for own, drawn in zip([*batch.image_of, None], batch.here, strict=True):
            assert [bool(part.any()) for part in drawn.split(64)] == [own == j for j in range(3)]
        letters = batch.letters.view(3, 64, 2)
        for row, own in enumerate(batch.image_of):
            there = batch.here[row].view(3, 64)[own]
            assert (letters[own][there] > 0).any(), "no letter where the words are"

    def test_a_pictures_caption_is_its_own_transcript(self) -> None:
        """Two of three pictures have one, behind which stands a text about no picture."""
        item = Item(token_ids=np.zeros(1, np.int64), pool=(0, 1), task=None)
        batch = placeless_batch(
            [item] * 4,
            [item] * 3,
            [item] * 3,
            image_of=[2, 0, 1],
            passage_of=[1, 0, None, 2],
        )
        torch.manual_seed(0)
        vectors = torch.nn.functional.normalize(torch.randn(10, 32), dim=1)
        queries, documents = (Outputs(part, part.norm(dim=1), None, (1,) * len(part)) for part in vectors.split((4, 6)))
        recipe = small_clip()
        losses = objective.search_losses(queries, documents, batch, recipe)
        pictures, texts = documents.dense[[2, 0]], documents.dense[3:]
        wanted = caption_nce(pictures, texts, torch.tensor([1, 0]), recipe.dense_temperature, (8, 32))
        torch.testing.assert_close(losses["caption"], wanted)
        without = replace(recipe, weights=replace(recipe.weights, caption=0.0))
        assert "caption" not in objective.search_losses(queries, documents, batch, without)

    def test_grounding_compares_queries_with_patches_as_the_class_token_is_read(self) -> None:
        """Through the tower's last norm, class tokens left out, to unit length."""
        trainee = kit_of(small_clip()).make_trainee(small_clip())
        torch.manual_seed(0)
        rows, dense = torch.randn(2 * 65, 32), torch.nn.functional.normalize(torch.randn(5, 32), dim=1)
        norm = trainee.tower.get_submodule("norm")
        for parameter in norm.parameters():
            torch.nn.init.normal_(parameter)
        outputs = Outputs(dense, torch.ones(5), None, (1,) * 5)
        queries, cells = trainee.grounding_vectors(outputs, outputs, rows, [object(), object()])  # type: ignore[list-item]
        assert queries is dense
        scale, shift = norm.weight, norm.bias
        for cell, row in ((0, 1), (63, 64), (64, 66), (127, 129)):
            x = (rows[row] - rows[row].mean()) / (rows[row].var(correction=0) + 1e-6) ** 0.5 * scale + shift
            torch.testing.assert_close(cells[cell], x / x.norm(), rtol=0, atol=1e-5)

    def test_what_is_read_and_what_is_searched(self) -> None:
        """Letters come out of the first block, queries look at what goes into the last."""
        trainee = kit_of(small_clip()).make_trainee(small_clip())
        assert trainee.reading_module is trainee.tower.blocks[1]
        assert trainee.grounding_module is trainee.tower.blocks[2]
        trainee.freeze(reading=True, task=None)
        names = [name for name, _ in trainee.tower.named_parameters()]
        learns = [name for name in names if trainee.tower.get_parameter(name).requires_grad]
        assert learns == [name for name in names if name.startswith(("blocks.1.", "blocks.2.", "norm."))]

    def test_a_settled_tower_says_the_same_at_unit_size(self, finished: Path) -> None:
        recipe = small_clip()
        trainee = kit_of(recipe).make_trainee(recipe)
        tokens = loop._tokenizer(recipe, finished)
        initialise(trainee, recipe.seed, tokens)
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in trainee.tower.parameters():  # so that blocks write, and much
                parameter.add_(torch.randn_like(parameter) * 0.5)
        images = Batches(recipe, kit_of(recipe).make_processor(recipe, tokens))[4].images
        before = self.out_of_the_reading_block(trainee, images), trainee.model.embed(images).dense
        trainee.finalize_reading(images)
        after = self.out_of_the_reading_block(trainee, images), trainee.model.embed(images).dense
        size = before[0][:, 1:].square().mean().sqrt()
        assert size > 2
        torch.testing.assert_close(after[0], before[0] / size, rtol=0, atol=1e-3)
        torch.testing.assert_close(after[1], before[1], rtol=0, atol=1e-3)

    @staticmethod
    def out_of_the_reading_block(trainee: Trainee, images: list[Item]) -> torch.Tensor:
        with capture_inputs(trainee.reading_module) as rows:
            trainee.forward_vision(images)
        return rows[0].detach().view(len(images), -1, 32)

    def test_rates(self) -> None:
        """The text tower's blocks take a tenth of a step's rate, its tokens' vectors all of it, other vectors less."""
        trainee = kit_of(small_clip()).make_trainee(small_clip())
        names = {id(parameter): name for name, parameter in trainee.named_parameters()}
        muon, adam = make_optimisers(trainee, small_clip().weight_decay)
        shares = {
            names[id(p)]: group["share"] for o in (muon, adam) for group in o.param_groups for p in group["params"]
        }
        assert set(shares) == set(names.values())
        assert shares["model.text.blocks.0.mlp.up.weight"] == 0.1
        assert shares["model.text.embed.weight"] == shares["model.vision.blocks.0.mlp.up.weight"] == 1.0
        assert shares["model.text.embed_norm.bias"] == shares["reader.weight"] == 0.3
        held = {names[id(p)] for group in muon.param_groups for p in group["params"]}
        assert "model.vision.blocks.1.mlp.down.weight" in held and "model.text.embed.weight" not in held

    def test_letters_stand_row_by_row(self) -> None:
        recipe = small_clip()
        trainee = kit_of(recipe).make_trainee(recipe)
        images = [object(), object()]
        rows = torch.arange(2 * 65, dtype=torch.float32)[:, None]
        patches, letters = trainee.align_letters(rows, torch.zeros(128, 2), images)  # type: ignore[arg-type]
        assert patches[:, 0].tolist() == [*range(1, 65), *range(66, 130)] and len(letters) == 128
