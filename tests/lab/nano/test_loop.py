"""Runs of a few steps of a very small model: exact resume, refusals, and a model that loads.

Compilation is off: it takes longer than all of these runs together.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file
from tests.support.catalogues import sentences, write_catalogue
from tests.support.drawing import need_fonts

import polylens
from polylens.errors import InputError
from polylens.lab.nano import loop, objective, tokenizer
from polylens.lab.nano.data import pictograms as pictogram_data
from polylens.lab.nano.data.batches import Batches
from polylens.lab.nano.data.documents import ask_for
from polylens.lab.nano.data.examples import ImageBatch, placeless_batch
from polylens.lab.nano.data.text_pairs import check_pairs, make_pair_batch
from polylens.lab.nano.initial_weights import initialise, spelling_embeddings
from polylens.lab.nano.loop import learning_rate, make_optimisers, train, train_step
from polylens.lab.nano.nano_clip_recipe import nano_clip
from polylens.lab.nano.nano_recipe import nano
from polylens.lab.nano.schedule import Blend, Recipe, stage_at
from polylens.lab.nano.trainee import Trainee, capture_inputs, make_processor, make_trainee
from polylens.lab.synthetic import fonts, pictograms
from polylens.lab.synthetic.lexicon import sample_text
from polylens.lab.synthetic.pages import alike
from polylens.models.jina_clip_v2.config import JinaClipConfig
from polylens.models.jina_v4.config import DecoderConfig, VisionConfig
from polylens.models.jina_v4.processing import JinaV4Processor
from polylens.models.protocol import Item, Outputs
from polylens.nn.lora import LoRAConfig
from polylens.train.losses import caption_nce
from polylens.train.progress import TrainingProgress
from polylens.train.state import load_state

# Python from 3.12 on warns of a fork while threads run; the loader's worker is forked on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

BATCHES = "polylens.lab.nano.data.batches"
LANGUAGES = ("en", "de")
Run = tuple[Path, list[TrainingProgress]]
STATE = "checkpoint/state.safetensors"
EARLIER = ("blended/read.safetensors", "blended/crops.safetensors")
WEIGHTS = ("model/model.safetensors", "model/adapters/adapter_model.safetensors")


def small() -> Recipe:
    """nano with a step of reading, two of crops and one of pages, and a few thousand parameters."""
    recipe = nano()
    read, crops, pages = (
        replace(next(stage for stage in recipe.stages if stage.name == name), languages=LANGUAGES)
        for name in ("read", "crops", "pages")
    )
    model = replace(
        recipe.model,
        vision=VisionConfig(
            width=32,
            num_layers=2,
            num_heads=2,
            mlp_width=48,
            output_width=32,
            patch_size=14,
            num_frames=2,
            merge_size=2,
            window_size=112,
            full_attention_layers=(1,),
        ),
        decoder=DecoderConfig(
            width=32,
            num_layers=2,
            num_heads=2,
            num_kv_heads=2,
            mlp_width=48,
            vocab_size=400,
            norm_eps=1e-6,
            theta=1e6,
            rope_sections=(2, 3, 3),
        ),
        lora=LoRAConfig(tasks=("retrieval", "text-matching", "code"), rank=2, alpha=2.0),
        multivector_dim=16,
        matryoshka_dims=(8, 32),
    )
    return replace(
        recipe,
        model=model,
        stages=(
            replace(read, height=84, width=112, steps=1, images=2),
            replace(crops, height=84, width=168, steps=2, images=3, queries_per_image=2, transcripts=1, texts=1),
            replace(
                pages,
                height=336,
                width=224,
                steps=1,
                images=2,
                transcripts=1,
                texts=1,
                blend=(Blend(stage="read", share=0.1), Blend(stage="crops", share=0.25)),
            ),
        ),
        warmup_steps=2,
        checkpoint_every=2,
    )


def small_clip() -> Recipe:
    """nano-clip with a step or two of each stage, and a few thousand parameters: a block that reads, two behind it."""
    recipe = nano_clip()
    read, texts, crops = (replace(stage, languages=LANGUAGES) for stage in recipe.stages)
    model, text, vision = recipe.model, recipe.model.text, recipe.model.vision
    assert isinstance(model, JinaClipConfig) and vision is not None
    size = 112
    model = replace(
        model,
        text=replace(text, width=32, num_layers=2, num_heads=2, mlp_width=48, vocab_size=400),
        vision=replace(vision, width=32, num_layers=3, num_heads=2, mlp_width=48, image_size=size),
        matryoshka_dims=(8, 32),
    )
    return replace(
        recipe,
        model=model,
        images=replace(recipe.images, size=size),
        reading_blocks=1,
        stages=(
            replace(read, height=size, width=size, steps=3, images=2),
            replace(texts, height=size, width=size, steps=1, texts=3),
            replace(crops, height=size, width=size, steps=2, images=3, queries_per_image=2, transcripts=2, texts=1),
        ),
        warmup_steps=2,
        checkpoint_every=2,
    )


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.shutil, "which", lambda _: None)  # no compiler, no compilation
    monkeypatch.setattr(loop, "LOG_EVERY", 1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer only, learned from a few lines."""
    for language in LANGUAGES:
        need_fonts(language)
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        rng = random.Random(0)
        corpus = [" ".join(sample_text(rng, language, "train", 200)) for language in LANGUAGES]
        patch.setattr(tokenizer, "_corpus", lambda _: corpus)
        loop._tokenizer(small(), folder)
    return folder


