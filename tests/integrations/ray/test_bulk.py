"""Files embedded by a Ray cluster of this machine; its actors and its driver are killed."""

from __future__ import annotations

import gc
import importlib.util
import os
import pickle
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.support import buckets, tiny
from tests.support.commands import polylens as run
from tests.support.fakes import FakeEmbedder
from tests.support.killing import contents
from tests.support.root import ROOT
from tests.support.stores import pages, unit
from tests.support.waiting import HANG

from polylens.errors import InputError, PolylensError, StorageUnavailableError
from polylens.index.table.schema import FilePages, PageRow
from polylens.index.table.store import Store
from polylens.library.library import Library
from polylens.library.progress import UpdateProgress

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'polylens[ray]'")
pytestmark = [
    needs_ray,
    pytest.mark.filterwarnings("default"),  # Ray's own are no concern of this project's
]

FILES = 12


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Two cores, and workers that find the tests."""
    import ray

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=200 * 2**20)
    yield
    ray.shutdown()
    with warnings.catch_warnings():  # sockets that Ray leaves open
        warnings.simplefilter("ignore")
        gc.collect()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(FILES):
        (folder / f"{i:02}.txt").write_text(f"word{i} of a page " + " ".join(f"more{j}" for j in range(i * 150)))
    return folder


def executor(model: Any = FakeEmbedder, **options: Any) -> Any:
    from polylens.integrations.ray import RayExecutor

    return RayExecutor(model, FakeEmbedder().max_pixels, **options)


class Mortal(FakeEmbedder):
    """Kills its process in its first batch, once: the file that tells is named by the environment of the test."""

    def __init__(self, marker: str) -> None:
        super().__init__()
        self._marker = Path(marker)

    def embed(self, *args: Any, **options: Any) -> Any:
        if not self._marker.exists():
            self._marker.write_text("died")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed(*args, **options)


def test_the_index_is_the_one_that_this_machine_makes_alone(folder: Path, tmp_path: Path) -> None:
    told: list[UpdateProgress] = []
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 no more")
    work = executor()
    report = Library(folder, FakeEmbedder()).update(told.append, executor=work)
    assert report.indexed == FILES and [name for name, _ in report.failed] == ["broken.pdf"]
    num_pages = sum(work.work.pages.values())
    assert num_pages == report.pages > FILES and work.work.share(1.0) > 0
    assert told[-1].done_pages == num_pages and {each.phase for each in told} == {"scanning", "indexing", "finishing"}
    here = tmp_path / "here"
    here.mkdir()
    for path in folder.glob("[!.]*"):
        os.link(path, here / path.name)
    Library(here, FakeEmbedder()).update()
    assert contents(folder) == contents(here)

    again = executor()
    assert Library(folder, FakeEmbedder()).update(executor=again).unchanged == FILES
    assert not again.work.pages  # nothing is embedded twice
    (folder / "00.txt").write_text("changed")
    (folder / "01.txt").rename(folder / "moved.txt")
    report = Library(folder, FakeEmbedder()).update(executor=again)
    assert (report.indexed, report.moved, report.unchanged) == (1, 1, FILES - 2)
    assert sum(again.work.pages.values()) == 1


def test_a_killed_actor_costs_nothing(folder: Path, tmp_path: Path) -> None:
    from functools import partial

    marker = tmp_path / "marker"
    work = executor(partial(Mortal, str(marker)), embedders=1)
    report = Library(folder, FakeEmbedder()).update(executor=work)
    assert marker.exists() and report.indexed == FILES
    assert len(Library(folder, FakeEmbedder()).files()) == FILES


def test_no_vector_comes_to_the_driver(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, each page's row came through this process; now it is told of pages, some 300 bytes each, and of blocks.

    Both sums are of the same run: what the rows hold, and everything that Ray gave this process, its own notes on
    blocks included.
    """
    import ray

    get, arrived = ray.get, []

    def counted(*arguments: Any, **options: Any) -> Any:
        value = get(*arguments, **options)
        arrived.append(len(ray.cloudpickle.dumps(value)))
        return value

    monkeypatch.setattr(ray, "get", counted)
    work = executor(embedders=1)
    report = Library(folder, FakeEmbedder()).update(executor=work)
    stored = Store.open(folder / ".polylens").snapshot().table(["dense", "multivector"]).nbytes
    assert report.pages > FILES and work.work.bytes_apart > stored > 0
    assert work.work.bytes_here < 1_000 * (report.pages + FILES)
    assert sum(arrived) < stored / 4


