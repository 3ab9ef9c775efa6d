"""Fine-tuning on pairs: what is learned, cached gradients, taking up again, two processes, and what comes out."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file
from tests.support import commands, tiny
from tests.support.ranks import start, train_together
from tests.support.waiting import PROGRAM_HANG

import polylens
from polylens.checkpoints.export import export_merged
from polylens.checkpoints.loading import read_header
from polylens.errors import InputError
from polylens.models.jina_v4.model import JinaV4
from polylens.models.protocol import Item, Outputs
from polylens.train import pair_run
from polylens.train.finetune import FinetuneRecipe, FinetuneRun, finetune, run_finetune
from polylens.train.joint import TermWeights
from polylens.train.pairs import Batch, PairFile, draw_batches, draw_paired_batches, read_pairs

WORDS = ["harbour", "winter", "bread", "tower", "salt", "letter", "storm", "light", "oven", "ship", "north", "price"]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def codes(path: Path) -> str:
    """A word belongs to the next one: nothing but the pairs says so."""
    return write(
        path, [{"query": q, "document": f"{d} {d}"} for q, d in zip(WORDS, [*WORDS[1:], WORDS[0]], strict=True)]
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("base") / "tiny")


def recipe(base: Path, data: str, **changes: Any) -> FinetuneRecipe:
    plain = finetune(str(base), [data], steps=12, batch_size=8, learning_rate=1e-2)
    return replace(plain, dtype="float32", checkpoint_every=4, **changes)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


class TestPairs:
    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("{", "not JSON"),
            ("[]", "must be an object"),
            ('{"query": "a"}', "document"),
            ('{"query": "", "document": "b"}', "query"),
            ('{"query": 3, "document": "b"}', "query"),
            ('{"query": "a", "document": {"image": "none.png"}}', "there is no image"),
            ('{"query": "a", "document": "b", "negatives": "c"}', "negatives must be a list"),
            ('{"query": "a", "document": "b", "negatives": [1]}', "negatives"),
            ('{"query": "a", "document": "b", "score": "high"}', "score must be a number"),
            ('{"query": "a", "document": "b", "score": NaN}', "score must be a number"),
            ('{"query": "a", "document": "b", "score": 1, "negatives": ["c"]}', "not both"),
            ('{"query": "a", "document": "b", "score": 1}', "either all pairs"),
        ],
    )
    def test_a_wrong_line_is_named(self, tmp_path: Path, line: str, says: str) -> None:
        path = tmp_path / "pairs.jsonl"
        path.write_text('{"query": "a", "document": "b"}\n\n' + line + "\n")
        with pytest.raises(InputError, match=says) as refused:
            read_pairs(path)
        assert f"{path}:3" in str(refused.value)

    def test_files_that_do_not_do(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot be read: No such file"):
            read_pairs(tmp_path / "none")
        (tmp_path / "latin").write_bytes('{"query": "Tür", "document": "Tor"}\n'.encode("latin-1") * 2)
        with pytest.raises(InputError, match=r"latin is not UTF-8 text: .*0xfc"):
            read_pairs(tmp_path / "latin")
        (tmp_path / "one").write_text('{"query": "a", "document": "b"}\n')
        with pytest.raises(InputError, match="at least two"):
            read_pairs(tmp_path / "one")

    def test_batches_are_of_one_source_and_show_each_pair_once_before_any_twice(self, tmp_path: Path) -> None:
        sources = [
            read_pairs(Path(write(tmp_path / name, [{"query": f"{name}{i}", "document": "d"} for i in range(n)])))
            for name, n in (("a", 10), ("b", 30))
        ]
        drawn = list(draw_batches(sources, size=4, steps=400, seed=1))
        assert all(pair in batch.source.pairs for batch in drawn for pair in batch.pairs)
        assert sum(batch.source is sources[1] for batch in drawn) == pytest.approx(300, abs=40)
        seen = [pair for batch in drawn if batch.source is sources[0] for pair in batch.pairs]
        counts = [seen[:k].count(pair) for k in (20, 40) for pair in sources[0].pairs]
        assert max(counts[:10]) - min(counts[:10]) <= 1 and max(counts[10:]) - min(counts[10:]) <= 1
        assert all(len(set(map(str, batch.pairs))) == len(batch.pairs) for batch in drawn)
        again = list(draw_batches(sources, size=4, steps=400, seed=1))
        assert again == drawn
        assert list(draw_batches(sources, size=4, steps=400, seed=2)) != drawn

    def test_a_step_takes_texts_and_images_where_there_are_both(self, tmp_path: Path) -> None:
        (tmp_path / "red.png").touch()
        texts, captions = (
            read_pairs(Path(write(tmp_path / name, [{"query": f"{name}{i}", "document": side} for i in range(9)])))
            for name, side in (("texts", "d"), ("captions", {"image": "red.png"}))
        )
        drawn = list(draw_paired_batches([captions, texts], size=4, steps=20, seed=1))
        assert len(drawn) == 20 and {tuple(b.source.path.name for b in step) for step in drawn} == {
            ("texts", "captions")
        }
        assert {len(batch.pairs) for step in drawn for batch in step} == {4}
        assert drawn == list(draw_paired_batches([captions, texts], size=4, steps=20, seed=1))
        for alone in (texts, captions):
            drawn = list(draw_paired_batches([alone], size=4, steps=3, seed=1))
            assert [[batch.source for batch in step] for step in drawn] == [[alone]] * 3


def whole(source: PairFile) -> Batch:
    return Batch(source, source.pairs)


def run_of(recipe: FinetuneRecipe, base: Path) -> FinetuneRun:
    return FinetuneRun(recipe, read_header(base), [], None)


def gradients(run: FinetuneRun) -> dict[str, torch.Tensor]:
    return {name: each.grad.clone() for name, each in run.named.items() if each.grad is not None}


class TestGradients:
    @pytest.fixture
    def source(self, tmp_path: Path) -> PairFile:
        PIL.Image.new("RGB", (56, 84), "red").save(tmp_path / "red.png")
        rows: list[dict[str, Any]] = [
            {"query": "red", "document": {"image": "red.png"}},
            {"query": "harbour", "document": "a ship", "negatives": ["a shop", "a sheep"]},
            {"query": "bread", "document": "an oven", "negatives": ["an oval"]},
            {"query": "ship", "document": "a ship"},
        ]
        return read_pairs(Path(write(tmp_path / "pairs.jsonl", rows)))

    def test_a_step_of_texts_and_images_is_the_sum_of_both(self, base: Path, source: PairFile, tmp_path: Path) -> None:
        """The joint loss of the paper, section 4: six terms, three for each kind, each with a weight of its own."""
        rows = [{"query": "north", "document": "a price"}, {"query": "light", "document": "a storm"}]
        texts = read_pairs(Path(write(tmp_path / "texts.jsonl", rows)))
        found, alone = [], []
        for drawn in ([texts, source], [texts], [source]):
            given = recipe(base, str(source.path), gradient_clip=1e9)
            weights = [TermWeights(dense=d, late=1.5, kl=0.5) for d in (0.7, 2.0)]
            objective = replace(given.objective, texts=weights[0], images=weights[1])
            run = run_of(replace(given, objective=objective), base)
            losses = run.step([whole(each) for each in drawn], 1)
            (found if len(drawn) == 2 else alone).append((losses, gradients(run)))
        [(both, sums)], [(first, of_texts), (second, of_images)] = found, alone
        names = {f"{term} {kind}" for term in ("dense", "late", "kl") for kind in ("texts", "images")}
        assert both.keys() == names | {"total", "gradient"}
        for term in ("dense", "late", "kl"):
            assert (both[f"{term} texts"], both[f"{term} images"]) == (first[term], second[term])
        weighted = sum(
            weight * both[f"{term} {kind}"]
            for kind, dense in (("texts", 0.7), ("images", 2.0))
            for term, weight in (("dense", dense), ("late", 1.5), ("kl", 0.5))
        )
        assert both["total"] == pytest.approx(weighted, rel=1e-5)
        for name, each in sums.items():
            assert (each - of_texts[name] - of_images[name]).abs().max() <= 1e-5 * each.abs().max() + 1e-8, name

    def test_part_by_part_is_the_whole_at_once(self, base: Path, source: PairFile) -> None:
        found = []
        for part_tokens in (20, 10**9):
            run = run_of(recipe(base, str(source.path), part_tokens=part_tokens), base)
            sides = [(pair.query, "query") for pair in source.pairs]
            assert len(list(run.parts(sides))) == (1 if part_tokens > 100 else 4)
            run.step([whole(source)], 1)
            found.append(gradients(run))
        assert found[0].keys() == found[1].keys() and len(found[0]) > 10
        for name, small in found[0].items():
            assert (small - found[1][name]).abs().max() <= 1e-5 * found[1][name].abs().max() + 1e-8, name

    def test_inputs_are_prepared_part_by_part(
        self, base: Path, source: PairFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In a step and in an evaluation: the inputs of a part, those of the next one, and the one that ends that."""
        run = FinetuneRun(recipe(base, str(source.path), part_tokens=20), read_header(base), [], source)
        prepare, embed, waiting = pair_run.prepare, run.model.embed, [0]
        counting = threading.Lock()  # the inputs are prepared in a thread

        def prepared(*given: Any, **options: Any) -> Item:
            with counting:
                waiting.append(waiting[-1] + 1)
            return prepare(*given, **options)

        def embedded(items: list[Item]) -> Outputs:
            assert len(items) < 3  # the parts are small, or the test says nothing
            with counting:
                waiting.append(waiting[-1] - len(items))
            return embed(items)

        monkeypatch.setattr(pair_run, "prepare", prepared)
        monkeypatch.setattr(run.model, "embed", embedded)
        run.step([whole(source)], 1)
        run.evaluate()
        assert len(waiting) > 30 and max(waiting) <= 2 + 2 + 1 and waiting[-1] == 0

    @pytest.mark.parametrize("autocast", [False, True])
    def test_checkpointed_layers_give_the_same(self, base: Path, source: PairFile, autocast: bool) -> None:
        """To the last bit: the second computation of a layer is the first one again."""
        found = []
        for gradient_checkpointing in (False, True):
            plan = recipe(base, str(source.path), gradient_checkpointing=gradient_checkpointing)
            run = run_of(plan, base)
            run.autocast = autocast
            losses = run.step([whole(source)], 1)
            found.append((losses, gradients(run)))
            recomputed = [name for name, layer in run.model.named_modules() if "forward" in vars(layer)]
            assert len(recomputed) == (7 if gradient_checkpointing else 0)  # 4 of the vision tower, 3 of the decoder
        (plain_losses, plain), (losses, checkpointed) = found
        assert losses == plain_losses and losses["gradient"] > 0
        assert plain.keys() == checkpointed.keys() and len(plain) > 10
        assert all(torch.equal(each, checkpointed[name]) for name, each in plain.items())

    def test_they_are_those_of_plain_backpropagation(self, base: Path, source: PairFile) -> None:
        run = run_of(recipe(base, str(source.path), gradient_clip=1e9), base)
        run.step([whole(source)], 1)
        cached = gradients(run)
        plain = run_of(recipe(base, str(source.path)), base)
        pairs = source.pairs
        sides = [
            [plain.item(pair.query, "query") for pair in pairs],
            [plain.item(pair.document, "passage") for pair in pairs],
            [plain.item(each, "passage") for pair in pairs for each in pair.negatives],
        ]
        from polylens.train.joint import Vectors

        vectors = []
        for items in sides:
            out = plain.model.embed(items)
            assert out.multivector is not None
            vectors.append(Vectors(out.dense, out.multivector, tuple(item.num_tokens for item in items)))
        plain.loss(whole(source), vectors)["total"].backward()
        for name, each in gradients(plain).items():
            assert (each - cached[name]).abs().max() <= 1e-5 * each.abs().max() + 1e-8, name

    def test_a_part_that_does_not_fit_says_what_would(
        self, base: Path, source: PairFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = run_of(recipe(base, str(source.path)), base)

        def full(_: list[Item]) -> Outputs:
            raise torch.OutOfMemoryError("CUDA out of memory.")

        monkeypatch.setattr(run.model, "embed", full)
        with pytest.raises(InputError, match=r"a part of 8,192 tokens does not fit in the memory of cpu; .*--part-tok"):
            run.step([whole(source)], 1)

    def test_only_the_tasks_adapter_learns(self, base: Path, source: PairFile) -> None:
        run = run_of(recipe(base, str(source.path), task="code"), base)
        assert all(name.endswith((".code",)) for name in run.named)
        before = {name: each.detach().clone() for name, each in run.model.named_parameters()}
        run.step([whole(source)], 1)
        changed = {n for n, each in run.model.named_parameters() if not torch.equal(each, before[n])}
        assert changed and changed <= set(run.named)


class TestRuns:
    def test_it_learns_what_only_the_pairs_say(self, base: Path, tmp_path: Path) -> None:
        data = codes(tmp_path / "pairs.jsonl")
        plan = replace(recipe(base, data, evaluation=data), steps=60, batch_size=12, checkpoint_every=60)
        model = run_finetune(plan, tmp_path / "run", report=lambda _: None)
        scores = [line for line in lines(tmp_path / "run") if "recall@1 late" in line]
        assert scores[0]["recall@1 late"] <= 0.5 and scores[-1]["recall@1 late"] >= 0.9
        assert scores[-1]["recall@1 dense"] >= 0.9
        assert model is not None
        embedder = polylens.load(model, dtype="float32", device="cpu")
        queries = embedder.encode_text(WORDS, task="retrieval.query", return_multivector=True)
        documents = embedder.encode_text([f"{w} {w}" for w in WORDS], task="retrieval.passage", return_multivector=True)
        best = embedder.similarity(queries, documents).argmax(axis=1)
        assert np.mean(best == (np.arange(12) + 1) % 12) >= 0.9
        untouched = polylens.load(base, dtype="float32", device="cpu")
        assert np.array_equal(
            embedder.encode_text(WORDS, task="code.query"), untouched.encode_text(WORDS, task="code.query")
        )
        assert isinstance(embedder.model, JinaV4)
        export_merged(tmp_path / "merged", embedder.family, embedder.model, embedder.processor, "retrieval")
        assert (tmp_path / "merged/config.json").exists()

    def test_graded_pairs_are_learned(self, base: Path, tmp_path: Path) -> None:
        rows = [{"query": word, "document": WORDS[(i + 5) % 12], "score": i % 4} for i, word in enumerate(WORDS)]
        data = write(tmp_path / "graded.jsonl", rows)
        plan = replace(
            recipe(base, data, evaluation=data, task="text-matching"), steps=60, batch_size=12, checkpoint_every=60
        )
        run_finetune(plan, tmp_path / "run", report=lambda _: None)
        scores = [line for line in lines(tmp_path / "run") if "spearman late" in line]
        assert scores[0]["spearman late"] < 0.6 < 0.9 < scores[-1]["spearman late"]

    def test_taken_up_again_it_is_the_same_to_the_last_digit(self, base: Path, tmp_path: Path) -> None:
        data = codes(tmp_path / "pairs.jsonl")
        plan = recipe(base, data)
        losses: dict[str, list[float]] = {"whole": [], "halves": []}
        run_finetune(plan, tmp_path / "whole", report=lambda p: losses["whole"].append(p.loss))
        stopped = run_finetune(
            plan, tmp_path / "halves", report=lambda p: losses["halves"].append(p.loss), max_seconds=0.0
        )
        assert stopped is None and len(losses["halves"]) == 4
        run_finetune(plan, tmp_path / "halves", report=lambda p: losses["halves"].append(p.loss))
        assert losses["halves"] == losses["whole"] and len(losses["whole"]) == 12
        ours, theirs = (
            load_file(tmp_path / name / "model/adapters/adapter_model.safetensors") for name in ("whole", "halves")
        )
        assert all(torch.equal(each, theirs[name]) for name, each in ours.items())

    def test_a_finished_run_is_not_loaded_again(
        self, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = recipe(base, codes(tmp_path / "pairs.jsonl"))
        model = run_finetune(plan, tmp_path / "run", report=lambda _: None)
        monkeypatch.delattr("polylens.train.finetune.load_model")
        assert run_finetune(plan, tmp_path / "run", report=lambda _: None) == model == tmp_path / "run/model"
        with pytest.raises(InputError, match="seed"):
            run_finetune(replace(plan, seed=1), tmp_path / "run", report=lambda _: None)

    def test_another_recipe_or_other_data_in_the_same_folder_is_refused(self, base: Path, tmp_path: Path) -> None:
        data = codes(tmp_path / "pairs.jsonl")
        plan = recipe(base, data, evaluation=None)
        run_finetune(plan, tmp_path / "run", report=lambda _: None, max_seconds=0.0)
        with pytest.raises(InputError, match="learning_rate"):
            run_finetune(replace(plan, learning_rate=1.0), tmp_path / "run", report=lambda _: None)
        write(tmp_path / "pairs.jsonl", [{"query": "a", "document": "b"}] * 2)
        with pytest.raises(InputError, match="the contents of the files of pairs"):
            run_finetune(plan, tmp_path / "run", report=lambda _: None)

    def test_models_and_tasks_that_do_not_do(self, base: Path, tmp_path: Path) -> None:
        from tests.support import tiny_clip

        data = codes(tmp_path / "pairs.jsonl")
        clip = tiny_clip.write(tmp_path / "clip")
        with pytest.raises(InputError, match="jina_clip_v2 have no adapters, so they cannot be fine-tuned"):
            run_finetune(recipe(clip, data), tmp_path / "run", report=lambda _: None)
        with pytest.raises(InputError, match="task must be one of"):
            run_finetune(recipe(base, data, task="poetry"), tmp_path / "run", report=lambda _: None)
        assert not (tmp_path / "run").exists()


SCRIPT = """
import sys
from pathlib import Path
from dataclasses import replace
import torch
torch.set_num_threads(1)
from polylens.train.finetune import finetune, run_finetune
base, data, out = sys.argv[1:]
plan = replace(finetune(base, [data], steps=4, batch_size=7, learning_rate=1e-2), dtype="float32", checkpoint_every=4)
run_finetune(plan, Path(out), report=lambda _: None)
"""


def test_two_processes_are_one_with_the_whole_batch(base: Path, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"query": q, "document": f"the {d}"} for q, d in zip(WORDS, WORDS[::-1], strict=True)]
    rows[3]["negatives"] = ["the storm", "a lighthouse"]
    rows[8]["negatives"] = ["nothing"]
    data = write(tmp_path / "pairs.jsonl", rows)
    alone = start(SCRIPT, base, data, tmp_path / "of-1", log=tmp_path / "of-1.log", environment=os.environ)
    assert alone.wait(PROGRAM_HANG) == 0, (tmp_path / "of-1.log").read_text()
    train_together(SCRIPT, base, data, tmp_path / "of-2", logs=tmp_path / "logs")
    one, two = (load_file(tmp_path / f"of-{world}/model/adapters/adapter_model.safetensors") for world in (1, 2))
    assert one.keys() == two.keys()
    before = load_file(base / "adapters/adapter_model.safetensors")
    moved = max((one[name] - before[name]).abs().max() for name in one)
    apart = max((one[name] - two[name]).abs().max() for name in one)
    assert apart <= 1e-3 * moved  # Adam divides by small second moments: rounding of 1e-7 grows a little


def test_on_the_command_line(base: Path, tmp_path: Path) -> None:
    data = codes(tmp_path / "pairs.jsonl")
    command = ["train", "finetune", "--out", str(tmp_path / "run")]
    options = ["--model", str(base), "--data", data, "--steps", "2", "--batch-size", "4"]
    options += ["--part-tokens", "64", "--gradient-checkpointing"]
    done = commands.polylens(*command, *options)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'run/model'}\n"), done.stderr
    assert done.stderr == ""
    written = json.loads((tmp_path / "run/recipe.json").read_text())
    assert set(written) == {"recipe", "data", "versions"}
    assert (written["recipe"]["part_tokens"], written["recipe"]["gradient_checkpointing"]) == (64, True)
    assert written["data"][data]["pairs"] == 12 and len(written["data"][data]["sha256"]) == 64
    refused = commands.polylens(*command)
    assert refused.returncode == 2 and "Missing option '--data'" in refused.stderr
    refused = commands.polylens(*command, "--data", data, "--part-tokens", "0")
    assert refused.returncode == 2 and "Invalid value for '--part-tokens'" in refused.stderr
