"""The learner does what the paper says; the store loses nothing, tells nothing, and is not brought down by a file."""

from __future__ import annotations

import json
import logging
import math
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polylens.errors import BusyError, InputError, LabelError, ModelMismatchError, NotFoundError, StorageError
from polylens.server.classifiers import store as module
from polylens.server.classifiers.learner import AGGRESSIVENESS, TEMPERATURE, fit, probabilities
from polylens.server.classifiers.record import Classifier
from polylens.server.classifiers.store import MAX_LABELS, ClassifierStore
from polylens.types import FloatArray

DIM = 16
MODEL = {"model": "jina-clip-v2", "model_id": "weights 1"}
SUMMARY = {
    *("classifier_id", "user_id", "model", "labels", "access", "updated_number", "used_number"),
    *("created_at", "updated_at", "used_at", "is_active", "is_latest", "metadata_"),
}


def unit(vectors: np.ndarray) -> FloatArray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def clusters(num_labels: int, num_each: int, seed: int = 0, spread: float = 0.5) -> tuple[FloatArray, list[int]]:
    """Samples around one centre a label; the centres do not depend on the seed."""
    centres = unit(np.random.default_rng(99).standard_normal((num_labels, DIM)))
    targets = np.repeat(np.arange(num_labels), num_each)
    noise = unit(np.random.default_rng(seed).standard_normal((len(targets), DIM)))
    return unit(centres[targets] + spread * noise), targets.tolist()


def slow_fit(weights: FloatArray, vectors: FloatArray, targets: list[int], num_iters: int) -> np.ndarray:
    """The paper's loop, on the weights themselves."""
    learned = weights.astype(np.float64)
    rng = np.random.default_rng(0)
    for _ in range(num_iters):
        for sample in rng.permutation(len(vectors)):
            x, target = vectors[sample].astype(np.float64), targets[sample]
            scores = [sum(w * v for w, v in zip(row, x, strict=True)) for row in learned]
            rival = max((row for row in range(len(learned)) if row != target), key=lambda row: scores[row])
            loss = max(0.0, 1 - (scores[target] - scores[rival]))
            step = min(AGGRESSIVENESS, loss / (2 * sum(v * v for v in x)))
            learned[target] += step * x
            learned[rival] -= step * x
    return learned


@pytest.fixture
def store(tmp_path: Path) -> ClassifierStore:
    return ClassifierStore(tmp_path / "classifiers")


def make(store: ClassifierStore, owner: str = "ann", access: Any = "private", seed: int = 0) -> Classifier:
    vectors, targets = clusters(2, 4, seed)
    labels = [("cat", "dog")[target] for target in targets]
    return store.train(owner=owner, **MODEL, vectors=vectors, labels=labels, num_iters=10, access=access)


def more(num_labels: int = 3) -> dict[str, Any]:
    """What an update takes: samples of a third label among them."""
    vectors, targets = clusters(num_labels, 4, seed=5)
    labels = [("cat", "dog", "newt")[target] for target in targets]
    return {"model_id": MODEL["model_id"], "vectors": vectors, "labels": labels, "num_iters": 3}


def npz(classifier: Classifier, folder: Path) -> Path:
    return folder / "classifiers" / f"{classifier.classifier_id}.npz"