def test_a_killed_saving_actor_costs_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It dies when its first commit has gone through and nobody knows yet. The commit is repeated, and counts once."""
    monkeypatch.setattr("polylens.library.saving.COMMIT_PAGES", 4)
    work, pids = executor(), set()

    def die_in_the_next_commit(saving: Any) -> int:
        saving._store._require_current = lambda: os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    def tell(progress: UpdateProgress) -> None:
        if progress.phase == "indexing" and not pids and work._saving is not None:
            import ray

            pids.add(ray.get(work._saving.__ray_call__.remote(die_in_the_next_commit)))

    report = Library(folder, FakeEmbedder()).update(tell, executor=work)
    [pid] = pids
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert report.indexed == FILES
    contents(folder)  # no page is there twice
    store = Store.open(folder / ".polylens")
    assert store.count() == report.pages and len(store.files()) == FILES
    assert not store.storage.has_writers()  # so that what a killed one left behind may go
    with Store.open(folder / ".polylens", write=True) as store:
        store.compact(force=True)
        data = folder / ".polylens" / f"{store.manifest.table}.lance" / "data"
        assert len(list(data.glob("*.lance"))) == 1


def test_pages_whose_words_are_read_again(folder: Path, tmp_path: Path) -> None:
    """Rows of some pages of a file meet those that the index has of the others, where they are committed."""
    from polylens.integrations.ray.saving import RowApart, Saving, TableApart

    with Store.create(tmp_path / "index", "model", 8) as store:
        store.commit([pages("a", 3), pages("b", 2)])
        import ray

        [row] = [PageRow(2, "pdf", "read", *_vectors(9))]
        block = pa.table({"file": [0], "page": [2], "row": [pickle.dumps(row)]})
        some = TableApart((RowApart(0, 2, ray.put(block)),), only_some=True)
        saving = Saving(store.mandate())
        store.commit_by(lambda: saving.commit([FilePages("a", "hash 0", 1000, 10**18, some)], ["b"]))
        saving.close()
        assert not store.has_met
        rows = store.snapshot().table(["file", "page", "text"]).to_pylist()
    assert sorted((row["file"], row["page"], row["text"]) for row in rows) == [
        ("a", 1, "text 1"),
        ("a", 2, "read"),
        ("a", 3, "text 3"),
    ]


def _vectors(seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return unit(rng, 8), unit(rng, 3, 128).astype(np.float16)


def test_a_folder_that_no_node_sees(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.util import client

    monkeypatch.setattr(client.ray, "is_connected", lambda: True)
    with pytest.raises(InputError, match="needs this machine to be a node of the cluster"):
        Library(folder, FakeEmbedder()).update(executor=executor())


def test_made_anew(folder: Path) -> None:
    """Under the lock of a rebuild, which the driver has, and which its actor does not ask for."""
    Library(folder, FakeEmbedder()).update()
    report = Library(folder, FakeEmbedder("new")).update(rebuild=True, executor=executor())
    assert report.indexed == FILES and not report.failed
    assert Store.open(folder / ".polylens").model_id == FakeEmbedder("new").model_id
    assert Library(folder, FakeEmbedder("new")).search("word7")[0].file == "07.txt"


@pytest.mark.skipif(not buckets.HAS_MOTO, reason="needs moto with its server, of the extra dev")
def test_from_a_bucket_into_a_bucket_and_the_driver_is_killed(folder: Path, shelf: str) -> None:
    """A second driver goes on: what the first had saved is not embedded again, and what it had not is."""
    import ray

    from polylens.index.storage.bucket import BucketStorage

    source = f"{shelf.rsplit('/', 2)[0]}/source"
    for path in folder.glob("*.txt"):
        BucketStorage(source).write(path.name, path.read_bytes())
    BucketStorage(source).write("sub/picture.xyz", b"of no kind")
    code = (
        "import sys, functools; from tests.support.fakes import FakeEmbedder; from polylens.library import saving\n"
        "from polylens.library.library import Library; from polylens.integrations.ray import RayExecutor\n"
        "import ray; ray.init(address=sys.argv[3], log_to_driver=False, logging_level='ERROR')\n"
        "saving.COMMIT_PAGES = 2\n"
        "slow = functools.partial(FakeEmbedder, delay=0.1)\n"
        "work = RayExecutor(slow, FakeEmbedder().max_pixels, embedders=1)\n"
        "def tell(progress):\n"
        "    for file in progress.saved: print('saved', file, flush=True)\n"
        "Library(sys.argv[1], FakeEmbedder(), index=sys.argv[2]).update(tell, executor=work)"
    )
    driver = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, source, shelf, ray.get_runtime_context().gcs_address],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with driver:
        assert driver.stdout is not None and driver.stderr is not None
        lines = iter(driver.stdout.readline, "")
        saved = [next(lines, "") for _ in range(2)]
        driver.kill()
        saved = [line.split()[1] for line in (*saved, *lines) if line.startswith("saved ")]
        assert saved, driver.stderr.read()
    library = Library(shelf, FakeEmbedder())
    assert set(saved) <= library.files().keys()
    work = executor()
    report = Library(source, FakeEmbedder(), index=shelf).update(executor=work)
    assert report.unchanged >= len(saved) and report.unchanged + report.indexed == FILES
    assert [name for name, _ in report.passed_over] == ["sub/picture.xyz"]
    assert library.search("word7")[0].file == "07.txt"
    BucketStorage(source).remove("07.txt")
    assert Library(source, FakeEmbedder(), index=shelf).update(executor=executor()).removed == 1
    assert "07.txt" not in library.files()


def test_a_model_that_cannot_be_loaded_is_one_line(folder: Path) -> None:
    def load() -> FakeEmbedder:
        raise InputError("no such weights")

    with pytest.raises(PolylensError, match=r"an actor of Ray failed \(.*no such weights"):
        Library(folder, FakeEmbedder()).update(executor=executor(load))
    assert Library(folder, FakeEmbedder()).update().indexed == FILES


def test_a_bucket_that_refuses_is_no_unreadable_file(shelf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from polylens.index.storage.bucket import BucketStorage

    source = f"{shelf.rsplit('/', 2)[0]}/source"
    BucketStorage(source).write("a.txt", b"word")
    work = executor()
    wrong = {**buckets.environment("http://127.0.0.1:9")}
    monkeypatch.setattr("polylens.integrations.ray.bulk._credentials", lambda: wrong)
    with pytest.raises(StorageUnavailableError, match="does not answer"):
        Library(source, FakeEmbedder(), index=shelf).update(executor=work)


def test_a_bucket_is_read_by_ray_only(shelf: str) -> None:
    with pytest.raises(InputError, match=r"the files of s3://nowhere are read by Ray: add --ray local"):
        Library("s3://nowhere", FakeEmbedder(), index=shelf).update()


def test_the_command(folder: Path, tmp_path: Path) -> None:
    """With a model in a folder, which each actor loads for itself, on a cluster that runs."""
    import ray

    for path in sorted(folder.glob("*.txt"))[3:]:
        path.unlink()
    model = tiny.write(tmp_path / "tiny")
    done = run("index", folder, "--model", model, "--ray", ray.get_runtime_context().gcs_address)
    assert done.returncode == 0 and "3 indexed" in done.stdout, done.stderr
    assert "INFO" not in done.stderr and "Traceback" not in done.stderr  # of Ray's own
    again = Library(folder)
    assert again.files().keys() == {"00.txt", "01.txt", "02.txt"}
    assert again.stored("01.txt", 1).text.startswith("word1 ")


def test_rows_of_a_dataset() -> None:
    import ray

    from polylens.integrations.ray import embed

    texts = [f"word{i} of a text" for i in range(20)]
    made = embed(ray.data.from_items([{"text": text} for text in texts]), FakeEmbedder, multivector=True)
    rows = {row["text"]: row for row in made.take_all()}
    for text, expected in zip(texts, FakeEmbedder().embed(texts), strict=True):
        np.testing.assert_array_equal(rows[text]["dense"], expected.dense)
        np.testing.assert_array_equal(np.stack(list(rows[text]["multivector"])), expected.multivector)
    with pytest.raises(InputError, match="column must be one of text, got 'body'"):
        embed(ray.data.from_items([{"text": "a"}]), FakeEmbedder, column="body")


def test_the_server_as_a_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same application answers behind Serve's proxy, keys and errors included."""
    import json
    import urllib.error
    import urllib.request

    from ray import serve

    from polylens.integrations.ray.serving import deployment

    served = deployment(
        num_replicas=1,
        ray_actor_options={"num_cpus": 0, "runtime_env": {"env_vars": {"POLYLENS_MODELS": "nano"}}},
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        serve.run(served.bind(), name="polylens")
        ask = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/embeddings",
            json.dumps({"model": "nano", "input": ["a ferry"]}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(ask, timeout=HANG) as answer:
            assert len(json.load(answer)["data"][0]["embedding"]) > 100
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/nothing/there", timeout=HANG)
        assert refused.value.code == 404
    finally:
        serve.shutdown()
