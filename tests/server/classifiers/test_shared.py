"""Classifiers in a bucket: several servers train them, and none loses what another one taught."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import buckets
from tests.support.relays import relaying
from tests.support.serving import Running, serving
from tests.support.waiting import HANG

from polylens.errors import BusyError, InputError, NotFoundError, StorageUnavailableError
from polylens.index.storage.bucket import BucketStorage
from polylens.server.classifiers import store as module
from polylens.server.classifiers.learner import fit
from polylens.server.classifiers.record import Classifier
from polylens.server.classifiers.store import ClassifierStore
from polylens.server.settings import read_settings
from polylens.types import FloatArray

pytestmark = pytest.mark.skipif(not buckets.HAS_MOTO, reason="needs moto with its server, of the extra dev")

EYE = np.eye(4, dtype=np.float32)
MODEL = {"model": "nano", "model_id": "weights 1"}


@pytest.fixture
def place(shelf: str) -> str:
    return f"{shelf.rsplit('/', 1)[0]}/classifiers"


@pytest.fixture
def pair(place: str) -> tuple[ClassifierStore, ClassifierStore]:
    """The classifiers as two servers have them."""
    return ClassifierStore(place), ClassifierStore(place)


def make(store: ClassifierStore, **options: Any) -> Classifier:
    given = {"owner": "ann", "access": "private", **MODEL, **options}
    return store.train(vectors=EYE[:2], labels=["cat", "dog"], num_iters=3, **given)


def teach(store: ClassifierStore, classifier_id: str, label: str) -> Classifier:
    return store.update(
        classifier_id, owner="ann", model_id=MODEL["model_id"], vectors=EYE[2:3], labels=[label], num_iters=3
    )


def test_what_one_server_trains_another_one_uses(pair: tuple[ClassifierStore, ClassifierStore], place: str) -> None:
    one, other = pair
    assert one.list("ann") == other.list("ann") == []
    made = make(one)
    assert np.array_equal(other.get(made.classifier_id, owner="ann").weights, made.weights)
    assert [record.summary() for record in other.list("ann")] == [made.summary()]
    for owner, wanted in (("bob", made.classifier_id), ("ann", "../secret"), ("ann", "0" * 32)):
        with pytest.raises(NotFoundError):
            other.get(wanted, owner=owner)
    taught = teach(other, made.classifier_id, "newt")
    assert one.get(made.classifier_id, owner="ann").labels == ("cat", "dog", "newt")
    assert [record.updated_number for record in one.list("ann")] == [taught.updated_number] == [1]
    assert make(one, owner="bob", access="public").labels == ("cat", "dog")
    assert len(ClassifierStore(place).list("bob")) == 1  # after a restart
    other.delete(made.classifier_id, owner="ann")
    assert one.list("ann") == []
    for store in pair:
        with pytest.raises(NotFoundError):
            teach(store, made.classifier_id, "eft")


def test_none_loses_what_another_taught(pair: tuple[ClassifierStore, ClassifierStore]) -> None:
    """Many updates at once by two servers: each is learned, or refused, and the classifier has exactly those."""
    made = make(pair[0])

    def update(number: int) -> bool:
        try:
            teach(pair[number % 2], made.classifier_id, str(number))
        except BusyError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        learned = list(threads.map(update, range(16)))
    got = pair[0].get(made.classifier_id, owner="ann")
    assert got.updated_number == sum(learned) > 1
    assert set(got.labels) == {"cat", "dog", *(str(number) for number, done in enumerate(learned) if done)}


def test_the_slower_of_two_learns_on_top(
    pair: tuple[ClassifierStore, ClassifierStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    made = make(one)
    learning, go_on = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> FloatArray:
        if threading.current_thread() is not threading.main_thread() and not learning.is_set():
            learning.set()
            assert go_on.wait(HANG)
        return fit(*arguments)

    monkeypatch.setattr(module, "fit", slow)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(teach, one, made.classifier_id, "slow")
        assert learning.wait(HANG)
        teach(other, made.classifier_id, "quick")
        go_on.set()
        assert first.result().labels == ("cat", "dog", "quick", "slow")
    monkeypatch.setattr("polylens.server.classifiers.shelf.BucketShelf.put", lambda *_: False)
    with pytest.raises(BusyError, match="try again later"):  # others come between each time
        teach(one, made.classifier_id, "eft")


def test_an_answer_that_was_lost_is_no_other_server(
    pair: tuple[ClassifierStore, ClassifierStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client repeats a put whose answer did not come, and is told that its condition does not hold any more."""
    put_if = BucketStorage.put_if

    def twice(bucket: BucketStorage, name: str, content: bytes, tag: str | None) -> str | None:
        put = put_if(bucket, name, content, tag)
        return put_if(bucket, name, content, tag) if name.endswith(".npz") else put

    monkeypatch.setattr(BucketStorage, "put_if", twice)
    made = make(pair[0])
    assert teach(pair[0], made.classifier_id, "newt").updated_number == 1
    assert pair[1].get(made.classifier_id, owner="ann").updated_number == 1