class TestLearner:
    @pytest.mark.parametrize(("num_labels", "num_iters", "spread"), [(2, 1, 0.5), (5, 4, 2.0), (3, 10, 5.0)])
    def test_is_the_loop_of_the_paper(self, num_labels: int, num_iters: int, spread: float) -> None:
        vectors, targets = clusters(num_labels, 6, spread=spread)
        before = np.random.default_rng(1).standard_normal((num_labels, DIM)).astype(np.float32)
        fast, slow = fit(before, vectors, targets, num_iters), slow_fit(before, vectors, targets, num_iters)
        # float32 in the Gram matrix; the weights move by about 1
        assert fast.dtype == np.float32 and np.abs(fast - slow).max() < 1e-5 < np.abs(fast - before).max() / 100

    @pytest.mark.parametrize("num_labels", [2, 7])
    def test_separates_what_can_be_separated(self, num_labels: int) -> None:
        vectors, targets = clusters(num_labels, 8)
        weights = fit(np.zeros((num_labels, DIM), np.float32), vectors, targets, 200)
        scores = vectors @ weights.T
        own = scores[np.arange(len(targets)), targets].copy()
        scores[np.arange(len(targets)), targets] = -np.inf
        assert (own - scores.max(axis=1)).min() > 0.99  # a margin of 1 for each, to the last rounding
        unseen, expected = clusters(num_labels, 8, seed=1)
        assert (unseen @ weights.T).argmax(axis=1).tolist() == expected

    def test_a_sample_that_is_right_by_a_margin_changes_nothing(self) -> None:
        weights = np.array([[1.0, 0.0], [-0.5, 0.0]], np.float32)
        sample = np.array([[1.0, 0.0]], np.float32)
        assert np.array_equal(fit(weights, sample, [0], 5), weights)

    def test_one_step_is_no_longer_than_allowed(self) -> None:
        sample = np.array([[0.6, 0.8]], np.float32)
        moved = fit(np.array([[-9, -9], [9, 9]], np.float32), sample, [0], 1) - [[-9, -9], [9, 9]]
        assert np.allclose(moved, [AGGRESSIVENESS * sample[0], -AGGRESSIVENESS * sample[0]], atol=1e-6)

    def test_the_same_samples_make_the_same_classifier(self) -> None:
        vectors, targets = clusters(3, 5, spread=3.0)
        zeros = np.zeros((3, DIM), np.float32)
        assert np.array_equal(fit(zeros, vectors, targets, 3), fit(zeros, vectors, targets, 3))
        assert not zeros.any()

    def test_probabilities_are_a_softmax(self) -> None:
        rng = np.random.default_rng(0)
        weights, vectors = rng.standard_normal((5, DIM)).astype(np.float32), unit(rng.standard_normal((3, DIM)))
        found = probabilities(weights, vectors)
        for row, vector in zip(found, vectors, strict=True):
            powers = [math.exp(float(w @ vector) / TEMPERATURE) for w in weights]
            assert np.allclose(row, [power / sum(powers) for power in powers], rtol=1e-4)
        assert np.allclose(found.sum(axis=1), 1, atol=1e-6) and (found >= 0).all()

    def test_probabilities_survive_large_weights(self) -> None:
        assert probabilities(np.array([[1e4], [-1e4]], np.float32), np.ones((1, 1), np.float32)).tolist() == [[1, 0]]


