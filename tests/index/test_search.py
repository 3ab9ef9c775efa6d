"""Ranking against a slow loop, and the passages that are shown."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from polylens.index.ranking.filters import Filters
from polylens.index.ranking.late import maxsim
from polylens.index.ranking.snippets import SNIPPET_CHARS, snippet
from polylens.index.search import RANKINGS, By, search
from polylens.index.table.schema import FilePages, PageRow, page_table
from polylens.index.table.store import Store
from polylens.types import Embedding

DIM = 16


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    values = rng.standard_normal(shape).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def slow_maxsim(query: np.ndarray, page: np.ndarray) -> float:
    total = 0.0
    for q in query:
        best = -np.inf
        for t in page.astype(np.float64):
            best = max(best, float(sum(a * b for a, b in zip(q.tolist(), t.tolist(), strict=True))))
        total += best
    return total


class TestMaxsim:
    @pytest.mark.parametrize("chunk", [1, 7, 4_096])
    def test_equals_a_slow_double_loop(self, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("polylens.index.ranking.late._CHUNK", chunk)
        rng = np.random.default_rng(0)
        query = unit(rng, 3, 128)
        pages = [unit(rng, n, 128).astype(np.float16) for n in (1, 5, 2, 9, 1, 4)]
        expected = [slow_maxsim(query, page) for page in pages]
        assert np.abs(maxsim(query, pages) - expected).max() < 1e-5  # float32 sums of 128 products of unit vectors

    def test_negative_similarities_count_and_empty_pages_come_last(self) -> None:
        query = np.eye(128, dtype=np.float32)[:2]
        pages = [-query[:1].astype(np.float16), np.zeros((0, 128), np.float16), query.astype(np.float16)]
        assert maxsim(query, pages).tolist() == [-1.0, -np.inf, 2.0]
        assert maxsim(query, []).tolist() == []
        assert maxsim(query, [pages[1]]).tolist() == [-np.inf]

    def test_every_half_precision_number_is_widened_exactly(self) -> None:
        every = np.arange(2**16, dtype=np.uint16).view(np.float16)
        every = every[np.isfinite(every)]
        one = np.ones((1, 1), np.float32)
        assert maxsim(one, [number.reshape(1, 1) for number in every]).tolist() == every.tolist()

    def test_precision_of_the_pages_does_not_matter(self) -> None:
        rng = np.random.default_rng(1)
        query, page = unit(rng, 3, 128), unit(rng, 40, 128).astype(np.float16)
        assert maxsim(query, [page]).tolist() == maxsim(query, [page.astype(np.float32)]).tolist()


@pytest.fixture
def library(tmp_path: Path) -> tuple[Store, list[tuple[str, int, np.ndarray, np.ndarray]]]:
    rng = np.random.default_rng(0)
    everything = []
    with Store.create(tmp_path / "index", "model", DIM) as store:
        files = []
        for file in ("b.pdf", "a.pdf", "c.pdf"):
            rows = [
                PageRow(
                    n, "pdf", f"{file} {n}", unit(rng, DIM), unit(rng, int(rng.integers(2, 30)), 128).astype(np.float16)
                )
                for n in range(1, 21)
            ]
            everything += [(file, row.page, row.dense, row.multivector) for row in rows]
            files.append(FilePages(file, "h", 1, 10**18 if file != "c.pdf" else 2, page_table(rows, DIM)))
        store.commit(files)
    return Store.open(tmp_path / "index"), everything


class TestSearch:
    def test_exact_where_all_pages_are_candidates(self, library: tuple[Store, list]) -> None:
        store, everything = library
        rng = np.random.default_rng(1)
        query = Embedding(unit(rng, DIM), unit(rng, 4, 128))
        slow = sorted(everything, key=lambda row: -slow_maxsim(query.multivector, row[3]))
        hits = search(store.snapshot(), query, top=7)
        assert [(hit.file, hit.page) for hit in hits] == [(file, page) for file, page, _, _ in slow[:7]]
        for hit, (_, _, dense, multivector) in zip(hits, slow, strict=False):
            expected = slow_maxsim(query.multivector, multivector) / query.num_tokens
            assert hit.late_score == pytest.approx(expected, abs=1e-5)
            assert hit.dense_score == pytest.approx(float(dense @ query.dense), abs=1e-6)
            assert (hit.text, hit.kind) == (f"{hit.file} {hit.page}", "pdf")

    def test_otherwise_the_dense_candidates_only(self, library: tuple[Store, list]) -> None:
        store, everything = library
        rng = np.random.default_rng(2)
        query = Embedding(unit(rng, DIM), unit(rng, 4, 128))
        nearest = sorted(everything, key=lambda row: -float(row[2] @ query.dense))[:10]
        slow = sorted(nearest, key=lambda row: -slow_maxsim(query.multivector, row[3]))
        for by in ("late", "fused"):  # without words they are one
            hits = search(store.snapshot(), query, top=3, candidates=10, by=by)
            assert [(hit.file, hit.page) for hit in hits] == [(file, page) for file, page, _, _ in slow[:3]]
        assert (
            len(search(store.snapshot(), query, top=12, candidates=5)) == 12
        )  # never fewer candidates than are wanted

    def test_ties_are_in_order(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(3)
        dense, tokens = unit(rng, DIM), unit(rng, 5, 128)
        with Store.create(tmp_path, "model", DIM) as store:
            for file in ("c", "a", "b"):
                rows = [PageRow(n, "text", "", dense, tokens.astype(np.float16)) for n in (1, 2)]
                store.replace_file(FilePages(file, "h", 1, 2, page_table(rows, DIM)))
            hits = search(store.snapshot(), Embedding(dense, tokens), top=5)
        assert [(hit.file, hit.page) for hit in hits] == [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1)]

    def test_each_stage_alone_and_all_together(self, library: tuple[Store, list]) -> None:
        """Against the scores of every page, ranked here."""
        store, everything = library
        rng = np.random.default_rng(5)
        query = Embedding(unit(rng, DIM), unit(rng, 4, 128))
        words = "b 7 nowhere"
        bm25 = {(c.file, c.page): c.text_score for c in store.snapshot().text_candidates(words, 99)}
        assert len(bm25) == 22  # all of b.pdf, and page 7 of the others
        late = {(file, page): slow_maxsim(query.multivector, tokens) for file, page, _, tokens in everything}
        dense = {(file, page): float(vector @ query.dense) for file, page, vector, _ in everything}
        most = 3 * math.log(1 + 59.5 / 1.5)  # of three words, each on one page of 60
        best = max(bm25.values()) / most
        fused = {place: score / 4 + 0.25 * (bm25.get(place, 0) / most - 0.9 * best) for place, score in late.items()}
        for by, scores in {"dense": dense, "late": late, "text": bm25, "fused": fused}.items():
            hits = search(store.snapshot(), query, top=9, by=by, query_words=words)
            places = [(hit.file, hit.page) for hit in hits]
            if by != "text":  # where many are equal
                assert places == sorted(scores, key=lambda place: -scores[place])[:9]
            assert [scores[place] for place in places] == pytest.approx(
                sorted(scores.values(), reverse=True)[:9], abs=1e-4
            )
            for hit in hits:
                place = (hit.file, hit.page)
                assert hit.score == pytest.approx(scores[place] / (4 if by == "late" else 1), abs=1e-5)
                assert hit.late_score == pytest.approx(late[place] / 4, abs=1e-5)
                assert hit.dense_score == pytest.approx(dense[place], abs=1e-6)
                assert hit.text_score == (pytest.approx(bm25[place], abs=1e-5) if place in bm25 else None)
                assert hit.fused_score == pytest.approx(fused[place], abs=1e-5)
                assert hit.found_by == (("dense", "text") if place in bm25 else ("dense",))

    def test_words_find_what_the_dense_vectors_miss(self, library: tuple[Store, list]) -> None:
        store, everything = library
        rng = np.random.default_rng(6)
        query = Embedding(unit(rng, DIM), unit(rng, 4, 128))
        nearest = sorted(everything, key=lambda row: -float(row[2] @ query.dense))[:5]
        number = next(n for n in range(1, 21) if n not in {page for _, page, _, _ in nearest})
        worded = [row for row in everything if row[1] == number]
        slow = sorted(nearest + worded, key=lambda row: -slow_maxsim(query.multivector, row[3]))
        hits = search(store.snapshot(), query, top=5, candidates=5, by="late", query_words=f"{number}")
        assert [(hit.file, hit.page) for hit in hits] == [(file, page) for file, page, _, _ in slow[:5]]
        missed = [hit for hit in hits if hit.page == number]
        assert missed and all((hit.found_by, hit.dense_score) == (("text",), None) for hit in missed)
        hits = search(store.snapshot(), query, top=5, candidates=5, by="text", query_words=f"{number}")
        assert [(hit.file, hit.page) for hit in hits] == [("a.pdf", number), ("b.pdf", number), ("c.pdf", number)]
        hits = search(store.snapshot(), query, top=5, candidates=5, by="dense", query_words=f"{number}")
        assert [(hit.file, hit.page) for hit in hits] == [(file, page) for file, page, _, _ in nearest]
        assert search(store.snapshot(), query, by="text") == []

    @pytest.mark.parametrize("by", RANKINGS)
    def test_filters_hold_before_any_stage_ranks(self, library: tuple[Store, list], by: By) -> None:
        store, _ = library
        rng = np.random.default_rng(7)
        query = Embedding(unit(rng, DIM), unit(rng, 4, 128))
        filters = Filters.of(until="2001-09-08")  # c.pdf alone
        hits = search(store.snapshot(), query, top=3, candidates=1, by=by, query_words="pdf", filters=filters)
        assert len(hits) == 3 and {hit.file for hit in hits} == {"c.pdf"}


FILLER = "The committee met again and decided nothing of note. " * 12


class TestSnippet:
    def test_short_and_empty_texts_are_shown_whole(self) -> None:
        assert snippet("", "anything") == ""
        assert snippet(" \n ", "anything") == ""
        assert snippet("two\n\n  words", "") == "two words"

    @pytest.mark.parametrize(
        ("text", "query", "expected"),
        [
            (FILLER + "The plumber sent an invoice in May. " + FILLER, "plumber's INVOICE", "plumber sent an invoice"),
            ("invoice. " + FILLER + "The plumber's invoice of May. " + FILLER, "plumber invoice", "plumber's invoice"),
            (FILLER + "Überweisung an den Klempner. " + FILLER, "überweisung klempner", "Überweisung an den Klempner"),
            (
                "我们讨论了很多事情。" * 40 + "水管工的发票在五月。" + "会议结束。" * 40,
                "发票 五月",
                "水管工的发票在五月",
            ),
            (FILLER + "การประชุมเรื่องใบแจ้งหนี้ " + FILLER, "ใบแจ้งหนี้", "ใบแจ้งหนี้"),
            ("Beginning of all. " + FILLER, "nowhere to be found", "Beginning of all."),
            ("Beginning of all. " + FILLER, "", "Beginning of all."),
            (FILLER + "the Überweisung was sent. " + FILLER, "uberweisunk", "Überweisung was sent"),
            ("x" * 500 + " needle " + "y" * 500, "needle", "needle"),
            (FILLER + "a (b) [c] *d* .e", "(b) [c *d* .e", "a (b) [c] *d* .e"),
        ],
    )
    def test_shows_what_was_asked_for(self, text: str, query: str, expected: str) -> None:
        found = snippet(text, query)
        assert expected in found
        assert 0 < len(found) <= SNIPPET_CHARS
        assert found.strip("…") in " ".join(text.split())

    def test_whole_words_at_the_edges(self) -> None:
        text = " ".join(f"word{i}" for i in range(300))
        found = snippet(text, "word150")
        assert found[0] == found[-1] == "…"
        assert set(found.strip("…").split()) <= set(text.split())

    def test_never_too_long_nor_elsewhere(self) -> None:
        rng = np.random.default_rng(0)
        words = ["alpha", "beta", "γάμμα", "数据", "x" * 150, "1.", "\n"]
        for _ in range(300):
            text = " ".join(rng.choice(words, size=rng.integers(1, 120)))
            found = snippet(text, " ".join(rng.choice(words, size=2)))
            assert len(found) <= SNIPPET_CHARS
            assert found.strip("…").strip() in " ".join(text.split())
