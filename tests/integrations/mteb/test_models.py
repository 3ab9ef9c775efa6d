"""Models in mteb's hands: its mock tasks of every type, and vectors that are ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import mteb
import numpy as np
import pytest
from mteb.mocks.mock_tasks.retrieval import MockRetrievalTask
from mteb.results.task_result import TaskResult
from mteb.types import PromptType
from tests.support import tiny_clip
from tests.support.mteb_data import filled

import polylens
from polylens.errors import InputError
from polylens.integrations.mteb import LateInteraction, LibrarySearch, PolylensEncoder, RerankerScores, encoder
from polylens.integrations.mteb.models import rows
from polylens.runtime.embedder import Embedder
from polylens.runtime.pairs import PairOptions

pytestmark = pytest.mark.filterwarnings("ignore")  # mteb, scikit-learn and scipy warn of small data


@pytest.fixture(scope="module")
def nano() -> Embedder:
    return polylens.load("nano")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A task that asked for data from a hub would fail, not wait."""
    monkeypatch.setattr("socket.socket.connect", _refuse)
    yield


def _refuse(*_: object) -> None:
    raise OSError("no network in tests")


def ran(model: Any, but: str = "nothing") -> dict[str, TaskResult]:
    """The mock tasks that a model runs; none may fail for another reason than `but`, a regular expression."""
    results = mteb.mock_run(model)
    done = {name: status for name, status in results.items() if isinstance(status, TaskResult)}
    failed = {name: str(status) for name, status in results.items() if status is not None and name not in done}
    assert not {name: told for name, told in failed.items() if not re.search(but, told)}
    return done


def test_every_type_of_task_runs_with_dense_vectors(nano: Embedder) -> None:
    kinds = set(ran(encoder(nano)))
    for name in (
        "MockSTSTask",
        "MockRetrievalTask",
        "MockRerankingTask",
        "MockClassificationTask",
        "MockClusteringTask",
    ):
        assert name in kinds
    assert any("Image" in name for name in kinds) and len(kinds) >= 30


def test_every_search_task_runs_with_late_interaction_and_a_reranker(nano: Embedder) -> None:
    assert "MockRetrievalTask" in ran(encoder(nano, multivector=True))
    scores = RerankerScores(polylens.load_reranker("nano"))
    assert "MockRerankingTask" in ran(scores, but="requires top_ranked documents")


def test_a_reranker_scores_items_with_a_text_and_an_image(nano: Embedder) -> None:
    """A document counts by its better part, a query by the mean over its parts."""
    import PIL.Image

    reranker = polylens.load_reranker("nano")
    red, blue = (PIL.Image.new("RGB", (60, 60), name) for name in ("red", "blue"))
    queries = [{"text": "red", "image": blue}, {"text": "port fees", "image": red}, {"text": "red", "image": red}]
    documents = [{"text": "a heron", "image": red}, {"text": "port fees", "image": blue}, {"text": "", "image": red}]
    found = RerankerScores(reranker).predict(
        loader(queries),
        loader(documents),
        task_metadata=MockRetrievalTask.metadata,
        hf_split="test",
        hf_subset="default",
    )
    wanted = []
    for query, document in zip(queries, documents, strict=True):
        grid = [[reranker.score([(q, d)], PairOptions())[0] for d in document.values()] for q in query.values()]
        wanted.append(np.mean([max(row) for row in grid]))
    np.testing.assert_allclose(found, wanted, atol=2e-5)  # another batch sums in another order
    assert len({round(float(score), 3) for score in found}) == 3


def test_summaries_are_judged_by_the_likeness_to_peoples(nano: Embedder) -> None:
    task = filled(mteb.get_task("SummEvalSummarization.v2"))
    result = mteb.evaluate(encoder(nano), task, cache=None, show_progress_bar=False)
    likeness = [
        nano.similarity(
            *(nano.encode_text(each, "text-matching") for each in (row["machine_summaries"], row["human_summaries"]))
        )
        for row in task.dataset["test"]
    ]
    ranks = [np.argsort(np.argsort(-each.max(axis=1))) for each in likeness]
    wanted = np.mean([1 - 6 * np.sum((rank - np.arange(4)) ** 2) / (4 * 15) for rank in ranks])  # Spearman's rho
    assert result.task_results[0].get_score() == pytest.approx(wanted)
    assert wanted > 0.5


def test_a_library_finds_what_it_is_asked_for(nano: Embedder) -> None:
    task = filled(mteb.get_task("Flickr30kT2IRetrieval"))
    by_text = filled(mteb.get_task("LEMBQMSumRetrieval"))
    search = LibrarySearch(nano)
    found = mteb.evaluate(search, [task, by_text], cache=None, show_progress_bar=False)
    images, texts = found.task_results
    assert 0 <= images.scores["test"][0]["ndcg_at_10"] <= 1
    assert texts.get_score() == 1.0  # each query is the text of its document
    assert search._made is None  # nothing is left behind


