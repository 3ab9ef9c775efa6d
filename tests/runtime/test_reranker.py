"""Rerankers with real models: nano, whose vectors are compared, and a tiny jina-reranker-m0, which scores pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.support import tiny_clip, tiny_m0

import polylens
from polylens.errors import ImageError, InputError
from polylens.runtime import pairs
from polylens.runtime.pairs import PairOptions, document_limit, prepare_query, windows
from polylens.runtime.reranker import PairReranker, Reranker, VectorReranker

ROUNDING = 1e-5  # float32 in another batch; scores of different pairs are 1e-3 and more apart
TEXTS = ["a ship in the harbour", "the price of bread", "ein Hafen im Norden"]


def picture(seed: int, width: int = 84, height: int = 56) -> PIL.Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


@pytest.fixture(scope="module")
def nano() -> Reranker:
    return polylens.load_reranker("nano", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_m0.write(tmp_path_factory.mktemp("models") / "tiny-m0")


@pytest.fixture(scope="module")
def m0(folder: Path) -> PairReranker:
    loaded = polylens.load_reranker(folder, device="cpu", dtype="float32")
    assert isinstance(loaded, PairReranker)
    return loaded


@pytest.fixture(params=["nano", "m0"])
def reranker(request: pytest.FixtureRequest) -> Reranker:
    return request.getfixturevalue(request.param)


def scores_of(reranker: Reranker, query: Any, documents: list[Any], **options: Any) -> list[float]:
    """Scores in the order of the documents."""
    ranked = reranker.rerank(query, documents, **options)
    return [each.score for each in sorted(ranked, key=lambda each: each.index)]


class TestEveryReranker:
    def test_best_first_and_only_as_many_as_asked_for(self, reranker: Reranker) -> None:
        documents: list[Any] = [*TEXTS, picture(1), polylens.Image(picture(2))]
        ranked = reranker.rerank("harbour", documents)
        assert sorted(each.index for each in ranked) == [0, 1, 2, 3, 4]
        assert [each.score for each in ranked] == sorted((each.score for each in ranked), reverse=True)
        best = reranker.rerank("harbour", documents, top_n=2)
        assert best == ranked[:2] and len(reranker.rerank("harbour", documents, top_n=9)) == 5

    def test_ties_keep_the_order_of_the_documents(self, reranker: Reranker) -> None:
        ranked = reranker.rerank("harbour", ["same"] * 4)
        assert [each.index for each in ranked] == [0, 1, 2, 3]
        assert len({each.score for each in ranked}) == 1

    def test_no_documents(self, reranker: Reranker) -> None:
        assert reranker.rerank("harbour", []) == [] and reranker.compute_score([]) == []

    def test_a_score_does_not_depend_on_what_shares_its_batch(self, reranker: Reranker) -> None:
        documents = [*TEXTS, picture(1), picture(2, 28, 140), "x"]
        for query in ("where is the harbour?", picture(3)):
            together = scores_of(reranker, query, documents)
            alone = [reranker.rerank(query, [each])[0].score for each in documents]
            assert together == pytest.approx(alone, abs=ROUNDING)
            assert scores_of(reranker, query, documents, batch_size=1) == pytest.approx(alone, abs=ROUNDING)

    def test_pairs_of_every_kind_in_one_call(self, reranker: Reranker) -> None:
        sides: list[Any] = ["a ship", picture(1)]
        mixed = [[query, document] for query in sides for document in (*TEXTS[1:], picture(2))]
        together = reranker.compute_score(mixed)
        assert together == pytest.approx([reranker.compute_score(pair) for pair in mixed], abs=ROUNDING)
        assert isinstance(together, list) and len({round(each, 3) for each in together}) == len(mixed)

    def test_a_string_is_what_the_call_says(
        self, reranker: Reranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        path = "page.png"  # the same words in each run: some paths are scored as the picture is, by chance
        picture(1).save(path)
        as_image = reranker.compute_score([path, path], query_type="image", doc_type="image")
        assert as_image == pytest.approx(reranker.compute_score([picture(1), picture(1)]), abs=ROUNDING)
        as_text = reranker.compute_score([path, path])
        assert as_text == pytest.approx(reranker.rerank(path, [path])[0].score, abs=ROUNDING)
        assert abs(as_text - as_image) > 1e-3 or isinstance(reranker, VectorReranker)  # both sides alike: cosine 1

    def test_one_bad_image_names_its_document(self, reranker: Reranker) -> None:
        documents = ["a", picture(1), polylens.Image(b"no image"), "b"]
        with pytest.raises(ImageError, match=r"^document 2: is not a complete image") as caught:
            reranker.rerank("harbour", documents)
        assert caught.value.index == 2
        with pytest.raises(ImageError, match=r"^query: is not a complete image"):
            reranker.rerank(polylens.Image(b"no image"), documents[:2])
        with pytest.raises(ImageError, match=r"^query 1: is not a complete image"):
            reranker.compute_score([["a", "b"], [polylens.Image(b"no image"), "b"]])

    @pytest.mark.parametrize(
        ("query", "documents", "options", "says"),
        [
            ("a", "b", {}, "documents must be a list; to score one document"),
            ("a", 3, {}, "documents must be a list, got int"),
            ("a", ["b", b"c"], {}, "document 1 must be a str, a polylens.Image or a PIL.Image, got bytes"),
            (None, ["b"], {}, "query 0 must be a str"),
            ("a", ["b", "\ud800"], {}, "document 1 is not valid Unicode"),
            ("a", ["b"], {"top_n": 0}, "top_n must be a whole number above 0, got 0"),
            ("a", ["b"], {"top_n": True}, "top_n must be a whole number above 0, got True"),
            ("a", ["b"], {"max_doc_length": 0}, "max_doc_length must be a whole number above 0, got 0"),
            ("a", ["b"], {"max_length": 9, "max_query_length": 9}, "must exceed max_query_length, got 9 and 9"),
        ],
    )
    def test_refused(self, reranker: Reranker, query: Any, documents: Any, options: Any, says: str) -> None:
        with pytest.raises(InputError, match=says):
            reranker.rerank(query, documents, **options)

    @pytest.mark.parametrize("pairs", ["ab", "abc", ["a"], [["a"]], [["a", "b", "c"]], [["a", "b"], "cd"], 3])
    def test_what_is_no_pair(self, reranker: Reranker, pairs: Any) -> None:
        with pytest.raises(InputError, match=r"pairs? .*must be"):
            reranker.compute_score(pairs)

    def test_an_unknown_type(self, reranker: Reranker) -> None:
        with pytest.raises(InputError, match="doc_type must be one of text, image, got 'pdf'"):
            reranker.compute_score(["a", "b"], doc_type="pdf")  # type: ignore[arg-type]

    def test_progress_adds_up(self, reranker: Reranker) -> None:
        done: list[int] = []
        same = "the same object"
        reranker.score([("a", each) for each in (same, same, "b")], PairOptions(), done.append)
        assert sum(done) == 3


class TestVectors:
    def test_maxsim_per_query_token(self, nano: Reranker) -> None:
        embedder = polylens.load("nano", device="cpu", dtype="float32")
        query = embedder.encode_text(["harbour"], "retrieval", "query", return_multivector=True)
        passages = embedder.encode([*TEXTS, picture(1)], "retrieval", "passage", return_multivector=True)
        expected = embedder.similarity(query, passages)[0] / len(query[0])
        assert scores_of(nano, "harbour", [*TEXTS, picture(1)]) == pytest.approx(expected.tolist(), abs=ROUNDING)
        assert (nano.outputs, nano.modalities, nano.model_id) == ("multi", ("text", "image"), embedder.model_id)

    def test_the_cosine_where_there_are_no_multi_vectors(self, tmp_path: Path) -> None:
        folder = tiny_clip.write(tmp_path / "clip")
        embedder = polylens.load(folder, device="cpu", dtype="float32")
        reranker = polylens.load_reranker(folder, device="cpu", dtype="float32")
        query = embedder.encode_text(["harbour"], "retrieval", "query")
        expected = embedder.encode([*TEXTS, picture(1)], "retrieval", "passage") @ query[0]
        assert scores_of(reranker, "harbour", [*TEXTS, picture(1)]) == pytest.approx(expected.tolist(), abs=ROUNDING)
        assert reranker.outputs == "dense"

    def test_a_document_is_cut(self, nano: Reranker) -> None:
        long = "harbour " + "bread " * 50
        assert nano.rerank("harbour", [long], max_doc_length=4) != nano.rerank("harbour", [long])


class TestPairs:
    def test_a_reranker_says_what_it_is(self, m0: PairReranker, folder: Path) -> None:
        assert (m0.outputs, m0.modalities) == ("score", ("text", "image"))
        assert m0.model_id.startswith("tiny-m0@")
        with pytest.raises(InputError, match="this model is a reranker"):
            polylens.load(folder)

    def test_scores_are_those_of_the_model(self, m0: PairReranker) -> None:
        processor, image = m0.processor, picture(1)
        document = processor.document(image, max_length=None, max_pixels=None)
        query = processor.query("harbour", max_length=None, max_pixels=None)
        pair = processor.pair(query, document, max_length=None)
        assert scores_of(m0, "harbour", ["x", image])[1] == pytest.approx(float(m0.engine.score([pair])[0]))

    def test_windows_change_nothing(self, m0: PairReranker, monkeypatch: pytest.MonkeyPatch) -> None:
        documents = [*TEXTS, *map(picture, range(4)), "x", "y"]
        whole = {query: scores_of(m0, query, documents) for query in ("harbour", None) if query}
        by_image = scores_of(m0, picture(9), documents)
        monkeypatch.setattr(pairs, "WINDOW_PAIRS", 3)
        monkeypatch.setattr(pairs, "WINDOW_IMAGES", 2)
        assert scores_of(m0, "harbour", documents) == pytest.approx(whole["harbour"], abs=ROUNDING)
        assert scores_of(m0, picture(9), documents) == pytest.approx(by_image, abs=ROUNDING)

    def test_windows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pairs, "WINDOW_PAIRS", 3)
        monkeypatch.setattr(pairs, "WINDOW_IMAGES", 2)
        image = picture(1)
        cut = [list(each) for each in windows([("a", "b")] * 4 + [("a", image)] * 3 + [(image, image)] * 2)]
        assert cut == [[0, 1, 2], [3, 4, 5], [6], [7], [8]]
        assert list(windows([])) == []

    def test_a_query_is_prepared_once(self, m0: PairReranker, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pairs, "WINDOW_IMAGES", 1)
        prepared: list[Any] = []
        real = m0.processor.query

        def spied(value: Any, **limits: Any) -> Any:
            prepared.append(value)
            return real(value, **limits)

        monkeypatch.setattr(m0.processor, "query", spied)
        m0.rerank(picture(1), [*TEXTS, picture(2), picture(3)])
        assert len(prepared) == 1

    def test_where_a_document_is_cut(self, m0: PairReranker) -> None:
        def limit(query: Any = "q", **options: Any) -> int:
            checked = PairOptions(**options)
            return document_limit(m0.processor, prepare_query(m0.processor, query, checked), checked)

        assert limit() == limit("q" * 4_000) == 10_240 - 512
        assert limit(max_length=1_000) == 500 and limit(max_length=1_000, max_query_length=100) == 900
        assert limit(max_length=100) == 50 and limit(max_length=99_999) == 10_240 - 512
        assert limit(max_doc_length=7) == 7 and limit(max_length=100, max_doc_length=70) == 50
        wide = picture(1, 28 * 40, 28 * 40)  # which may not be cut, so the document has to make room
        tokens = m0.processor.num_image_tokens(*wide.size)
        assert limit(wide, max_length=200) == max(1, min(100, 200 - tokens - pairs.PROMPT_TOKENS))
        long = "x" * 60
        assert scores_of(m0, "q", [long], max_doc_length=5) == scores_of(m0, "q", [long[:5]], max_doc_length=5)
        assert scores_of(m0, "q", [long], max_doc_length=5) != scores_of(m0, "q", [long])

    def test_a_pair_without_room_for_its_image_is_named(self, m0: PairReranker) -> None:
        with pytest.raises(InputError, match=r"^pair 1: the pair has .* max_length must leave room"):
            m0.rerank("q", ["text", picture(1, 280, 280)], max_length=20)
