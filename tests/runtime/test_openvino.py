"""The openvino engine against the torch engine: same vectors, whatever shares a batch, converted once."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from tests.support import tiny_bert, tiny_clip, tiny_colbert
from tests.support.engines import CPU, Checkpoint, cosines, largest_difference, run

from polylens.checkpoints.loading import load_model, read_header
from polylens.models.eva02.vision import token_angles
from polylens.models.protocol import Item
from polylens.runtime.embedder import load
from polylens.runtime.engines.openvino.engine import OpenVinoEngine
from polylens.runtime.engines.openvino.rows import LONGEST, ROW, Batch, row_inputs, rows_of
from polylens.runtime.engines.torch import TorchEngine
from polylens.server.engine.registry import Registry
from polylens.server.engine.worker import Worker, WorkerConfig
from polylens.server.settings import Settings

pytestmark = pytest.mark.skipif(  # not importorskip: an import of openvino by itself reports its use
    find_spec("openvino") is None or find_spec("nncf") is None,
    reason="the extra openvino is not installed: pip install 'polylens[openvino]'",
)

EXACT = 2e-5  # of unit vectors: float32 sums in another order, through three layers
COSINE = {torch.float32: 1 - 1e-6, torch.bfloat16: 0.9999}
TASKS = (None, "retrieval_query", "separation")
TEXTS = ("a", "the harbour closes at nine", "which ferry is the last one today, and where does it leave?")


@pytest.fixture(scope="module", autouse=True)
def shapes_unchecked() -> Iterator[None]:
    """While a graph is traced, a size is a tensor, which the checker of shapes does not take for a number."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def v3(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    longer = {**tiny_clip.V3, "max_position_embeddings": LONGEST + 100}
    return Checkpoint(tiny_clip.write(tmp_path_factory.mktemp("v3") / "model", longer))


@pytest.fixture(scope="module")
def items(v3: Checkpoint) -> list[Item]:
    """Texts of several tasks, whose graphs are ready."""
    items = [item for task in TASKS for item in v3.texts(task=task)]
    v3.openvino.prepare(items)
    return items[::2] + items[1::2]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    tested = Checkpoint(tiny_bert.write(tmp_path_factory.mktemp("bert") / "model"))
    tested.openvino.prepare(tested.texts())
    return tested


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_the_vectors_of_texts_and_images_are_those_of_torch(tmp_path: Path, dtype: torch.dtype) -> None:
    tested = Checkpoint(tiny_clip.write(tmp_path / "model"), dtype=dtype)
    items = [*tested.texts(), *tested.images(), *tested.texts(["one more"])]
    tested.openvino.prepare(items)
    assert tested.openvino.converted == 2
    reference = TorchEngine(load_model(tested.header, device=CPU, dtype=torch.float32))
    assert min(cosines(tested.openvino, reference, items)) >= COSINE[dtype]


def test_bfloat16_keeps_far_positions_apart(tmp_path: Path) -> None:
    """Angles and distances have more digits than bfloat16: a graph that computed them in it would fail here."""
    longer = {"max_position_embeddings": LONGEST + 2}
    for name, tiny, config in (("rotary", tiny_clip, tiny_clip.V3), ("biases", tiny_bert, tiny_bert.BASE)):
        tested = Checkpoint(tiny.write(tmp_path / name / "model", {**config, **longer}), dtype=torch.bfloat16)
        letters = np.random.default_rng(0).choice([*"abcdefgh "], size=LONGEST - 2)
        items = tested.texts(["".join(letters)])
        assert items[0].num_tokens > LONGEST // 2
        tested.openvino.prepare(items)
        reference = TorchEngine(load_model(tested.header, device=CPU, dtype=torch.float32))
        assert cosines(tested.openvino, reference, items)[0] >= COSINE[torch.bfloat16], name


@pytest.mark.parametrize("config", [tiny_bert.CODE, tiny_bert.CLIP], ids=["normalised queries", "v1's towers"])
def test_the_vectors_of_linear_biases_are_those_of_torch(tmp_path: Path, config: dict[str, object]) -> None:
    tested = Checkpoint(tiny_bert.write(tmp_path / "model", config))
    items = [*tested.texts(), *(tested.images() if "image" in tested.header.modalities else [])]
    tested.openvino.prepare(items)
    assert largest_difference(run(tested.openvino, items), run(tested.torch, items)) < EXACT


