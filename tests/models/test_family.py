"""The registry: every checkpoint finds its family, and a new family is a folder and a line.

The toy family of `tests/toy_family`, which no file of the package knows of, loads, embeds, scores, serves, shows a
heat map and is indexed with once its folder is there and its line is in the table.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from safetensors.numpy import save_file
from tests.support import tiny, tiny_bert, tiny_clip
from tests.support.root import ROOT
from tests.support.serving import serving
from tokenizers import Tokenizer, models, pre_tokenizers

from polylens.checkpoints.catalog import find
from polylens.checkpoints.fetch import resolve
from polylens.checkpoints.loading import read_header
from polylens.errors import CheckpointError
from polylens.models.family import FOLDERS, families, family_of

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def test_each_line_of_the_table_is_a_folder_of_that_name() -> None:
    assert [family.name for family in families()] == list(FOLDERS)
    assert all(family.outputs <= {"dense", "multi", "score"} and family.outputs for family in families())


def test_who_knows_a_family_from_the_inside() -> None:
    """Beside the families themselves, the training of one family and the recipes and kits of nano's two."""
    package = ROOT / "src/polylens"
    inside = ("from polylens.models import", *(f"polylens.models.{folder}" for folder in FOLDERS))
    files = [path for path in package.rglob("*.py") if not path.is_relative_to(package / "models")]
    found = {str(path.relative_to(package)) for path in files if any(name in path.read_text() for name in inside)}
    assert found == {
        "lab/nano/kits/jina_clip_v2.py",
        "lab/nano/kits/jina_v4.py",
        "lab/nano/nano_clip_recipe.py",
        "lab/nano/nano_meaning_recipe.py",
        "lab/nano/nano_recipe.py",
        "train/clip_stages.py",
    }


def test_the_row_of_nano_says_what_its_checkpoint_says() -> None:
    header, entry = read_header(resolve("nano")), find("nano")
    assert (header.multivector_dim, header.context, header.modalities) == (128, entry.context, entry.modalities)
    assert sorted(header.matryoshka_dims) == list(entry.dims) and header.family.outputs == {"dense", "multi"}


def test_checkpoints_find_their_family(tmp_path: Path) -> None:
    assert read_header(tiny.write(tmp_path / "v4")).family.name == "jina_v4"
    assert read_header(tiny_clip.write(tmp_path / "clip")).family.name == "jina_clip_v2"
    assert read_header(tiny_clip.write(tmp_path / "v3", tiny_clip.V3)).family.name == "jina_clip_v2"
    assert read_header(tiny_bert.write(tmp_path / "bert")).family.name == "jina_bert"
    assert read_header(tiny_bert.write(tmp_path / "clip-v1", tiny_bert.CLIP)).family.name == "jina_bert"


@pytest.mark.parametrize("config", [{"model_type": "bert"}, {"model_type": "qwen2_vl", "hidden_size": 1536}, {}])
def test_a_checkpoint_of_an_unknown_family_is_named(tmp_path: Path, config: dict[str, object]) -> None:
    """Not taken for jina-embeddings-v4, whose adapters it would be said to lack."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        CheckpointError, match=f"supports the model_type {config.get('model_type')!r} .*supported: 'qwen2_5_vl'"
    ):
        read_header(tmp_path)
    with pytest.raises(CheckpointError):
        family_of(config)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the toy's folder in it, and its line in the table."""
    root = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "src/polylens", root / "polylens", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests/toy_family", root / "polylens/models/toy")
    table = root / "polylens/models/family.py"
    before = table.read_text()
    after = before.replace("FOLDERS = (\n", 'FOLDERS = (\n    "toy",\n')
    assert len(after.splitlines()) == len(before.splitlines()) + 1
    table.write_text(after)
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The words are the colours: each word's vector is its colour, and nothing else's."""
    folder = tmp_path_factory.mktemp("models") / "toy"
    folder.mkdir()
    words = ["?", *COLOURS]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": "toy", "vocabulary": 4, "width": 8}))
    axes = np.eye(8, dtype=np.float32)
    save_file({"words": np.stack([axes[7], *axes[:3]]), "colours": axes[:, :3].copy()}, folder / "model.safetensors")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in COLOURS.items():
        PIL.Image.new("RGB", (64, 64), colour).save(folder / f"{name}.png")
    half = PIL.Image.new("RGB", (64, 64), "blue")
    half.paste((255, 0, 0), (0, 0, 32, 64))
    half.save(folder / "half.png")
    return folder


def test_a_third_family_in_python(package: Path, checkpoint: Path, folder: Path) -> None:
    code = """
import sys, polylens
from polylens.library.library import Library
from polylens.models.protocol import Scorer
model, folder = sys.argv[1:]
embedder = polylens.load(model)
texts = embedder.encode_text(["red", "blue"])
images = embedder.encode_image([f"{folder}/red.png", f"{folder}/blue.png"])
print((texts @ images.T).round(3).tolist())
tokens = embedder.encode_image([f"{folder}/half.png"], return_multivector=True)
query = embedder.encode_text(["red blue"], return_multivector=True)
print(tokens[0].shape, embedder.similarity(query, tokens).tolist())
assert isinstance(embedder.model, Scorer) and embedder.family.outputs == {"dense", "multi", "score"}
reranker = polylens.load_reranker(model)
print(reranker.rerank("red", ["blue", "red", "green"])[0].index, reranker.compute_score(["red", "red"]))
library = Library(folder, embedder)
library.update()
print(library.search("green")[0].file, Library(folder, polylens.load(model)).search("blue")[0].file)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(checkpoint), str(folder)],
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "[[1.0, 0.0], [0.0, 1.0]]",
        "(16, 8) [[2.0]]",
        "1 1.0",
        "green.png blue.png",
    ]


def test_a_third_family_served_with_a_heat_map(
    package: Path, checkpoint: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "polylens.cli", "index", str(folder), "--model", str(checkpoint)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(package)}, check=True)
    options = ["--model", str(checkpoint), "--library", str(folder)]
    with serving(*options, home=tmp_path, path=package) as running:
        answer = running.post("/v1/embeddings", {"model": "toy", "input": ["red", {"text": "green"}]}).json()
        assert [row["embedding"][:3] for row in answer["data"]] == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
        [found, *_] = running.post("/library/search", {"query": "red"}).json()["results"]
        assert found["file"] in ("red.png", "half.png")
        why = running.post("/library/why", {"query": "red", "file": "half.png", "page": 1}).json()
        assert (why["rows"], why["columns"]) == (4, 4)
        assert why["words"][0]["heat"] == [1.0, 1.0, 0.0, 0.0] * 4


def test_a_model_that_only_scores_is_no_embedder(
    package: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = tmp_path / "scores"
    shutil.copytree(package / "polylens", scores / "polylens")
    family = scores / "polylens/models/toy/family.py"
    family.write_text(family.read_text().replace('frozenset({"dense", "multi", "score"})', 'frozenset({"score"})'))
    monkeypatch.setenv("PYTHONPATH", str(scores))
    command = [sys.executable, "-m", "polylens.cli", "embed", "red", "--model", str(checkpoint)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "polylens: this model is a reranker: it scores pairs of inputs and produces no vectors; use it with "
        "load_reranker, or `polylens rerank`\n"
    )