@pytest.fixture
def begin(prepared: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(prepared, tmp_path / name))


@pytest.fixture(scope="module")
def straight(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The whole run without a break."""
    folder = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("runs") / "straight"))
    steps: list[TrainingProgress] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.shutil, "which", lambda _: None)
        patch.setattr(loop, "LOG_EVERY", 1)
        assert train(small(), folder, report=steps.append) == folder / "model"
    return folder, steps


def logged(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def disturb() -> None:
    """What another process would have: other states of the generators that nobody may rely on."""
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def assert_same_run(folder: Path, expected: Path) -> None:
    for name in (STATE, *EARLIER, *WEIGHTS):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name


def ignore(_: TrainingProgress) -> None: ...


class TestResume:
    def test_a_run_in_two_parts_equals_one_without_a_break(self, straight: Run, begin: Callable[[str], Path]) -> None:
        expected, whole = straight
        folder = begin("parts")
        steps: list[TrainingProgress] = []
        assert train(small(), folder, report=steps.append, max_seconds=0) is None
        assert len(steps) == 2 and not (folder / "model").exists()
        disturb()
        assert train(small(), folder, report=steps.append) == folder / "model"
        assert [(s.step, s.total, s.loss) for s in steps] == [(s.step, s.total, s.loss) for s in whole]
        assert logged(folder) == logged(expected)
        assert_same_run(folder, expected)

    def test_a_run_that_broke_off_between_checkpoints(self, straight: Run, begin: Callable[[str], Path]) -> None:
        expected, whole = straight
        folder = begin("broken")

        def stop(progress: TrainingProgress) -> None:
            if progress.step == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(small(), folder, report=stop)
        disturb()
        steps: list[TrainingProgress] = []
        train(small(), folder, report=steps.append)
        assert [(s.step, s.loss) for s in steps] == [(s.step, s.loss) for s in whole[2:]]
        assert_same_run(folder, expected)

    def test_a_finished_run_is_not_trained_on(self, straight: Run, tmp_path: Path) -> None:
        expected, _ = straight
        folder = Path(shutil.copytree(expected, tmp_path / "again"))
        steps: list[TrainingProgress] = []
        assert train(small(), folder, report=steps.append) == folder / "model"
        assert steps == []
        assert_same_run(folder, expected)

    def test_killed_between_the_two_renames(self, straight: Run, tmp_path: Path) -> None:
        """The new checkpoint is whole but not yet in place; the one before it counts."""
        expected, _ = straight
        (tmp_path / "checkpoint.old").mkdir()
        for name in ("state.safetensors", "step.json"):
            shutil.copy(expected / "checkpoint" / name, tmp_path / "checkpoint.old" / name)
        trainee = make_trainee(small())
        named, optimisers = dict(trainee.named_parameters()), make_optimisers(trainee, small())
        assert load_state(tmp_path / "checkpoint", named, optimisers) == 4
        state = load_file(expected / STATE)
        assert all(torch.equal(tensor, state[f"weights.{name}"]) for name, tensor in trainee.named_parameters())

    def test_nothing_to_resume(self, tmp_path: Path) -> None:
        trainee = make_trainee(small())
        named, optimisers = dict(trainee.named_parameters()), make_optimisers(trainee, small())
        assert load_state(tmp_path / "checkpoint", named, optimisers) == 0


class TestRun:
    def test_another_recipe_in_the_same_folder_is_refused(self, straight: Run, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(straight[0], tmp_path / "run"))
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        with pytest.raises(InputError, match="another recipe, which differs in warmup_steps, seed; choose another"):
            train(replace(small(), warmup_steps=3, seed=1), folder, report=ignore)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    def test_what_a_run_leaves_behind(self, straight: Run) -> None:
        folder, steps = straight
        names = {path.name for path in folder.iterdir()}
        assert names == {
            "recipe.json",
            "tokenizer.json",
            "log.jsonl",
            "tensorboard",
            "checkpoint",
            "model",
            loop.BLENDED,
        }
        assert [step.step for step in steps] == [1, 2, 3, 4] and {step.total for step in steps} == {4}
        lines = logged(folder)
        assert [line["step"] for line in lines] == [1, 2, 3, 4]
        for line, step in zip(lines, steps, strict=True):
            assert line["total"] == pytest.approx(step.loss, abs=1e-4)
            assert all(np.isfinite(value) for value in line.values())
        assert "late" not in lines[0] and all("late" in line for line in lines[1:])  # the first step only reads
        told = [[name for name in line if name.startswith("held-out")] for line in lines]
        both = ["held-out recall@1 dense", "held-out recall@1 late"]
        assert told == [[], both, [], both]  # at checkpoints
        assert json.loads((folder / "recipe.json").read_text())["recipe"]["name"] == "nano"

    def test_a_run_that_moves_says_what_is_other_there(
        self,
        straight: Run,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        folder = Path(shutil.copytree(straight[0], tmp_path / "run"))
        begun = json.loads((folder / "recipe.json").read_text())
        assert set(begun) == {"recipe", "data", "versions"} and set(begun["data"]) == {"words", "fonts"}
        there = {**begun["data"], "fonts": {"files": 1, "sha256": "0" * 64}}
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(loop, "data_fingerprints", lambda _: there)
            for _ in range(2):  # where it stays it says nothing more
                train(small(), folder, report=ignore)
        assert [record.getMessage().split(": ") for record in caplog.records] == [
            [
                f"fonts are not what {folder} learned from so far",
                "from here on its batches are others (recipe.json notes it)",
            ]
        ]
        written = json.loads((folder / "recipe.json").read_text())
        assert written == {**begun, "moves": [{"steps": 4, "data": there, "versions": begun["versions"]}]}
        train(small(), folder, report=ignore)  # and back
        moves = json.loads((folder / "recipe.json").read_text())["moves"]
        assert [move["data"]["fonts"] for move in moves] == [there["fonts"], begun["data"]["fonts"]]
        assert len(caplog.records) == 2

    def test_every_part_that_is_trained_has_moved(self, straight: Run) -> None:
        state = load_file(straight[0] / STATE)
        fresh = make_trainee(small())
        initialise(fresh, small().seed, loop._tokenizer(small(), straight[0]))
        still = [name for name, tensor in fresh.named_parameters() if torch.equal(state[f"weights.{name}"], tensor)]
        assert all("lora" in name for name in still)  # the first stage trains the model without any adapter

    def test_the_model_loads(self, straight: Run) -> None:
        folder, _ = straight
        embedder = polylens.load(folder / "model", dtype="float32")
        assert embedder.tasks == ("retrieval", "text-matching", "code")
        vectors = embedder.encode(["ein Hafen", PIL.Image.new("RGB", (100, 60), "white")])
        assert vectors.shape == (2, 32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=0, atol=1e-6)
        published = load_file(folder / WEIGHTS[0])
        assert {tensor.dtype for tensor in published.values()} == {torch.bfloat16}
        last = load_file(folder / STATE)
        for name, ours in (("norm.weight", "norm.weight"), ("embed_tokens.weight", "embed.weight")):
            expected = last[f"weights.model.decoder.{ours}"]
            torch.testing.assert_close(published[f"model.{name}"].float(), expected, rtol=2**-8, atol=0)  # bfloat16's

    def test_earlier_weights_are_blended_into_the_last_ones(self, straight: Run, begin: Callable[[str], Path]) -> None:
        folder = begin("without")
        *before, pages = small().stages
        train(replace(small(), stages=(*before, replace(pages, blend=()))), folder, report=ignore)
        unmixed, mixed = load_file(folder / STATE), load_file(straight[0] / STATE)
        read, crops = (load_file(straight[0] / earlier) for earlier in EARLIER)
        assert len(crops) > 50
        for name, tensor in crops.items():
            mean = 0.65 * unmixed[f"weights.{name}"] + 0.1 * read[name] + 0.25 * tensor
            torch.testing.assert_close(mixed[f"weights.{name}"], mean, rtol=1e-5, atol=1e-6)

    def test_a_stage_hands_on_what_it_was_blended_into(self, begin: Callable[[str], Path]) -> None:
        folder = begin("handed-on")
        read, crops, pages = small().stages
        crops = replace(crops, blend=(Blend(stage="read", share=1.0),))
        pages = replace(pages, blend=(Blend(stage="crops", share=1.0),))
        train(replace(small(), stages=(read, crops, pages)), folder, report=ignore)
        last, first = load_file(folder / STATE), load_file(folder / EARLIER[0])
        assert all(torch.equal(tensor, last[f"weights.{name}"]) for name, tensor in first.items())

    def test_what_is_kept_is_of_the_end_of_its_stage(self, straight: Run, begin: Callable[[str], Path]) -> None:
        folder = begin("to-the-end-of-crops")
        recipe = replace(small(), stages=small().stages[:2])
        train(recipe, folder, report=ignore)
        last, earlier = load_file(folder / STATE), load_file(straight[0] / EARLIER[1])
        assert len(earlier) > 50
        # The rate falls by the step within a stage: without the third stage the first three steps are the same.
        assert all(torch.equal(tensor, last[f"weights.{name}"]) for name, tensor in earlier.items())
        assert any(not torch.equal(load_file(straight[0] / STATE)[f"weights.{n}"], t) for n, t in earlier.items())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip") / "parts"
    try:
        for language in LANGUAGES:
            fonts.faces(language, "train")
    except InputError as error:
        pytest.skip(str(error))
    rng = random.Random(0)
    corpus = [" ".join(sample_text(rng, language, "train", 200)) for language in LANGUAGES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.shutil, "which", lambda _: None)
        patch.setattr(loop, "LOG_EVERY", 1)
        patch.setattr(tokenizer, "_corpus", lambda _: corpus)
        assert train(small_clip(), folder, report=ignore, max_seconds=0) is None
        disturb()
        assert train(small_clip(), folder, report=ignore) == folder / "model"
        whole = folder.with_name("whole")
        assert train(small_clip(), whole, report=ignore) == whole / "model"
    assert (folder / STATE).read_bytes() == (whole / STATE).read_bytes()  # in two parts as in one
    return folder


class TestDualEncoder:
    """nano-clip: the same loop on the other family."""

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
        fresh = make_trainee(small_clip())
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
        processor = make_processor(recipe, loop._tokenizer(recipe, finished))
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
        trainee = make_trainee(small_clip())
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
        trainee = make_trainee(small_clip())
        assert trainee.reading_module is trainee.tower.blocks[1]
        assert trainee.grounding_module is trainee.tower.blocks[2]
        trainee.freeze(reading=True, task=None)
        names = [name for name, _ in trainee.tower.named_parameters()]
        learns = [name for name in names if trainee.tower.get_parameter(name).requires_grad]
        assert learns == [name for name in names if name.startswith(("blocks.1.", "blocks.2.", "norm."))]

    def test_a_settled_tower_says_the_same_at_unit_size(self, finished: Path) -> None:
        recipe = small_clip()
        trainee = make_trainee(recipe)
        tokens = loop._tokenizer(recipe, finished)
        initialise(trainee, recipe.seed, tokens)
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in trainee.tower.parameters():  # so that blocks write, and much
                parameter.add_(torch.randn_like(parameter) * 0.5)
        images = Batches(recipe, make_processor(recipe, tokens))[4].images
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
        trainee = make_trainee(small_clip())
        names = {id(parameter): name for name, parameter in trainee.named_parameters()}
        muon, adam = make_optimisers(trainee, small_clip())
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
        trainee = make_trainee(recipe)
        images = [object(), object()]
        rows = torch.arange(2 * 65, dtype=torch.float32)[:, None]
        patches, letters = trainee.align_letters(rows, torch.zeros(128, 2), images)  # type: ignore[arg-type]
        assert patches[:, 0].tolist() == [*range(1, 65), *range(66, 130)] and len(letters) == 128


class TestBatches:
    @pytest.fixture
    def batches(self, prepared: Path) -> Batches:
        recipe = small()
        return Batches(recipe, JinaV4Processor(recipe.model, recipe.images, loop._tokenizer(recipe, prepared)))

    def test_a_step_decides_its_batch(self, batches: Batches) -> None:
        first = batches[1]
        disturb()
        second, other = batches[1], batches[2]
        for name in ("here", "same", "letters"):
            assert torch.equal(getattr(first, name), getattr(second, name))
        ids = [[item.token_ids.tolist() for item in batch.queries] for batch in (first, second, other)]
        assert ids[0] == ids[1] != ids[2]

    def test_what_belongs_to_what(self, batches: Batches) -> None:
        """Three pictures with two queries each, a transcript of the first, and a text with a query of its own."""
        batch = batches[1]
        assert (len(batch.queries), len(batch.images), len(batch.passages)) == (7, 3, 2)
        assert batch.image_of == [0, 0, 1, 1, 2, 2]
        assert batch.passage_of == [0, 0, None, None, None, None, 1]
        cells = [int((item.token_ids == 6).sum()) for item in batch.images]
        rows = [item.num_tokens for item in batch.queries]
        assert batch.here.shape == batch.same.shape == (sum(rows), sum(cells))
        assert not (batch.here & ~batch.same).any()
        for own, drawn in zip([*batch.image_of, None], batch.here.split(rows), strict=True):
            places = [bool(part.any()) for part in drawn.split(cells, dim=1)]
            assert places == [
                own == j for j in range(3)
            ]  # each query's words stand in its own picture, a text's nowhere
        assert batch.letters.shape == (4 * sum(cells), 2)

    def test_reading_has_nothing_to_search_for(self, batches: Batches) -> None:
        batch = batches[0]
        assert (batch.queries, len(batch.images), batch.passages) == ([], 2, [])
        assert (batch.letters > 0).float().mean() > 0.2  # dense text

    def test_a_recipe_without_texts(self, begin: Callable[[str], Path]) -> None:
        recipe = small()
        crops = replace(recipe.stages[1], transcripts=0, texts=0, steps=1)
        folder = begin("pictures")
        train(replace(recipe, stages=(crops,)), folder, report=ignore)
        assert all(np.isfinite(value) for value in logged(folder)[0].values())


class TestDocuments:
    @pytest.fixture
    def recipe(self) -> Recipe:
        """Its one step is of documents."""
        recipe = small()
        return replace(recipe, stages=(replace(recipe.stages[2], images=2, texts=1, documents=1.0),))

    @pytest.fixture
    def batch(self, recipe: Recipe, prepared: Path) -> ImageBatch:
        processor = JinaV4Processor(recipe.model, recipe.images, loop._tokenizer(recipe, prepared))
        try:
            return Batches(recipe, processor)[0]
        except InputError as error:
            pytest.skip(str(error))

    def test_what_belongs_to_what(self, recipe: Recipe, batch: ImageBatch) -> None:
        """Two pages, queries about each, a text with one; nobody knows where their letters stand."""
        asked = recipe.stages[0].queries_per_image
        assert (len(batch.images), len(batch.queries), len(batch.passages)) == (2, 2 * asked + 1, 1)
        assert batch.image_of == [0] * asked + [1] * asked
        assert batch.passage_of == [*[None] * 2 * asked, 0]
        assert batch.here.shape == (sum(item.num_tokens for item in batch.queries), 0) and not len(batch.letters)

    def test_losses_without_places(self, recipe: Recipe, batch: ImageBatch, prepared: Path) -> None:
        trainee = make_trainee(recipe)
        initialise(trainee, 0, loop._tokenizer(recipe, prepared))
        losses = train_step(trainee, batch, make_optimisers(trainee, recipe), recipe, 0)
        assert {"late", "dense"} < losses.keys() and not {"grounding", "reading"} & losses.keys()
        assert all(np.isfinite(value) for value in losses.values())

    @pytest.mark.parametrize("kind", ["table", "chart", "code", "scan"])
    def test_a_query_has_one_answer_in_its_batch(self, kind: str) -> None:
        """Also beside a page that says the same and more; pages are of one kind and in one language."""
        try:
            pages = alike(random.Random(3), kind, "train", 3)
        except InputError as error:
            pytest.skip(str(error))
        assert {page.language for page in pages} == {pages[0].language} and {page.kind for page in pages} == {kind}
        half = replace(pages[0], facts=pages[0].facts[:2])
        beside = [pages[0], half, *pages[1:]]
        kinds = set()
        for seed in range(25):
            query = ask_for(random.Random(seed), beside, 0)
            kinds.add(query.kind)
            assert [query.is_answered_by(page.keys) for page in beside] == [True, False, False, False]
        assert len(kinds) >= 3


class TestPictograms:
    @pytest.fixture
    def font(self) -> None:
        if not pictograms.are_there():
            pytest.skip(f"no font for pictograms: apt-get install {pictograms.PACKAGE}")

    @pytest.fixture
    def recipe(self) -> Recipe:
        """Its one step is of pictograms."""
        recipe = small()
        return replace(recipe, stages=(replace(recipe.stages[1], steps=1, pictograms=1.0, texts=2),))

    @pytest.fixture
    def processor(self, recipe: Recipe, prepared: Path) -> JinaV4Processor:
        return JinaV4Processor(recipe.model, recipe.images, loop._tokenizer(recipe, prepared))

    @pytest.mark.usefixtures("font")
    def test_what_belongs_to_what(self, recipe: Recipe, processor: JinaV4Processor) -> None:
        batch = Batches(recipe, processor)[0]
        asked = len(batch.image_of)
        assert (len(batch.images), len(batch.passages), len(batch.queries)) == (24, 2, asked + 2)
        assert batch.passage_of == [*[None] * asked, 0, 1] and not len(batch.letters) and not batch.here.shape[1]
        assert sorted(set(batch.image_of)) == list(range(24))

    @pytest.mark.usefixtures("font")
    def test_a_query_names_what_its_own_picture_shows(self) -> None:
        for seed in range(10):
            rng = random.Random(seed)
            shown = pictogram_data._drawn(rng)
            every = [pictogram.characters for picture in shown for pictogram in picture]
            assert len(shown) == 24 and len(set(every)) == len(every)
            for picture in shown:
                query = pictogram_data._ask(rng, picture)
                assert any(name in query for pictogram in picture for name in pictogram.names.values())

    def test_without_their_font_a_step_is_as_any_other(
        self, recipe: Recipe, processor: JinaV4Processor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pictograms, "are_there", lambda: False)
        batch = Batches(recipe, processor)[0]
        assert len(batch.images) == 3 and len(batch.letters)


class TestPairs:
    @pytest.fixture
    def recipe(self) -> Recipe:
        """Its steps have texts alone."""
        recipe = small()
        stage = replace(recipe.stages[2], steps=30, pairs=1.0, pairs_a_step=12, learning_rate=1e-2, blend=())
        stage = replace(stage, pair_kinds=("translations",))
        return replace(recipe, stages=(stage,))

    def test_a_sentence_comes_to_find_its_translation(
        self, recipe: Recipe, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_catalogue(tmp_path, "de", "git", sentences())
        monkeypatch.setattr(f"{BATCHES}.make_pair_batch", partial(make_pair_batch, folder=tmp_path))
        tokenizer = loop._tokenizer(recipe, prepared)
        batches = Batches(recipe, make_processor(recipe, tokenizer))
        trainee = make_trainee(recipe)
        initialise(trainee, 0, tokenizer)
        optimisers = make_optimisers(trainee, recipe)
        losses = [train_step(trainee, batches[step], optimisers, recipe, step) for step in range(30)]
        assert losses[0].keys() == {"total", "late", "dense", "recall@1", "gradient", "rate"}
        found = [each["recall@1"] for each in losses]
        assert np.mean(found[:5]) < 0.4 < 0.6 < np.mean(found[-5:])

    def test_an_adapter_learns_alone(
        self, recipe: Recipe, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing else moves, and what it learned shows under its own task only."""
        write_catalogue(tmp_path, "de", "git", sentences())
        monkeypatch.setattr(f"{BATCHES}.make_pair_batch", partial(make_pair_batch, folder=tmp_path))
        recipe = replace(recipe, stages=(replace(recipe.stages[0], task="text-matching"),))
        tokenizer = loop._tokenizer(recipe, prepared)
        processor = make_processor(recipe, tokenizer)
        batches = Batches(recipe, processor)
        trainee = make_trainee(recipe)
        initialise(trainee, 0, tokenizer)
        optimisers = make_optimisers(trainee, recipe)
        before = {name: tensor.detach().clone() for name, tensor in trainee.named_parameters()}
        losses = [train_step(trainee, batches[step], optimisers, recipe, step) for step in range(20)]
        moved = {name for name, tensor in trainee.named_parameters() if not torch.equal(tensor, before[name])}
        assert moved and all(name.endswith(".text-matching") for name in moved)
        assert np.mean([each["late"] for each in losses[-3:]]) < np.mean([each["late"] for each in losses[:3]])
        stage = replace(recipe.stages[0], task=None)
        train_step(trainee, batches[0], optimisers, replace(recipe, stages=(stage,)), 0)
        assert not torch.equal(trainee.get_parameter("model.decoder.norm.weight"), before["model.decoder.norm.weight"])

    def test_pairs_take_their_share_of_the_steps(self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
        """And documents theirs, of all steps."""
        made: list[str] = []
        for kind in ("pair", "document"):
            monkeypatch.setattr(f"{BATCHES}.make_{kind}_batch", lambda *_, kind=kind, **__: made.append(kind))
        monkeypatch.setattr(f"{BATCHES}.make_batch", lambda *_, **__: made.append("words"))
        stage = replace(recipe.stages[0], steps=1000, pairs=0.5, documents=0.3)
        recipe = replace(recipe, stages=(stage,))
        batches = Batches(recipe, object.__new__(JinaV4Processor))
        for step in range(1000):
            batches[step]
        assert [made.count(kind) / 1000 for kind in ("pair", "document", "words")] == pytest.approx(
            [0.5, 0.3, 0.2], abs=0.05
        )

    def test_a_run_that_needs_catalogues_does_not_begin_without(
        self, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop, "check_pairs", partial(check_pairs, tmp_path))
        with pytest.raises(InputError, match="message catalogues"):
            train(recipe, tmp_path / "run", report=ignore)
        assert not (tmp_path / "run").exists()


class TestSteps:
    def test_a_gradient_that_is_not_finite_changes_nothing(
        self, prepared: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recipe = small()
        trainee = make_trainee(recipe)
        initialise(trainee, 0, loop._tokenizer(recipe, prepared))
        optimisers = make_optimisers(trainee, recipe)
        before = {name: tensor.detach().clone() for name, tensor in trainee.named_parameters()}

        def broken(trainee: Trainee, *_: object) -> dict[str, torch.Tensor]:
            return {"total": sum(p.sum() for p in trainee.parameters()) * torch.nan}

        monkeypatch.setattr(loop, "compute_losses", broken)
        losses = train_step(trainee, None, optimisers, recipe, 0)  # type: ignore[arg-type]
        assert np.isnan(losses["gradient"])
        assert all(torch.equal(tensor, before[name]) for name, tensor in trainee.named_parameters())

    def test_a_seed_decides_the_weights(self, prepared: Path) -> None:
        learned = loop._tokenizer(small(), prepared)
        first, second, third = (make_trainee(small()) for _ in range(3))
        initialise(first, 7, learned)
        disturb()
        initialise(second, 7, learned)
        initialise(third, 8, learned)
        pairs = list(zip(first.parameters(), second.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in pairs)
        assert not torch.equal(first.model.decoder.embed.weight, third.model.decoder.embed.weight)

    def test_tokens_begin_as_spellings(self, prepared: Path) -> None:
        """Tokens that share letters begin alike; marks and lone bytes, which spell nothing, are like no other."""
        learned = loop._tokenizer(small(), prepared)
        rows = spelling_embeddings(learned, 512, torch.Generator().manual_seed(0))
        assert rows.shape == (400, 512) and 0.45 < float(rows.std()) < 0.55
        unit = torch.nn.functional.normalize(rows, dim=1)
        alike = unit @ unit.T
        spelled, bare = learned.token_to_id("Ġun"), learned.token_to_id("un")
        strangers = [learned.token_to_id(token) for token in ("ch", "<|im_start|>", "Ã")]
        assert alike[spelled, bare] > 0.7
        assert all(alike[bare, other] < 0.3 for other in strangers)
        assert alike[0, 1:].abs().max() < 0.3

    @pytest.mark.parametrize("step", [2, 3])
    def test_a_tower_that_is_held_still(self, prepared: Path, step: int) -> None:
        """In the last stage of the four, and in no other, the tower's blocks and the reader stay what they were."""
        recipe = small()
        learned = loop._tokenizer(recipe, prepared)
        trainee = make_trainee(recipe)
        initialise(trainee, 0, learned)
        batch = Batches(recipe, make_processor(recipe, learned))[step]
        before = {name: tensor.detach().clone() for name, tensor in trainee.named_parameters()}
        losses = train_step(trainee, batch, make_optimisers(trainee, recipe), recipe, step)
        moved = {name for name, tensor in trainee.named_parameters() if not torch.equal(tensor, before[name])}
        still = [name for name in moved if name.startswith(("model.vision.blocks", "model.vision.patch", "reader"))]
        assert bool(still) == ("reading" in losses) == stage_at(recipe, step)[0].tower_learns == (step == 2)
        assert "model.vision.merger.inner.weight" in moved or step == 2
        assert any(name.startswith("model.decoder.blocks.0") for name in moved)

    def test_stages_follow_one_another(self) -> None:
        recipe = small()
        found = [(stage_at(recipe, step)[0].kind, stage_at(recipe, step)[1]) for step in range(4)]
        assert found == [("read", 0), ("crops", 0), ("crops", 1), ("pages", 0)]
        with pytest.raises(InputError, match="step must be at most 3, the last of the run, got 4"):
            stage_at(recipe, 4)

    def test_learning_rate(self) -> None:
        """Warm-up over the run, within each stage a cosine from its highest to its final rate."""
        recipe = nano()
        first, second = recipe.stages[0], recipe.stages[1]
        assert learning_rate(recipe, 0) == pytest.approx(first.learning_rate / recipe.warmup_steps)
        assert learning_rate(recipe, recipe.warmup_steps) == pytest.approx(first.learning_rate, rel=0.01)
        half = (first.learning_rate + first.final_learning_rate) / 2
        assert learning_rate(recipe, first.steps // 2) == pytest.approx(half)
        assert learning_rate(recipe, first.steps - 1) == pytest.approx(first.final_learning_rate, rel=0.01)
        assert learning_rate(recipe, first.steps) == pytest.approx(second.learning_rate)
        rates = [learning_rate(recipe, step) for step in range(recipe.warmup_steps, first.steps)]
        assert all(later < earlier for earlier, later in itertools.pairwise(rates))