def test_multi_vectors_are_those_of_torch(tmp_path: Path) -> None:
    tested = Checkpoint(tiny_colbert.write(tmp_path / "model"))
    processor = tested.header.processor
    items = [processor.text(text, task=None, prompt_name="passage", max_length=None) for text in TEXTS]
    tested.openvino.prepare(items)
    for mine, theirs in zip(run(tested.openvino, items), run(tested.torch, items), strict=True):
        assert mine.multivector.shape == theirs.multivector.shape
        assert np.abs(mine.multivector - theirs.multivector).max() < EXACT


class TestTasks:
    """A model with adapters, of which each text of a batch may choose another."""

    def test_a_batch_may_mix_them(self, v3: Checkpoint, items: list[Item]) -> None:
        mine = run(v3.openvino, items)
        assert largest_difference(mine, run(v3.torch, items)) < EXACT
        same_text = [run(v3.openvino, v3.texts(TEXTS[:1], task))[0] for task in TASKS]
        assert largest_difference(same_text[:1] * 2, same_text[1:]) > 100 * EXACT  # an adapter does something

    def test_a_vector_does_not_depend_on_its_batch(self, v3: Checkpoint, items: list[Item]) -> None:
        alone = [run(v3.openvino, [item])[0] for item in items]
        assert largest_difference(alone, run(v3.openvino, items)) < EXACT

    def test_long_texts_share_a_batch_with_short_ones(self, v3: Checkpoint, items: list[Item]) -> None:
        longer = v3.texts(["n " * 400, "x" * (LONGEST - 2), "y" * (LONGEST + 20)])
        assert [item.num_tokens > ROW for item in longer] == [True, True, True]
        batch = [longer[0], *items, *longer[1:]]
        assert largest_difference(run(v3.openvino, batch), run(v3.torch, batch)) < EXACT

    def test_chunks_are_spans_of_one_text(self, v3: Checkpoint) -> None:
        chunks = v3.header.processor.chunks(TEXTS, task=None, prompt_name="", max_length=None)
        v3.openvino.prepare([chunks])
        mine, theirs = (next(engine.run([chunks])) for engine in (v3.openvino, v3.torch))
        assert len(mine) == 3
        assert largest_difference(mine, theirs) < EXACT


class TestCache:
    """What is converted once is not converted again, unless its files are broken."""

    def again(self, tested: Checkpoint) -> OpenVinoEngine:
        engine = tested.engine()
        engine.prepare(tested.texts())
        assert largest_difference(run(engine, tested.texts()), run(tested.torch, tested.texts())) < EXACT
        return engine

    def test_the_second_start_converts_nothing(self, prepared: Checkpoint) -> None:
        assert prepared.openvino.converted == 1
        assert self.again(prepared).converted == 0

    @pytest.mark.parametrize("name", ["graph.bin", "graph.xml", "graph.json"])
    def test_a_broken_file_is_made_again(self, prepared: Checkpoint, name: str) -> None:
        (path,) = prepared.cache.rglob(name)
        content = bytearray(path.read_bytes())
        middle = slice(len(content) // 2, len(content) // 2 + 64)
        content[middle] = bytes(255 - byte for byte in content[middle])
        path.write_bytes(content)
        assert self.again(prepared).converted == 1
        assert self.again(prepared).converted == 0

    def test_a_whole_file_that_openvino_cannot_read_is_made_again(self, prepared: Checkpoint) -> None:
        import hashlib

        (path,), (manifest,) = prepared.cache.rglob("graph.xml"), prepared.cache.rglob("graph.json")
        path.write_text("<net/>")
        digests = json.loads(manifest.read_text()) | {"graph.xml": hashlib.sha256(b"<net/>").hexdigest()}
        manifest.write_text(json.dumps(digests))
        assert self.again(prepared).converted == 1

    def test_a_folder_that_cannot_be_written_costs_only_the_cache(self, prepared: Checkpoint, tmp_path: Path) -> None:
        blocked = tmp_path / "a file"
        blocked.write_text("")
        engine = OpenVinoEngine(
            prepared.model, prepared.header, quantization=None, cache=blocked, background=prepared.background
        )
        engine.prepare(prepared.texts())
        assert largest_difference(run(engine, prepared.texts()), run(prepared.torch, prepared.texts())) < EXACT


def test_torch_computes_until_a_graph_is_ready(tmp_path: Path) -> None:
    tested = Checkpoint(tiny_bert.write(tmp_path / "model"))
    may_begin = threading.Event()
    tested.background.submit(may_begin.wait)
    items = tested.texts()
    assert largest_difference(run(tested.openvino, items), run(tested.torch, items)) == 0
    assert tested.openvino.converted == 0 and tested.openvino.is_preparing
    may_begin.set()
    tested.openvino.prepare(items)
    assert tested.openvino.converted == 1 and not tested.openvino.is_preparing
    assert largest_difference(run(tested.openvino, items), run(tested.torch, items)) > 0  # another order of sums


def test_a_flag_of_the_program_is_not_openvinos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["polylens", "index", "--verbose"])
    tested = Checkpoint(tiny_bert.write(tmp_path / "model"))
    tested.openvino.prepare(tested.texts())
    assert tested.openvino.converted == 1
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("kind", ["text", "image"])
def test_8_bit_vectors_are_near_and_cached(tmp_path: Path, kind: str) -> None:
    folder = tiny_clip.write(tmp_path / "model") if kind == "image" else tiny_bert.write(tmp_path / "model")
    tested = Checkpoint(folder, quantization="int8")
    token_angles.cache_clear()  # what a tower computes once must be there before its layers are traced
    items = tested.images() if kind == "image" else tested.texts()
    found = cosines(tested.openvino, tested.torch, items)  # without `prepare`: a batch waits for its graph
    assert tested.openvino.converted == 1
    assert 0.99 <= min(found) < 0.999999  # and not those of torch
    again = tested.engine("int8")
    assert largest_difference(run(again, items), run(tested.openvino, items)) < EXACT
    assert again.converted == 0