class TestUse:
    def test_comes_back_as_it_was_after_a_restart(self, store: ClassifierStore, tmp_path: Path) -> None:
        made = make(store)
        assert uuid.UUID(made.classifier_id).version == 4 and made.labels == ("cat", "dog")
        for again in (store, ClassifierStore(tmp_path / "classifiers")):
            got = again.get(made.classifier_id, owner="ann")
            assert np.array_equal(got.weights, made.weights) and got.summary() == made.summary()
            assert [record.summary() for record in again.list("ann")] == [made.summary()]

    def test_scores_unseen_vectors_of_any_length(self, store: ClassifierStore) -> None:
        made = make(store)
        vectors, targets = clusters(2, 6, seed=3)
        scores = made.scores(vectors, model_id="weights 1")
        assert scores.shape == (12, 2) and np.allclose(scores.sum(axis=1), 1, atol=1e-6)
        assert scores.argmax(axis=1).tolist() == targets and scores.max(axis=1).min() > 0.8
        assert np.allclose(made.scores(vectors * 7, model_id="weights 1"), scores, atol=1e-5)

    def test_training_does_not_depend_on_the_length_of_vectors(self, store: ClassifierStore) -> None:
        vectors, targets = clusters(2, 4)
        labels = [("cat", "dog")[target] for target in targets]
        long = store.train(owner="ann", **MODEL, vectors=vectors * 7, labels=labels, num_iters=10, access="public")
        assert np.allclose(long.weights, make(store).weights, atol=1e-5)

    def test_summary_has_the_published_shape(self, store: ClassifierStore) -> None:
        summary = make(store, access="public").summary()
        assert set(summary) == SUMMARY and json.loads(json.dumps(summary)) == summary
        assert uuid.UUID(summary["user_id"]).version == 5
        assert summary["user_id"] == make(store).summary()["user_id"] != make(store, owner="bob").summary()["user_id"]
        assert "ann" not in json.dumps(summary)
        assert (summary["labels"], summary["access"], summary["used_at"]) == (["cat", "dog"], "public", None)

    def test_an_update_adds_labels_and_keeps_what_was_known(self, store: ClassifierStore, tmp_path: Path) -> None:
        made = make(store)
        updated = store.update(made.classifier_id, owner="ann", **more())
        assert updated.labels == ("cat", "dog", "newt") and updated.updated_number == 1
        assert updated.updated_at > updated.created_at == made.created_at
        vectors, targets = clusters(3, 6, seed=3)
        again = ClassifierStore(tmp_path / "classifiers").get(made.classifier_id, owner="ann")
        assert again.scores(vectors, model_id="weights 1").argmax(axis=1).tolist() == targets
        grown = np.vstack([made.weights, np.zeros((1, DIM), np.float32)])
        extra = more()
        expected = slow_fit(grown, extra["vectors"], [again.labels.index(label) for label in extra["labels"]], 3)
        assert np.abs(again.weights - expected).max() < 1e-5

    def test_uses_are_counted(self, store: ClassifierStore, tmp_path: Path) -> None:
        made = make(store)
        for _ in range(3):
            store.used(made.classifier_id)
        store.update(made.classifier_id, owner="ann", **more())
        store.used(made.classifier_id)
        store.used(str(uuid.uuid4()))
        for again in (store, ClassifierStore(tmp_path / "classifiers")):
            got = again.get(made.classifier_id, owner="ann")
            assert got.used_number == 4 and got.used_at is not None and got.used_at > got.updated_at

    def test_deleting_leaves_no_file(self, store: ClassifierStore, tmp_path: Path) -> None:
        made, other = make(store), make(store, seed=1)
        store.used(made.classifier_id)
        store.delete(made.classifier_id, owner="ann")
        assert [path.name for path in (tmp_path / "classifiers").iterdir()] == [npz(other, tmp_path).name]
        assert [record.classifier_id for record in store.list("ann")] == [other.classifier_id]
        for action in (store.get, store.delete):
            with pytest.raises(NotFoundError):
                action(made.classifier_id, owner="ann")

    def test_labels_may_be_any_text(self, store: ClassifierStore, tmp_path: Path) -> None:
        labels = ["猫", "", "a\0", "\ud800", 'q"\n', "é" * 500]
        made = store.train(owner="o", **MODEL, vectors=np.eye(6, DIM), labels=labels, num_iters=1, access="private")
        assert ClassifierStore(tmp_path / "classifiers").get(made.classifier_id, owner="o").labels == tuple(labels)


