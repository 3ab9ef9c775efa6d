"""The parts of the comparison with peers: the alternating processes, the weights in both layouts, a table."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from tests.support import tiny_clip
from tests.support.root import ROOT
from tests.support.shrunk_v4 import shrunk

import polylens

FOLDER = ROOT / "benchmarks" / "peers"
ENVIRONMENTS = os.environ.get("POLYLENS_PEERS_ENV")

SCRIPT = """
import sys
from pathlib import Path

from process import answer_requests

VECTORS = {"a": [1.0, 0.0], "b": [0.6, 0.8], "longer": [2.0, 0.0], "multi": [[1.0, 0.0], [0.0, 1.0]]}


def load(settings):
    print("a library that greets on stdout")
    if settings["name"] == "broken":
        raise OSError("no such weights")

    def encode(inputs):
        with Path(settings["log"]).open("a") as log:
            log.write(f"{settings['name']} {len(inputs)}\\n")
        return [VECTORS[settings.get(each, each)] for each in inputs]

    return encode


answer_requests(load, ("numpy",))
"""


@pytest.fixture(scope="module")
def peers() -> Iterator[ModuleType]:
    before = list(sys.path)
    sys.path[:0] = [str(FOLDER.parent), str(FOLDER)]
    yield importlib.import_module("peers")
    sys.path[:] = before


@pytest.fixture(scope="module")
def rounds(peers: ModuleType) -> ModuleType:
    assert peers.measure
    return importlib.import_module("rounds")


@pytest.fixture(scope="module")
def weights(peers: ModuleType) -> ModuleType:
    found: ModuleType = peers.weights
    return found


def measured(rounds: ModuleType, folder: Path, rows: dict[str, dict[str, Any]], jobs: dict[str, Any]) -> dict[str, Any]:
    """Measures small processes in two rounds; their calls are in the folder's `log`."""
    script = folder / "small_process.py"
    script.write_text(SCRIPT)
    made = [
        rounds.Row(name, (str(script),), {"name": name, "log": str(folder / "log"), **settings}, Path(sys.executable))
        for name, settings in rows.items()
    ]
    environment = {**os.environ, "PYTHONPATH": str(FOLDER)}
    found: dict[str, Any] = rounds.measure(made, jobs, 2, environment=environment, folder=folder)
    return found


def test_rounds_alternate_and_a_row_that_cannot_load_says_why(rounds: ModuleType, tmp_path: Path) -> None:
    jobs = {"all": rounds.Job(["a", "b"], together=True, tokens=6), "each": rounds.Job(["a", "b"], together=False)}
    found = measured(rounds, tmp_path, {"one": {}, "broken": {}, "two": {}}, jobs)
    calls = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    once = [["2"], ["1"], ["1"]]  # a call with both inputs, then one with each
    order = ["one", "two", "one", "two", "two", "one"]  # the first vectors, round one, round two in reverse
    assert calls == [[name, *call] for name in order for call in once]
    assert found["broken"].failure == "OSError: no such weights"
    assert [len(found["one"].seconds[job]) for job in jobs] == [2, 4]
    assert found["two"].versions == {"numpy": np.__version__} and found["two"].peak_mb > 0
    rows = rounds.summary(found, jobs, ("one", "broken"))
    assert rows["broken"] == {"failure": "OSError: no such weights"}
    assert rows["one"]["all: times one"] == 1.0 and "all: times broken" not in rows["two"]
    assert rows["two"]["all, tokens/s"] == round(6 / min(found["two"].seconds["all"]))


def test_the_least_cosine_is_that_of_the_worst_input_or_token(rounds: ModuleType, tmp_path: Path) -> None:
    jobs = {"all": rounds.Job(["a", "longer"], together=True)}
    found = measured(rounds, tmp_path, {"one": {}, "same": {"a": "longer"}, "other": {"longer": "b"}}, jobs)
    rows = rounds.summary(found, jobs, ())
    assert [row["least cosine"] for row in rows.values()] == [1.0, 1.0, 0.6]  # a vector's length does not count
    multi = rounds.Figures(vectors={"all": [np.eye(2), np.eye(2)]})
    worse = rounds.Figures(vectors={"all": [np.eye(2), np.array([[1.0, 0.0], [0.8, 0.6]])]})
    assert rounds.least_cosine(worse, multi) == pytest.approx(0.6)
    with pytest.raises(ValueError, match="shape"):
        rounds.least_cosine(rounds.Figures(vectors={"all": [np.eye(3), np.eye(2)]}), multi)


def test_a_row_without_its_environment_is_named(rounds: ModuleType, tmp_path: Path) -> None:
    row = rounds.Row("peer", ("none.py",), {}, None)
    found = rounds.measure([row], {"all": rounds.Job(["a"], together=True)}, 1, environment={}, folder=tmp_path)
    assert found["peer"].failure == "its environment is missing"