def test_only_what_has_changed_is_read_again(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ClassifierStore(place)
    made = [make(store, owner="ann") for _ in range(3)]
    again = ClassifierStore(place)
    assert len(again.list("ann")) == 3
    teach(store, made[1].classifier_id, "newt")
    read, get = [], BucketStorage.get
    monkeypatch.setattr(BucketStorage, "get", lambda bucket, name: read.append(name) or get(bucket, name))  # type: ignore[func-returns-value]
    assert [record.updated_number for record in again.list("ann")] == [0, 1, 0]
    assert [name for name in read if name.endswith(".npz")] == [f"{made[1].classifier_id}.npz"]


def test_uses_are_those_of_all_servers(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "USES_SECONDS", 0.0)
    one, other = ClassifierStore(place), ClassifierStore(place)
    made = make(one)
    for store in (one, other, one):
        store.get(made.classifier_id, owner="ann")
        store.used(made.classifier_id)
    assert [record.used_number for record in other.list("ann")] == [3]
    monkeypatch.setattr(module, "USES_SECONDS", 1_000.0)
    for _ in range(5):  # not each is written
        one.used(made.classifier_id)
    assert json.loads(BucketStorage(place).read(f"{made.classifier_id}.json"))["used_number"] == 3
    assert [record.used_number for record in one.list("ann")] == [8]


def test_damaged_ones_are_named_and_passed_over(place: str, caplog: pytest.LogCaptureFixture) -> None:
    good = make(ClassifierStore(place))
    bad = "00000000-0000-4000-8000-000000000000"
    BucketStorage(place).write(f"{bad}.npz", b"half")
    BucketStorage(place).write("sub/other.npz", b"of somebody else")
    store = ClassifierStore(place)
    assert [record.classifier_id for record in store.list("ann")] == [good.classifier_id]
    with pytest.raises(NotFoundError):
        store.get(bad, owner="ann")
    assert {message.split(" ")[0] for message in caplog.messages} == {f"{bad}.npz"}


def test_buckets_that_cannot_be_used(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    with relaying(os.environ["AWS_ENDPOINT_URL"], conditions=False) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(StorageUnavailableError, match="ignores conditional puts"):
            make(ClassifierStore(place))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store = ClassifierStore(place)  # a server starts all the same
    for attempt in (lambda: make(store), lambda: store.list("ann"), lambda: store.get("0" * 32, owner="ann")):
        with pytest.raises(StorageUnavailableError, match="does not answer"):
            attempt()
    with pytest.raises(InputError, match=r"in a folder or in s3://BUCKET/PREFIX, got 'gs://bucket'"):
        ClassifierStore("gs://bucket")


def test_the_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POLYLENS_CLASSIFIERS", "s3://bucket/classifiers")
    assert read_settings({}).classifiers == "s3://bucket/classifiers"
    assert read_settings({"classifiers": str(tmp_path)}).classifiers == tmp_path


@pytest.fixture
def servers(place: str, tmp_path: Path) -> Iterator[tuple[Running, Running]]:
    for home in ("one", "other"):
        (tmp_path / home).mkdir()
    with (
        serving("--classifiers", place, home=tmp_path / "one") as one,
        serving("--classifiers", place, home=tmp_path / "other") as other,
    ):
        yield one, other


def test_two_servers_share_them(servers: tuple[Running, Running], place: str) -> None:
    one, other = servers
    samples = [{"text": "a ship in the harbour", "label": "sea"}, {"text": "a cow in the field", "label": "land"}]
    trained = one.post("/v1/train", {"model": "nano", "input": samples, "access": "private"})
    assert trained.status_code == 200, trained.text
    asked = {"classifier_id": trained.json()["classifier_id"], "input": ["a ship in the harbour"]}
    answer = other.post("/v1/classify", asked)
    assert answer.status_code == 200 and answer.json()["data"][0]["prediction"] == "sea", answer.text
    assert f"trained classifiers: {place}" in one.log.read_text()