class TestRights:
    def test_what_is_private_looks_as_if_it_were_missing(self, store: ClassifierStore) -> None:
        made = make(store)
        said = []
        for classifier_id in (made.classifier_id, str(uuid.uuid4())):
            with pytest.raises(NotFoundError) as caught:
                store.get(classifier_id, owner="bob")
            said.append(str(caught.value).replace(classifier_id, "ID"))
        assert said[0] == said[1]

    def test_what_is_public_may_be_used_but_not_changed(self, store: ClassifierStore) -> None:
        made = make(store, access="public")
        assert store.get(made.classifier_id, owner="bob").labels == made.labels
        assert store.list("bob") == []
        with pytest.raises(NotFoundError):
            store.update(made.classifier_id, owner="bob", **more())
        with pytest.raises(NotFoundError):
            store.delete(made.classifier_id, owner="bob")
        assert store.get(made.classifier_id, owner="ann").updated_number == 0

    @pytest.mark.parametrize("name", ["", "cls-2025-07-15-xyz", "../{id}", "{id}/../{id}", "{id}.npz", "x" * 100_000])
    def test_only_a_uuid_names_a_classifier(self, store: ClassifierStore, name: str) -> None:
        name = name.format(id=make(store).classifier_id)
        for action in (store.get, store.delete):
            with pytest.raises(NotFoundError) as caught:
                action(name, owner="ann")
            assert len(str(caught.value)) < 200
        store.used(name)

    def test_a_uuid_may_be_spelt_in_capitals(self, store: ClassifierStore) -> None:
        made = make(store)
        assert store.get(made.classifier_id.upper(), owner="ann").classifier_id == made.classifier_id
        store.update(made.classifier_id.upper(), owner="ann", **more())
        store.delete(made.classifier_id.upper(), owner="ann")

    def test_vectors_of_another_model_are_refused(self, store: ClassifierStore) -> None:
        made = make(store)
        with pytest.raises(ModelMismatchError, match="jina-clip-v2"):
            made.scores(clusters(2, 1)[0], model_id="weights 2")
        with pytest.raises(ModelMismatchError, match="weights 2"):
            store.update(made.classifier_id, owner="ann", **{**more(), "model_id": "weights 2"})