def test_the_texts_table_without_a_peer(
    peers: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYLENS_CACHE", "as before")
    file = tmp_path / "figures.json"
    small = ["--layers", "1", "--width", "64", "--texts", "3", "--rounds", "1"]
    peers.main(["texts", "--only", "polylens torch", "--json", str(file), *small])
    table = json.loads(file.read_text())["texts"]
    assert list(table["rows"]) == ["polylens torch fp32", "polylens torch bf16"]
    assert 0.999 < table["rows"]["polylens torch bf16"]["least cosine"] <= 1.0
    assert all(row["texts, tokens/s"] > 0 and row["query, ms"] > 0 for row in table["rows"].values())
    assert "| polylens torch bf16 |" in capsys.readouterr().out
    assert os.environ["POLYLENS_CACHE"] == "as before"


def test_the_texts_have_the_tokens_that_are_counted(peers: ModuleType, weights: ModuleType, tmp_path: Path) -> None:
    embedder = polylens.load(weights.write_text_model(tmp_path / "model", 1, 64), device="cpu", dtype="float32")
    texts = peers.mixed_texts(5, seed=7)
    items = [embedder.processor.text(text, task=None, prompt_name="", max_length=None) for text in texts]
    assert [item.num_tokens for item in items] == [len(text) + 2 for text in texts]


def test_an_unknown_table_is_refused(peers: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        peers.main(["text"])
    assert "there is no table text" in capsys.readouterr().err


def test_both_layouts_of_the_multivector_model_are_one_model(weights: ModuleType, tmp_path: Path) -> None:
    """transformers' tower and the head give the same rows as polylens; float32, so the bound is that of rounding."""
    from safetensors.torch import load_file
    from transformers import AutoModel, AutoTokenizer

    published, native = weights.write_multivector_model(tmp_path, 1, 64)
    embedder = polylens.load(published, device="cpu", dtype="float32")
    [ours] = embedder.encode_text(["a harbour"], prompt_name="passage", return_multivector=True)
    tokenizer = AutoTokenizer.from_pretrained(native)
    model = AutoModel.from_pretrained(native, dtype=torch.float32).eval()
    with torch.no_grad():
        states = model(**tokenizer("[DocumentMarker]a harbour", return_tensors="pt")).last_hidden_state[0]
    head = load_file(native / "head.safetensors")["weight"].float()
    theirs = torch.nn.functional.normalize(states @ head.T, dim=-1).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_transformers_reads_the_merged_pages(peers: ModuleType, weights: ModuleType, tmp_path: Path) -> None:
    """The whole path of the peer: image processor, template, network, pooling; both in float32."""
    assert peers.TABLES
    files = shrunk(weights.MODELS["jina-embeddings-v4"].files())
    published, merged = weights.write_page_model(tmp_path / "model", 1, files)
    pages = weights.write_pictures(tmp_path / "pages", 1, (280, 392))
    encode = importlib.import_module("transformers_process").load({"model": str(merged), "dtype": "float32"})
    [theirs] = encode(pages)
    ours = polylens.load(published, device="cpu", dtype="float32").encode_image(Path(pages[0]), task="retrieval")
    assert float(ours @ theirs) > 0.9999  # the adapter was merged in bfloat16


def test_the_picture_model_loads_without_its_text_tower(weights: ModuleType, tmp_path: Path) -> None:
    files = {
        "config.json": tiny_clip.CLIP,
        "preprocessor_config.json": {
            **weights.MODELS["jina-clip-v2"].files()["preprocessor_config.json"],
            "size": tiny_clip.CLIP["vision_config"]["image_size"],
        },
    }
    folder = weights.write_picture_model(tmp_path / "model", 2, files)
    embedder = polylens.load(folder, device="cpu", dtype="float32", modalities=("image",))
    [one, other] = embedder.encode_image([Path(each) for each in weights.write_pictures(tmp_path, 2, (90, 80))])
    assert embedder.modalities == ("image",) and float(one @ other) < 0.9999


@pytest.mark.slow
@pytest.mark.skipif(ENVIRONMENTS is None, reason="set POLYLENS_PEERS_ENV to what benchmarks/peers.py --install made")
@pytest.mark.parametrize("table", ["texts", "multivectors", "servers"])
def test_the_peers_give_the_same_vectors(peers: ModuleType, table: str, tmp_path: Path) -> None:
    small = ["--layers", "1", "--width", "64", "--texts", "4", "--rounds", "1", "--seconds", "0.5"]
    file = tmp_path / "figures.json"
    peers.main([table, "--peers-env", str(ENVIRONMENTS), "--json", str(file), *small])
    rows = json.loads(file.read_text())[table]["rows"]
    assert len(rows) > 3 and not [row["failure"] for row in rows.values() if "failure" in row]
    assert all(row["least cosine"] > 0.99 for row in rows.values())
