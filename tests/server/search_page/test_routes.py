"""What the search page asks the server for, on a running one with a real folder."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import pytest
from tests.support import commands, tiny
from tests.support.root import ROOT
from tests.support.serving import Running, serving
from tests.support.waiting import until

import polylens
from polylens.server.search_page.explaining import words_of

SAMPLES = ROOT / "samples"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
FILES = ["invoice-2024-0417.pdf", "invoice-2024-0533.pdf", "red-bicycle.jpg", "keepers-letter.jpg"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library") / "papers"
    (folder / "notes").mkdir(parents=True)
    for name in FILES:
        shutil.copy(SAMPLES / name, folder / name)
    shutil.copy(SAMPLES / "radio-procedure.txt", folder / "notes" / "radio.txt")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    (folder / "void.txt").write_bytes(b"")
    for name in ("a.mp3", "b.MP3", "c.qqq"):
        (folder / name).write_bytes(b"?")
    return folder


@pytest.fixture(scope="module")
def library(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving("--library", str(folder), home=tmp_path_factory.mktemp("home")) as running:
        running.settled(files=5, failed=1)
        yield running


def find(running: Running, **fields: Any) -> Any:
    response = running.post("/library/search", fields)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_state_of_the_library(library: Running, folder: Path) -> None:
    state = library.http.get("/library").json()
    assert (state["folder"], state["name"], state["model"]) == (str(folder), "papers", "nano")
    assert state["pages"] >= 5
    facets = state["facets"]
    assert facets["folders"] == {"notes": 1} and facets["languages"] == {"en": 3}
    assert facets["kinds"]["image"] == 2 and sum(facets["kinds"].values()) == state["pages"]
    assert list(facets["modified"]) == ["week", "month", "year"]
    assert [row["file"] for row in state["failed"]] == ["broken.pdf"]
    assert state["problem"] == ""
    assert state["min_score"] == 0.5
    assert state["unsearchable"] == {"files": 2, "partly": 0, "other_kinds": 3}


class TestUnsearchable:
    KINDS: ClassVar = [
        {"kind": ".mp3", "count": 2, "advice": "keep a transcript beside it as .txt"},
        {"kind": ".qqq", "count": 1, "advice": None},
    ]

    def ask(self, library: Running, **params: int) -> Any:
        response = library.http.get("/library/unsearchable", params=params)
        assert response.status_code == 200, response.text
        return response.json()

    def test_all_of_it(self, library: Running) -> None:
        found = self.ask(library)
        assert found.keys() == {"files", "kinds", "next"} and found["kinds"] == self.KINDS and found["next"] is None
        assert [(each["file"], each["part"]) for each in found["files"]] == [("broken.pdf", None), ("void.txt", None)]
        assert all(each["reason"] for each in found["files"])

    def test_in_pieces(self, library: Running) -> None:
        first, second = self.ask(library, top=1), self.ask(library, top=1, offset=1)
        assert (first["next"], second["next"]) == (1, None) and first["kinds"] == second["kinds"]
        assert [*first["files"], *second["files"]] == self.ask(library)["files"]
        assert self.ask(library, offset=9)["files"] == []

    @pytest.mark.parametrize("params", [{"offset": "-1"}, {"offset": "x"}, {"top": "0"}])
    def test_refused(self, library: Running, params: dict[str, str]) -> None:
        response = library.http.get("/library/unsearchable", params=params)
        assert response.status_code == 422 and next(iter(params)) in response.json()["detail"]


class TestLists:
    def test_pieces_make_up_the_whole(self, library: Running) -> None:
        whole = find(library, query="invoice for the mast")
        assert whole["total"] == len(whole["results"]) == library.library()["pages"] and whole["next"] is None
        pieces, offset = [], 0
        while offset is not None:
            piece = find(library, query="invoice for the mast", top=2, offset=offset)
            pieces, offset = [*pieces, *piece["results"]], piece["next"]
        assert [(row["file"], row["page"]) for row in pieces] == [
            (row["file"], row["page"]) for row in whole["results"]
        ]
        beyond = find(library, query="invoice", offset=99)
        assert (
            beyond["results"] == []
            and beyond["reason"] == f"the list ends before this offset, after {whole['total']} results"
        )

    def test_by_file(self, library: Running) -> None:
        rows = find(library, query="the invoice", group="file", min_score=0.0)["results"]
        files = [row["file"] for row in rows]
        assert len(set(files)) == len(files) == 5
        assert sum(1 + len(row["others"]) for row in rows) == library.library()["pages"]
        assert all(other["file"] == row["file"] and "picture" in other for row in rows for other in row["others"])

    def test_nothing_fits_well(self, library: Running) -> None:
        rows = find(library, query="invoice for the mast")["results"]
        least = sorted(row["match"] for row in rows)[-2]
        assert {
            row["match"] >= least for row in find(library, query="invoice for the mast", min_score=least)["results"]
        } == {True}
        none = find(library, query="invoice for the mast", min_score=1.0)
        assert none["results"] == [] and none["total"] == 0 and none["best"] == max(row["match"] for row in rows)
        assert none["reason"] == f"nothing fits well: the best of {len(rows)} pages has a match of {none['best']:.2f}"


class TestSearch:
    def test_as_in_python(self, library: Running, folder: Path) -> None:
        found = find(library, query="invoice for the mast", top=3)
        python = polylens.Library(folder).search("invoice for the mast", top=3)
        assert [(row["file"], row["page"]) for row in found["results"]] == [(hit.file, hit.page) for hit in python]
        for row, hit in zip(found["results"], python, strict=True):
            assert row["late_score"] == pytest.approx(hit.late_score, abs=2e-2)  # bfloat16, other batches
            assert (row["kind"], row["text"]) == (hit.kind, hit.snippet)
        assert found["reason"] is None and found["seconds"] > 0

    @pytest.mark.parametrize(
        ("by", "score"),
        [("fused", "fused_score"), ("late", "late_score"), ("dense", "dense_score"), ("text", "text_score")],
    )
    def test_ranked_by_each_stage(self, library: Running, by: str, score: str) -> None:
        rows = find(library, query="invoice for the mast", by=by)["results"]
        scores = [row["score"] for row in rows]
        assert scores == [row[score] for row in rows]
        assert rows and None not in scores and scores == sorted(scores, reverse=True)
        assert all(0 < row["fused_score"] <= 1 for row in rows)
        scans = [row for row in rows if row["kind"] == "image"]
        assert {row["text_score"] for row in scans} == (set() if by == "text" else {None})
        assert any(row["text_score"] for row in rows)
        limited = find(library, query="mast the", by=by, top=1, kinds=["text"])["results"]
        assert [row["kind"] for row in limited] == ["text"]

    def test_by_image_finds_the_image_itself(self, library: Running, folder: Path) -> None:
        image = base64.b64encode((folder / "red-bicycle.jpg").read_bytes()).decode()
        found = find(library, image=f"data:image/jpeg;base64,{image}", top=1)
        assert found["results"][0]["file"] == "red-bicycle.jpg"
        both = find(library, query="a bicycle", image=image, top=5)
        assert {row["file"] for row in both["results"]} >= {"red-bicycle.jpg"}

    def test_like_leaves_the_page_itself_out(self, library: Running) -> None:
        found = find(library, like={"file": "invoice-2024-0417.pdf", "page": 1}, top=2)
        assert found["results"][0]["file"] == "invoice-2024-0533.pdf"
        assert library.post("/library/search", {"like": {"file": "none", "page": 1}}).status_code == 422

    @pytest.mark.parametrize("kind", ["pdf", "image", "text"])
    def test_kinds(self, library: Running, kind: str) -> None:
        rows = find(library, query="the", kinds=[kind])["results"]
        assert rows and {row["kind"] for row in rows} == {kind}

    def test_folders(self, library: Running) -> None:
        assert {row["file"] for row in find(library, query="the", folder="notes")["results"]} == {"notes/radio.txt"}
        assert find(library, query="the", folder="no'such")["results"] == []

    def test_languages_and_dates(self, library: Running, folder: Path) -> None:
        rows = find(library, query="the", languages=["en"], since="2000-01-01", until="2200-01-01")["results"]
        assert {row["file"] for row in rows} == {*FILES[:2], "notes/radio.txt"}
        assert {row["language"] for row in rows} == {"en"}
        modified = datetime.fromisoformat(rows[0]["modified"])
        assert modified.timestamp() == int((folder / rows[0]["file"]).stat().st_mtime)
        assert find(library, query="the", languages=["de", "zh"])["reason"] == (
            "no page is in the language de or zh; remove a filter"
        )
        found = find(library, query="the", folder="notes", kinds=["text"], until="2000-01-01")
        assert found["reason"] == "no page is of a file modified until 2000-01-01; remove a filter"
        like = {"file": "invoice-2024-0417.pdf", "page": 1}
        assert (
            find(library, like=like, languages=["en"])["results"]
            and not find(library, like=like, languages=["fr"])["results"]
        )

    def test_nothing_found_says_why(self, library: Running) -> None:
        found = find(library, query="the", folder="notes", kinds=["pdf"])
        assert found["results"] == [] and "remove a filter" in found["reason"]

    def test_no_page_has_the_words(self, library: Running) -> None:
        found = find(library, query='zebra "+ (', by="text")
        assert found["results"] == [] and "no page has any of these words" in found["reason"]
        found = find(library, query="invoice", by="text", folder="notes")
        assert found["results"] == [] and "no page that matches the filters has any" in found["reason"]
        found = find(library, query="invoice", by="text", folder="notes", kinds=["image"])
        assert found["results"] == [] and "remove a filter" in found["reason"]

    @pytest.mark.parametrize(
        ("body", "says", "field"),
        [
            ({}, "empty", "query"),
            ({"query": "a", "by": "bm25"}, "by", "by"),
            ({"image": PIXEL, "by": "text"}, "full text needs words", "input"),
            ({"like": {"file": "red-bicycle.jpg", "page": 1}, "by": "text"}, "full text needs words", "input"),
            ({"query": "  "}, "empty", "query"),
            ({"query": "a", "top": 0}, "top", "top"),
            ({"query": "a", "kinds": ["film"]}, "kinds", "kinds.0"),
            ({"query": "a", "languages": ["german"]}, "a language is named by its ISO 639 code", "languages"),
            ({"query": "a", "languages": "de"}, "languages", "languages"),
            ({"query": "a", "since": "yesterday"}, "since: must be a date such as 2026-11-01", "since"),
            ({"query": "a", "until": "2026-02-30"}, "until: must be a date such as 2026-11-01", "until"),
            ({"query": "a", "until": 20261101}, "until", "until"),
            ({"query": "a", "since": "2026-11-02", "until": "2026-11-01"}, "since: must not be after until", "since"),
            ({"like": {"file": "red-bicycle.jpg", "page": 1}, "since": "x"}, "since: must be a date", "since"),
            ({"image": "http://127.0.0.1/a.png"}, "data: URI", "image"),
            ({"image": "no image"}, "base64", "input"),
            ({"image": base64.b64encode(b"not an image at all").decode()}, "image", "input.0"),
            ({"query": 3}, "query", "query"),
            ({"query": "a", "min_score": 1.5}, "min_score", "min_score"),
            ({"query": "a", "offset": -1}, "offset", "offset"),
            ({"query": "a", "group": "folder"}, "group", "group"),
            ({"query": "a", "places": "yes"}, "places", "places"),
            ({"query": "a", "rerank": {}}, "no served model is trained to rerank", "rerank.model"),
            ({"query": "a", "rerank": {"seconds": "long"}}, "seconds", "rerank.seconds"),
        ],
    )
    def test_refused(self, library: Running, body: dict[str, Any], says: str, field: str) -> None:
        response = library.post("/library/search", body)
        assert response.status_code == 422 and says in response.json()["detail"]
        assert response.json()["errors"][0]["field"] == field


class TestPages:
    def test_a_picture_of_a_page(self, library: Running) -> None:
        place = {"file": "invoice-2024-0417.pdf", "page": 1}
        small = library.http.get("/library/page", params={**place, "width": 200})
        whole = library.http.get("/library/page", params=place)
        assert small.headers["content-type"] == whole.headers["content-type"] == "image/png"
        assert PIL.Image.open(io.BytesIO(small.content)).width == 200
        assert PIL.Image.open(io.BytesIO(whole.content)).width > 600

    def test_a_photo_is_sent_as_jpeg(self, library: Running, folder: Path) -> None:
        place = {"file": "red-bicycle.jpg", "page": 1}
        response = library.http.get("/library/page", params=place)
        assert response.headers["content-type"] == "image/jpeg"
        sent, own = PIL.Image.open(io.BytesIO(response.content)), PIL.Image.open(folder / "red-bicycle.jpg")
        assert sent.size == own.size
        assert np.abs(np.asarray(sent, np.float32) - np.asarray(own, np.float32)).mean() < 4  # of 255

    def pixels(self, library: Running, params: dict[str, Any]) -> np.ndarray:
        picture = library.http.get("/library/page", params=params).content
        return np.asarray(PIL.Image.open(io.BytesIO(picture)).convert("RGB"))

    def test_marks_on_the_picture(self, library: Running) -> None:
        found = find(library, query="invoice for the mast", top=3)["results"]
        row = next(row for row in found if row["file"] == "invoice-2024-0417.pdf")
        assert row["places_from"] == "words" and "mast" in {place["text"].lower().strip(",") for place in row["places"]}
        sides = ("left", "top", "width", "height")
        marks = ";".join(",".join(str(place[side]) for side in sides) for place in row["places"])
        asked = {"file": row["file"], "page": 1, "width": 400}
        plain, drawn = (self.pixels(library, params) for params in (asked, {**asked, "marks": marks}))
        changed = (plain != drawn).any(axis=2)
        height, width = changed.shape
        inside = np.zeros_like(changed)
        for place in row["places"]:
            left, top, across, down = (place[side] for side in sides)
            rows = slice(int(top * height) - 3, int((top + down) * height) + 4)
            inside[rows, int(left * width) - 3 : int((left + across) * width) + 4] = True
        assert changed.any() and not (changed & ~inside).any()
        for wrong in ("x", "0,0,1", "0,0,2,1", ";".join(["0,0,1,1"] * 17)):
            refused = library.http.get("/library/page", params={**asked, "marks": wrong})
            assert refused.status_code == 422 and "marks" in refused.json()["errors"][0]["field"]
        assert find(library, query="invoice", top=1, places=False)["results"][0]["places"] == []

    def test_texts(self, library: Running) -> None:
        place = {"file": "notes/radio.txt", "page": 1}
        found = library.http.get("/library/text", params=place).json()
        assert found["text"].startswith("RADIO PROCEDURE") and found["pages"] == 1 and found["words"] == []
        assert library.http.get("/library/page", params=place).status_code == 404

    def test_a_file(self, library: Running, folder: Path) -> None:
        response = library.http.get("/library/file", params={"file": "red-bicycle.jpg"})
        assert response.content == (folder / "red-bicycle.jpg").read_bytes()
        assert 'filename="red-bicycle.jpg"' in response.headers["content-disposition"]

    @pytest.mark.parametrize("name", ["../secret", "/etc/passwd", ".polylens/index.json", "broken.pdf", "", "none"])
    def test_nothing_but_what_is_indexed(self, library: Running, name: str) -> None:
        for path in ("/library/file", "/library/page", "/library/text"):
            response = library.http.get(path, params={"file": name, "page": 1})
            assert response.status_code in (404, 422), (path, response.text)

    @pytest.mark.parametrize("page", ["0", "-1", "x", "99"])
    def test_pages_that_there_are_not(self, library: Running, page: str) -> None:
        place = {"file": "red-bicycle.jpg", "page": page}
        assert library.http.get("/library/page", params=place).status_code == 422


class TestWhy:
    def test_each_word_has_its_picture(self, library: Running) -> None:
        body = {"query": "halvorsen mast", "file": "invoice-2024-0417.pdf", "page": 1}
        why = library.post("/library/why", body).json()
        assert [word["text"] for word in why["words"]] == ["halvorsen", "mast"]
        squares = why["rows"] * why["columns"]
        heats = np.array([word["heat"] for word in why["words"]])
        assert heats.shape == (2, squares) and len(why["whole"]) == squares
        assert heats.min() >= 0 and heats.max() == 1
        assert np.allclose(heats.max(axis=0), why["whole"], atol=1e-3)

    def test_the_letters_are_where_the_heat_is(self, library: Running) -> None:
        """The name is the first line of the invoice: the warmest square of it is in its upper part."""
        body = {"query": "halvorsen", "file": "invoice-2024-0417.pdf", "page": 1}
        why = library.post("/library/why", body).json()
        warmest = int(np.argmax(why["whole"])) // why["columns"]
        assert warmest < why["rows"] / 3

    def test_a_text_has_none(self, library: Running) -> None:
        why = library.post("/library/why", {"query": "radio", "file": "notes/radio.txt", "page": 1}).json()
        assert (why["rows"], why["words"]) == (0, [])


def test_words_and_their_tokens(tmp_path: Path) -> None:
    embedder = polylens.load(tiny.write(tmp_path), dtype="float32", device="cpu")  # a token a byte
    assert embedder.family.heat_maps is not None

    def words_in(query: str, num_tokens: int) -> list[tuple[str, list[int]]]:
        return words_of(query, embedder.family.heat_maps.spans(embedder.processor, query, "query")[:num_tokens])

    words = words_in("a ship, 東京", 100)
    assert [(text, tokens[0], len(tokens)) for text, tokens in words] == [("a", 7, 1), ("ship", 9, 4), ("東京", 15, 6)]
    cut = words_in("a ship", 9)
    assert [text for text, _ in cut] == ["a"]


class TestFollowing:
    def test_a_second_server_finds_the_index_as_it_is(self, library: Running, folder: Path, tmp_path: Path) -> None:
        with serving("--library", str(folder), home=tmp_path) as second:
            assert second.settled(files=5)["pages"] == library.http.get("/library").json()["pages"]

    def test_ended_while_indexing_it_keeps_what_was_done(self, tmp_path: Path) -> None:
        copies = tmp_path / "many"
        copies.mkdir()
        for number in range(6):
            pixels = np.random.default_rng(number).integers(0, 256, (300, 300, 3), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(copies / f"{number}.png")
        with serving("--library", str(copies), home=tmp_path) as running:
            until(lambda: (now := running.library())["files"] or (now["updating"] or {}).get("total_pages"))
        with serving("--library", str(copies), home=tmp_path) as running:
            assert running.settled(files=6)["pages"] == 6


class TestSafety:
    def test_requests_to_other_names_are_refused(self, library: Running) -> None:
        assert library.http.get("/library", headers={"Host": "evil.example"}).status_code == 400
        assert library.http.get("/", headers={"Host": "localhost:1234"}).status_code == 200

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:

        command = ["serve", "--port", "0", "--library", str(tmp_path / "none")]
        ended = commands.polylens(*command)
        assert (ended.returncode, ended.stderr.count("\n")) == (6, 1), ended.stderr