class TestInputs:
    def train(self, store: ClassifierStore, vectors: Any, labels: list[str], num_iters: int = 1) -> Classifier:
        return store.train(owner="ann", **MODEL, vectors=vectors, labels=labels, num_iters=num_iters, access="private")

    def test_needs_two_labels_and_takes_no_more_than_the_limit(self, store: ClassifierStore) -> None:
        with pytest.raises(LabelError, match="between 2 and 512"):
            self.train(store, np.eye(2), ["one", "one"])
        names = [str(number) for number in range(MAX_LABELS + 1)]
        many = np.random.default_rng(0).standard_normal((MAX_LABELS + 1, DIM))
        with pytest.raises(LabelError, match="have 513"):
            self.train(store, many, names)
        full = self.train(store, many[:-1], names[:-1])
        with pytest.raises(LabelError):
            store.update(
                full.classifier_id, owner="ann", model_id="weights 1", vectors=many[:1], labels=["new"], num_iters=1
            )
        assert store.get(full.classifier_id, owner="ann").labels == tuple(names[:-1])

    @pytest.mark.parametrize(
        ("vectors", "labels"),
        [
            (np.eye(3), ["a", "b"]),
            (np.zeros((0, 3)), []),
            (np.ones(2), ["a", "b"]),
            (np.ones((2, 0)), ["a", "b"]),
            (np.array([[1, 0], [0, 0]]), ["a", "b"]),
            (np.array([[1, 0], [np.nan, 0]]), ["a", "b"]),
            (np.array([[1, 0], [np.inf, 0]]), ["a", "b"]),
        ],
        ids=["fewer labels", "none", "one vector", "no width", "length 0", "not a number", "infinite"],
    )
    def test_vectors_must_fit(self, store: ClassifierStore, vectors: np.ndarray, labels: list[str]) -> None:
        with pytest.raises(InputError):
            self.train(store, vectors, labels)
        assert store.list("ann") == []

    def test_a_number_of_passes_is_needed(self, store: ClassifierStore) -> None:
        with pytest.raises(InputError, match="num_iters must be at least 1, got 0"):
            self.train(store, np.eye(2), ["a", "b"], num_iters=0)

    def test_another_width_is_refused(self, store: ClassifierStore) -> None:
        made = make(store)
        with pytest.raises(InputError, match=r"\[samples, 16\]"):
            made.scores(np.eye(3, dtype=np.float32), model_id="weights 1")
        with pytest.raises(InputError, match=r"\[samples, 16\]"):
            store.update(
                made.classifier_id, owner="ann", model_id="weights 1", vectors=np.eye(2), labels=["a", "b"], num_iters=1
            )

    def test_an_owner_has_only_so_many(self, store: ClassifierStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_CLASSIFIERS", 2)
        first = make(store)
        make(store)
        with pytest.raises(InputError, match="at most 2"):
            make(store)
        make(store, owner="bob")
        store.update(first.classifier_id, owner="ann", **more())
        store.delete(first.classifier_id, owner="ann")
        make(store)

    def test_a_folder_is_made_when_the_first_one_is_trained(self, tmp_path: Path) -> None:
        folder = tmp_path / "deep" / "below"
        store = ClassifierStore(folder)
        assert store.list("ann") == [] and not folder.parent.exists()
        made = make(store)
        assert [record.classifier_id for record in ClassifierStore(folder).list("ann")] == [made.classifier_id]

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        store = ClassifierStore(tmp_path / "file" / "below")
        with pytest.raises(
            StorageError, match=r"cannot be kept in .*/file/below \(.*\); start the server with --class"
        ):
            make(store)
        assert store.list("ann") == []


class TestThreads:
    def test_the_second_of_two_updates_is_told(self, store: ClassifierStore, monkeypatch: pytest.MonkeyPatch) -> None:
        made = make(store)
        learning, go_on = threading.Event(), threading.Event()

        def slow(*arguments: Any) -> FloatArray:
            learning.set()
            assert go_on.wait(30)
            return fit(*arguments)

        monkeypatch.setattr(module, "fit", slow)
        with ThreadPoolExecutor() as threads:
            first = threads.submit(store.update, made.classifier_id, owner="ann", **more())
            assert learning.wait(30)
            with pytest.raises(BusyError, match="try again"):
                store.update(made.classifier_id, owner="ann", **more())
            with pytest.raises(BusyError):
                store.delete(made.classifier_id, owner="ann")
            # asking goes on meanwhile, and is counted
            assert store.get(made.classifier_id, owner="ann").labels == ("cat", "dog")
            store.used(made.classifier_id)
            go_on.set()
            assert first.result().used_number == 1
        assert store.update(made.classifier_id, owner="ann", **more()).updated_number == 2
        assert store.get(made.classifier_id, owner="ann").used_number == 1

    def test_of_many_updates_each_is_learned_or_refused(self, store: ClassifierStore) -> None:
        made = make(store)

        def update(number: int) -> bool:
            try:
                store.update(made.classifier_id, owner="ann", **{**more(2), "labels": [str(number)] * 8})
            except BusyError:
                return False
            return True

        with ThreadPoolExecutor(8) as threads:
            learned = list(threads.map(update, range(40)))
        got = store.get(made.classifier_id, owner="ann")
        assert got.updated_number == sum(learned) > 0
        assert set(got.labels) == {"cat", "dog", *(str(number) for number, done in enumerate(learned) if done)}

    def test_the_last_place_goes_to_one(self, store: ClassifierStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_CLASSIFIERS", 3)

        def attempt(seed: int) -> None:
            with suppress(InputError):
                make(store, seed=seed)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(attempt, range(30)))
        assert 0 < len(store.list("ann")) <= 3

    def test_an_update_that_fails_leaves_the_classifier_free(self, store: ClassifierStore) -> None:
        made = make(store)
        with pytest.raises(InputError):
            store.update(made.classifier_id, owner="ann", **{**more(), "num_iters": 0})
        assert store.update(made.classifier_id, owner="ann", **more()).updated_number == 1


class TestDisk:
    def test_a_file_that_cannot_be_written_changes_nothing(
        self, store: ClassifierStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = make(store)

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.replace", full)
            with pytest.raises(OSError, match="No space"):
                store.update(made.classifier_id, owner="ann", **more())
        assert [path.name for path in (tmp_path / "classifiers").iterdir()] == [npz(made, tmp_path).name]
        for again in (store, ClassifierStore(tmp_path / "classifiers")):
            assert np.array_equal(again.get(made.classifier_id, owner="ann").weights, made.weights)
        assert store.update(made.classifier_id, owner="ann", **more()).updated_number == 1

    def test_a_use_counts_on_a_full_disk_as_well(
        self, store: ClassifierStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        made = make(store)

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.replace", full)
        store.used(made.classifier_id)
        assert "No space left on device" in caplog.text
        assert store.get(made.classifier_id, owner="ann").used_number == 1

    def test_damaged_files_are_named_and_passed_over(
        self, store: ClassifierStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Cut short or changed anywhere: the whole one beside it is served, and nothing else is raised."""
        good, bad = make(store), make(store, seed=1)
        path, whole = npz(bad, tmp_path), npz(bad, tmp_path).read_bytes()
        rng = np.random.default_rng(0)
        damaged = [whole[:length] for length in (0, 1, 40, 200, len(whole) // 2, len(whole) - 1)]
        for place in rng.integers(0, len(whole), 300):
            damaged.append(whole[:place] + bytes([whole[place] ^ int(rng.integers(1, 256))]) + whole[place + 1 :])
        num_refused = 0
        for data in damaged:
            path.write_bytes(data)
            caplog.clear()
            again = ClassifierStore(tmp_path / "classifiers")
            assert np.array_equal(again.get(good.classifier_id, owner="ann").weights, good.weights)
            try:
                got = again.get(bad.classifier_id, owner="ann")
            except NotFoundError:
                num_refused += 1
                assert bad.classifier_id in caplog.text
            else:  # a byte that nobody reads, such as a date in the zip
                assert np.array_equal(got.weights, bad.weights) and got.summary() == bad.summary()
        assert num_refused > 200

    def test_what_is_no_classifier_is_passed_over(
        self, store: ClassifierStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        good, folder = make(store), tmp_path / "classifiers"
        other = str(uuid.uuid4())
        (folder / f"{other}.npz").write_bytes(npz(good, tmp_path).read_bytes())  # a copy under another id
        (folder / "name.npz").write_bytes(npz(good, tmp_path).read_bytes())
        (folder / f"{other}.npz.tmp").write_bytes(b"half")
        nothing = str(uuid.uuid4())
        (folder / f"{nothing}.npz").mkdir()
        (folder / f"{good.classifier_id}.json").write_bytes(b"{")
        with caplog.at_level(logging.WARNING):
            again = ClassifierStore(folder)
        assert [record.summary() for record in again.list("ann")] == [good.summary()]
        named = [f"{other}.npz", f"{other}.npz.tmp", "name.npz", f"{nothing}.npz", f"{good.classifier_id}.json"]
        assert sorted(message.split(" cannot be read")[0] for message in caplog.messages) == sorted(named)

    def test_no_pickle_is_opened(self, store: ClassifierStore, tmp_path: Path) -> None:
        made = make(store)
        np.savez(npz(made, tmp_path), record=np.array([{"owner": "ann"}], dtype=object), weights=made.weights)
        assert ClassifierStore(tmp_path / "classifiers").list("ann") == []

    def test_weights_that_do_not_fit_the_labels_are_refused(self, store: ClassifierStore, tmp_path: Path) -> None:
        made = make(store)
        with np.load(npz(made, tmp_path)) as arrays:
            record = arrays["record"]
        np.savez(npz(made, tmp_path), record=record, weights=made.weights[:1])
        with pytest.raises(NotFoundError):
            store.get(made.classifier_id, owner="ann")

    def test_one_whose_file_is_taken_away_is_not_found(self, store: ClassifierStore, tmp_path: Path) -> None:
        made = make(store)
        npz(made, tmp_path).unlink()
        with pytest.raises(NotFoundError):
            store.get(made.classifier_id, owner="ann")
        store.delete(made.classifier_id, owner="ann")