def loader(items: list[dict[str, Any]], size: int = 2) -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(
        items, batch_size=size, collate_fn=lambda batch: {key: [each[key] for each in batch] for key in batch[0]}
    )


@pytest.mark.parametrize("multivector", [False, True])
def test_vectors_are_ours(nano: Embedder, multivector: bool) -> None:
    texts = ["port fees", "ships", "which of them come back?"]
    model = PolylensEncoder(nano, multivector=multivector)
    metadata = MockRetrievalTask.metadata
    for side, prompt in ((PromptType.query, "query"), (PromptType.document, "passage")):
        found = model.encode(
            loader([{"text": text} for text in texts]),
            task_metadata=metadata,
            hf_split="test",
            hf_subset="default",
            prompt_type=side,
        )
        wanted = nano.encode_text(texts, "retrieval", prompt, return_multivector=multivector)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-5)  # another batch sums in another order


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("STS12", "text-matching"),
        ("CosQA", "code"),
        ("JinaVDRTQARetrieval", "retrieval"),
        ("AskUbuntuDupQuestions", "retrieval"),
    ],
)
def test_the_task_follows_the_type(nano: Embedder, name: str, task: str) -> None:
    from polylens.integrations.mteb.models import role

    metadata = mteb.get_task(name).metadata
    assert role(nano, metadata, PromptType.document) == (task, "passage")
    assert role(nano, metadata, None, task="retrieval") == ("retrieval", None)


def test_the_corpus_is_embedded_in_chunks(nano: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The most documents whose vectors are asked for at once: that bounds the memory."""
    seen: list[int] = []
    encode = PolylensEncoder.encode

    def counting(self: PolylensEncoder, inputs: Any, **options: Any) -> Any:
        if options["prompt_type"] is PromptType.document:
            seen.append(len(inputs.dataset))
        return encode(self, inputs, **options)

    monkeypatch.setattr(PolylensEncoder, "encode", counting)
    scores = []
    for chunk in (3, 100):
        for multivector in (False, True):
            model = encoder(nano, multivector=multivector, chunk=chunk)
            result = mteb.evaluate(
                model, filled(mteb.get_task("LEMBQMSumRetrieval")), cache=None, show_progress_bar=False
            )
            scores.append(result.task_results[0].get_score())
    assert seen == [3, 3, 2, 3, 3, 2, 8, 8]
    assert scores[:2] == scores[2:]


def test_items_with_a_text_and_an_image_are_joined(nano: Embedder) -> None:
    import PIL.Image

    from polylens.library.page_embedding import join

    image = PIL.Image.new("RGB", (60, 60), "red")
    items = [{"text": "a", "image": image}, {"text": "b", "image": image}]
    found = PolylensEncoder(nano).encode(
        loader(items),
        task_metadata=MockRetrievalTask.metadata,
        hf_split="test",
        hf_subset="default",
        prompt_type=PromptType.document,
    )
    wanted = [
        join(nano.embed([each["text"], each["image"]], task="retrieval", prompt_name="passage")) for each in items
    ]
    np.testing.assert_allclose(found, [each.dense for each in wanted], atol=2e-5)
    with pytest.raises(InputError, match="an item must have a text or an image, got audio"):
        list(rows({"audio": [1]}))


def test_settings_are_a_part_of_the_revision(nano: Embedder) -> None:
    metas = [
        encoder(nano).mteb_model_meta,
        encoder(nano, truncate_dim=64).mteb_model_meta,
        encoder(nano, multivector=True).mteb_model_meta,
        encoder(nano, task="code").mteb_model_meta,
        LibrarySearch(nano).mteb_model_meta,
        LibrarySearch(nano, by="dense").mteb_model_meta,
    ]
    assert {meta.name for meta in metas} == {"polylens/nano"}
    assert len({meta.revision for meta in metas}) == len(metas)
    assert metas[1].revision.endswith("_dense_dim-64")


def test_what_a_model_cannot_do_is_refused(nano: Embedder, tmp_path: Any) -> None:
    clip = polylens.load(tiny_clip.write(tmp_path / "clip"), device="cpu", dtype="float32")
    with pytest.raises(InputError, match="does not produce multi-vectors"):
        encoder(clip, multivector=True)
    with pytest.raises(InputError, match="truncate_dim must be one of 64, 128, 256"):
        encoder(nano, truncate_dim=65)
    with pytest.raises(InputError, match="multi-vectors have one width"):
        encoder(nano, multivector=True, truncate_dim=64)
    assert isinstance(encoder(nano, multivector=True), LateInteraction)
    with pytest.raises(TypeError, match="does not support Search"):
        mteb.evaluate(encoder(nano, multivector=True), filled(mteb.get_task("STS12")), cache=None)