def test_loading_by_name_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYLENS_CACHE", str(tmp_path / "kept"))
    folder = tiny_bert.write(tmp_path / "model")
    embedder = load(folder, engine="openvino", dtype="float32")
    embedder.engine.prepare([embedder.processor.text("warm", task=None, prompt_name="", max_length=None)])
    expected = load(folder, dtype="float32")
    assert np.abs(embedder.encode_text(list(TEXTS)) - expected.encode_text(list(TEXTS))).max() < EXACT
    assert embedder.model_id == expected.model_id  # another engine, the same vectors
    assert list((tmp_path / "kept").rglob("graph.bin"))


def test_neither_library_reports_its_use() -> None:
    from polylens.runtime.engines.openvino.library import core

    assert core() is not None
    assert sys.modules["openvino_telemetry"] is None


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setenv("POLYLENS_CACHE", str(tmp_path / "kept"))
    folder = tiny_bert.write(tmp_path / "model")
    config = WorkerConfig(
        folder=folder, modalities=("text",), device="cpu", dtype="float32", threads=1, engine="openvino"
    )
    worker = Worker(config)
    yield worker
    worker.stop()


def test_the_process_of_a_server_has_its_graphs_before_the_first_request(worker: Worker) -> None:
    worker.start()
    assert list((worker.config.folder.parent / "kept").rglob("graph.bin"))
    embedder = load(worker.config.folder, dtype="float32")
    item = embedder.processor.text(TEXTS[1], task=None, prompt_name="", max_length=None)
    ((found,),) = worker.run([item], [False], 60)
    assert np.abs(found.dense - embedder.encode_text(TEXTS[1])).max() < EXACT


def test_a_server_names_the_quantization(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLYLENS_ENGINE")
    folder = tiny_bert.write(tmp_path / "model")
    (served,) = Registry(Settings(models=(str(folder),), device="cpu", quantization="int8"))
    assert served.model_id == f"model@{read_header(folder).fingerprint}+int8"


def test_rows_hold_each_sequence_once_and_never_too_many() -> None:
    lengths = np.random.default_rng(0).integers(1, 700, size=60).tolist()
    rows = rows_of(lengths, range(60), alone=False)
    assert sorted(i for row in rows for i in row.sequences) == list(range(60))
    for row in rows:
        tokens = sum(lengths[i] for i in row.sequences)
        assert tokens <= row.size and (tokens <= ROW or len(row.sequences) == 1)


def test_a_mask_is_open_inside_each_sequence_only() -> None:
    x = np.arange(10, dtype=np.float32).reshape(5, 2)
    (row,) = rows_of([2, 3], [0, 1], alone=False)
    tokens, positions, mask = row_inputs(row, Batch(x=x, lengths=(2, 3))).values()
    assert row.sequences == (1, 0) and row.size == 16
    assert tokens[:5].tolist() == [*x[2:].tolist(), *x[:2].tolist()] and not tokens[5:].any()
    assert positions[:5].tolist() == [0, 1, 2, 0, 1]
    apart = mask < 0
    assert not apart[:3, :3].any() and not apart[3:5, 3:5].any() and not apart[5:, 5:].any()
    assert apart[:3, 3:].all() and apart[3:5, 5:].all() and (apart == apart.T).all()
