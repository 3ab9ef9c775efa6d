"""The commands, each as a process of its own: what they print, where, and with which exit code they end.

The model is a few thousand random weights: what it finds means nothing, that it finds something does.
"""

from __future__ import annotations

import html
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from reportlab.pdfgen.canvas import Canvas
from tests.support import commands, tiny, tiny_clip, tiny_m0
from tests.support.waiting import HANG, until

import polylens
from polylens.index.table.manifest import read_manifest
from polylens.index.table.store import Store
from polylens.runtime.embedder import Embedder

HEAVY = (
    "torch",
    "numpy",
    "PIL",
    "tokenizers",
    "huggingface_hub",
    "lancedb",
    "pyarrow",
    "pypdfium2",
    "starlette",
    "pydantic",
    "lxml",
)
COMMAND = [str(Path(sys.executable).with_name("polylens"))]
QUIET = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "error", "COLUMNS": "200"}


def run(
    *arguments: str | Path, cwd: Path | None = None, stdin: str = "", **variables: str
) -> subprocess.CompletedProcess[bytes]:
    environment = {**QUIET, **variables}
    if not variables:
        return commands.run(*arguments, cwd=cwd, stdin=stdin, environment=environment)
    return subprocess.run(  # what is set before Python starts may decide what is imported, and how
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        input=stdin.encode(),
        capture_output=True,
        env=environment,
        timeout=HANG,
        check=False,
    )


def output(*arguments: str | Path, cwd: Path | None = None, stdin: str = "", **variables: str) -> bytes:
    """What a command prints that must succeed and has nothing else to say."""
    done = run(*arguments, cwd=cwd, stdin=stdin, **variables)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return done.stdout


def refusal(*arguments: str | Path, code: int, cwd: Path | None = None) -> str:
    """The one line with which a command fails."""
    done = run(*arguments, cwd=cwd)
    line = done.stderr.decode()
    assert (done.returncode, done.stdout) == (code, b""), line
    assert line.startswith("polylens: ") and line.count("\n") == 1
    return line


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def dual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.write(tmp_path_factory.mktemp("models") / "dual")


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_m0.write(tmp_path_factory.mktemp("models") / "ranker")


@pytest.fixture(scope="module")
def embedder(model: Path) -> Embedder:
    return polylens.load(model)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "red.png"
    PIL.Image.new("RGB", (60, 90), "red").save(path)
    return path


class TestEmbed:
    def test_json_in_the_order_texts_lines_pictures(
        self, model: Path, embedder: Embedder, picture: Path, tmp_path: Path
    ) -> None:
        lines = tmp_path / "lines.txt"
        lines.write_text("ein Hafen\n\nпорт\n", encoding="utf-8")
        texts = ["a harbour", str(picture)]  # a text is a text, whatever it looks like
        printed = json.loads(output("embed", *texts, "--file", lines, "--image", picture, "--model", model))
        assert (printed["model"], printed["task"]) == (str(model), None)  # nothing said: the model's default
        assert [row["index"] for row in printed["data"]] == [0, 1, 2, 3, 4]
        vectors = np.array([row["embedding"] for row in printed["data"]])
        expected = embedder.encode([*texts, "ein Hafen", "порт", polylens.Image(picture)])
        assert np.abs(vectors - expected).max() < 1e-2  # bf16 where the processor has it, threads unlike here
        assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5

    def test_lines_of_json_with_one_vector_a_token_from_stdin(self, model: Path, embedder: Embedder) -> None:
        lines = output(
            "embed", "--file", "-", "--model", model, "--multivector", "--format", "jsonl", stdin="ab\nabcd\n"
        )
        rows = [json.loads(line) for line in lines.splitlines()]
        expected = embedder.encode(["ab", "abcd"], return_multivector=True)
        assert [row["index"] for row in rows] == [0, 1]
        assert [np.array(row["embedding"]).shape for row in rows] == [vectors.shape for vectors in expected]

    def test_an_array_with_fewer_numbers_for_another_task(self, model: Path, embedder: Embedder) -> None:
        arguments = ["a", "b", "--dim", "8", "--task", "code", "--prompt-name", "passage", "--format", "npy"]
        vectors = np.load(io.BytesIO(output("embed", *arguments, "--model", model)))
        assert vectors.dtype == np.float32 and vectors.shape == (2, 8)
        expected = embedder.encode_text(["a", "b"], "code", "passage", truncate_dim=8)
        assert np.abs(vectors - expected).max() < 1e-2

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (["a", "--task", "retrieva"], 2, "task must be one of retrieval, text-matching, code"),
            (["a", "--dim", "7"], 2, "truncate_dim must be one of 8, 16, 48 for this model, got 7"),
            (["a", "--image", "missing.png"], 2, "image 1: 'missing.png' is not an existing file"),
        ],
    )
    def test_what_the_model_refuses(self, model: Path, arguments: list[str], code: int, message: str) -> None:
        assert message in refusal("embed", *arguments, "--model", model, code=code)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "there is nothing to embed; pass texts, --file FILE or --image PATH"),
            (["--file", "missing.txt"], "--file must be a UTF-8 text file with one text per line"),
            (["a", "--multivector", "--dim", "8"], "--dim truncates dense vectors"),
            (["a", "b", "--multivector", "--format", "npy"], "use --format jsonl"),
        ],
    )
    def test_what_is_refused_before_a_model_is_loaded(self, arguments: list[str], message: str) -> None:
        assert message in refusal("embed", *arguments, code=2)

    def test_an_unknown_model(self) -> None:
        assert "no model 'nosuch'" in refusal("embed", "a", "--model", "nosuch", code=3)

    def test_an_engine_that_cannot_quantize(self) -> None:
        options = ("--engine", "torch", "--quantization", "int4")
        assert "the engine torch has no quantization" in refusal("embed", "a", *options, code=2)

    def test_a_reader_that_goes_away(self, model: Path) -> None:
        command = [*COMMAND, "embed", "long " * 200, "--multivector", "--model", str(model)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=QUIET) as process:
            assert process.stdout and process.stderr
            assert process.stdout.read(8) == b'{"model"'
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(HANG) == 1


@pytest.fixture(scope="module")
def library(model: Path, picture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    (folder / "notes").mkdir()
    (folder / "notes" / "tide.md").write_text("Die Flut kommt mit der Fähre.\n", encoding="utf-8")
    (folder / "red.png").write_bytes(picture.read_bytes())
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and no more")
    (folder / "song.mp3").write_bytes(b"no page")
    canvas = Canvas(str(folder / "letter.pdf"), pagesize=(200, 300), invariant=True)
    for text in ("Dear Sir", "Yours"):
        canvas.drawString(20, 200, text)
        canvas.showPage()
    canvas.save()
    done = run("index", folder, "--model", model)
    assert done.returncode == 0
    assert done.stdout.decode().startswith("files: 3 indexed, 1 skipped, 1 failed; 4 pages embedded in ")
    failed = done.stderr.decode().splitlines()
    assert len(failed) == 1 and failed[0].startswith("could not read broken.pdf: ")
    return folder


class TestIndexAndSearch:
    def test_a_library_is_found_from_a_folder_below(self, library: Path, model: Path) -> None:
        found = json.loads(output("search", "Flut", "--json", "--model", model, cwd=library / "notes"))
        assert found["query"] == "Flut"
        pages = {(result["file"], result["page"]) for result in found["results"]}
        assert pages == {("notes/tide.md", 1), ("red.png", 1), ("letter.pdf", 1), ("letter.pdf", 2)}
        scores = [result["score"] for result in found["results"]]
        assert scores == [result["fused_score"] for result in found["results"]]
        assert scores == sorted(scores, reverse=True)
        stages = {"match", "score", "rerank_score", "fused_score", "late_score", "dense_score", "text_score"}
        assert all(
            result.keys() == {"file", "page", "text", "kind", "language", "modified", "places", "places_from", *stages}
            for result in found["results"]
        )
        texts = {result["file"]: result["text"] for result in found["results"]}
        assert texts["notes/tide.md"] == "Die Flut kommt mit der Fähre." and texts["red.png"] == ""

    def test_results_for_people_name_file_page_and_score(self, library: Path, model: Path) -> None:
        latin = {"PYTHONIOENCODING": "ascii"}  # a terminal that cannot show everything still gets its results
        done = run("search", "Flut", "--library", library, "--top", "3", "--model", model, **latin)
        assert (done.returncode, done.stderr) == (0, b"1 more result: --offset 3 continues the list\n")
        printed = done.stdout.decode("ascii")
        ranked = [line for line in printed.splitlines() if not line.startswith(" ")]
        assert len(ranked) == 3 and "Die Flut kommt mit der F\\xe4hre." in printed
        assert ranked[0].startswith("1. ") and ", page " in ranked[0] and ranked[0].endswith(")")

    def test_ranked_by_each_stage(self, library: Path, model: Path) -> None:
        def lines(*options: str) -> list[str]:
            return output("search", "Flut", "--library", library, "--model", model, *options).decode().splitlines()

        for by in ("fused", "late", "dense", "text"):
            ranked = [line for line in lines("--by", by, "--scores") if line[0] != " "]
            scores = [float(re.search(rf"\(match \S+, {by} (\d+\.\d+)", line)[1]) for line in ranked]
            assert len(ranked) == (1 if by == "text" else 4)
            assert scores == sorted(scores, reverse=True)
        assert re.match(r"1\. notes/tide\.md, page 1  \(match \d\.\d\d\)$", lines("--by", "text")[0])
        [nothing] = (
            output("search", "Ebbe", "--by", "text", "--library", library, "--model", model).decode().splitlines()
        )
        assert nothing.startswith("nothing found: no page has any of these words")
        assert "'fused', 'late', 'dense', 'text'" in run("search", "x", "--by", "bm25").stderr.decode()

    def test_filters(self, library: Path, model: Path) -> None:
        def files(*options: str) -> set[str]:
            found = output("search", "Flut", "--library", library, "--json", "--model", model, *options)
            return {result["file"] for result in json.loads(found)["results"]}

        assert files("--kind", "image", "--kind", "text") == {"notes/tide.md", "red.png"}
        assert files("--folder", "notes", "--since", "2000-01-01") == {"notes/tide.md"}
        assert files("--language", "de", "--language", "fr", "--until", "2200-01-01") == {"notes/tide.md"}
        nothing = output("search", "Flut", "--library", library, "--model", model, "--until", "1999-12-31").decode()
        assert nothing == "nothing found: no page is of a file modified until 1999-12-31; remove a filter\n"
        for wrong, says in [
            (("--language", "german"), "a language is named by its ISO 639 code"),
            (("--since", "yesterday"), "since must be a date such as 2026-11-01"),
            (("--kind", "film"), "a kind is one of pdf, image"),
        ]:
            assert says in refusal("search", "Flut", "--library", library, *wrong, code=2)

    def test_reranked(self, library: Path, model: Path, tmp_path: Path) -> None:
        reranker = tiny.write(tmp_path / "other", seed=1)
        asked = ["search", "Flut", "--library", library, "--model", model, "--rerank", reranker]
        printed = run(*asked, "--rerank-pages", "2", "--rerank-seconds", "3600")
        assert printed.returncode == 0
        assert re.fullmatch(r"reranked 2 of 2 pages with other@\w{12} in \d+\.\d s\n", printed.stderr.decode()), (
            printed.stderr
        )
        ranked = [line for line in printed.stdout.decode().splitlines() if line[0] != " "]
        assert [("(rerank " in line, "match " in line) for line in ranked] == [(True, True)] * 2 + [(False, True)] * 2
        done = run(*asked, "--json")
        found = json.loads(done.stdout)
        assert found["reranked"].keys() == {"model", "pages", "scored", "seconds"} and found["reranked"]["scored"] == 4
        scores = [result["rerank_score"] for result in found["results"]]
        assert scores == [result["score"] for result in found["results"]] == sorted(scores, reverse=True)

    def test_a_picture_and_words(self, library: Path, model: Path) -> None:
        def found(*options: str | Path) -> Any:
            return json.loads(output("search", *options, "--library", library, "--json", "--model", model))

        alone = found("--image", library / "red.png")
        assert alone["query"] == "" and alone["results"][0]["file"] == "red.png"
        both = found("Flut", "--image", library / "red.png")["results"]
        late = {
            name: {row["file"]: row["late_score"] for row in rows}
            for name, rows in (("alone", alone["results"]), ("both", both))
        }
        words = {row["file"]: row["late_score"] for row in found("Flut")["results"]}
        for file, score in late["both"].items():
            if file != "letter.pdf":  # which has two pages
                assert score == pytest.approx((late["alone"][file] + words[file]) / 2, abs=2e-4)  # of rounded scores
        assert "no-such.png" in refusal("search", "Flut", "--library", library, "--image", "no-such.png", code=2)

    def test_good_pages_only(self, library: Path, model: Path) -> None:
        asked = ["search", "Flut", "--library", library, "--model", model]
        found = json.loads(output(*asked, "--json"))
        matches = [row["match"] for row in found["results"]]
        assert found["best"] == max(matches) and (found["total"], found["next"], found["reason"]) == (4, None, None)
        done = run(*asked, "--min-score", "1")
        said = f"nothing fits well: the best of 4 pages has a match of {max(matches):.2f}"
        assert (done.returncode, done.stdout.decode()) == (0, said + "\n")
        none = json.loads(output(*asked, "--min-score", "1", "--json"))
        assert none == {"query": "Flut", "results": [], "total": 0, "next": None, "best": max(matches), "reason": said}
        wrong = run(*asked, "--min-score", "2")
        assert wrong.returncode == 2 and "--min-score" in wrong.stderr.decode()

    def test_a_list_is_continued(self, library: Path, model: Path) -> None:
        asked = ["search", "Flut", "--library", library, "--model", model]
        whole = [line for line in output(*asked).decode().splitlines() if line[0] != " "]
        first, second = run(*asked, "--top", "3"), run(*asked, "--top", "3", "--offset", "3")
        pieces = (first.stdout + second.stdout).decode().splitlines()
        assert [line for line in pieces if line[0] != " "] == whole and whole[3].startswith("4. ")
        assert (first.stderr, second.stderr) == (b"1 more result: --offset 3 continues the list\n", b"")
        assert "the list ends before this offset, after 4 results" in output(*asked, "--offset", "9").decode()

    def test_by_file(self, library: Path, model: Path) -> None:
        asked = ["search", "Dear", "--library", library, "--model", model, "--group", "file", "--min-score", "0"]
        ranked = output(*asked).decode().splitlines()
        assert len([line for line in ranked if line[0] != " "]) == 3
        assert sum(bool(re.fullmatch(r"   also page [12] \(match \d\.\d\d\)", line)) for line in ranked) == 1
        rows = json.loads(output(*asked, "--json"))["results"]
        assert [len(row["others"]) for row in rows if row["file"] == "letter.pdf"] == [1]

    def test_limits_of_a_reranker_that_was_not_named(self, library: Path) -> None:
        for option in ("--rerank-pages", "--rerank-seconds"):
            line = refusal("search", "Flut", "--library", library, option, "3", code=2)
            assert "name one with --rerank MODEL" in line

    @pytest.mark.parametrize("option", [("--engine", "abacus"), ("--quantization", "int3")])
    def test_an_engine_without_a_model_is_that_of_the_default_model(
        self, tmp_path: Path, option: tuple[str, str]
    ) -> None:
        assert option[1] in refusal("index", tmp_path, *option, code=2)

    def test_variables_say_what_options_would(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a.txt").write_text("a harbour", encoding="utf-8")
        (tmp_path / "b.bin").write_bytes(bytes(range(256)))
        monkeypatch.setenv("POLYLENS_LIBRARY", str(tmp_path))
        monkeypatch.setenv("POLYLENS_VERBOSE", "true")
        monkeypatch.setenv("POLYLENS_POOL", "2")
        done = commands.polylens("index")
        assert done.returncode == 0 and "passed over b.bin" in done.stderr
        assert read_manifest(tmp_path / ".polylens").pool == 2
        monkeypatch.setenv("POLYLENS_POOL", "many")
        assert commands.polylens("index").returncode == 2

    def test_export(self, library: Path, embedder: Embedder, tmp_path: Path) -> None:
        import pyarrow.parquet as pq

        for name in ("pages.parquet", "pages.jsonl"):
            assert run("export", "--library", library, "--out", tmp_path / name).returncode == 0
        rows = pq.read_table(tmp_path / "pages.parquet").to_pylist()
        lines = [json.loads(line) for line in (tmp_path / "pages.jsonl").read_text(encoding="utf-8").splitlines()]
        assert len(rows) == 4 and {(row["file"], row["page"]) for row in rows} >= {("notes/tide.md", 1), ("red.png", 1)}
        for row, line in zip(rows, lines, strict=True):
            assert np.allclose(row["dense"], line["dense"]) and np.allclose(row["multivector"], line["multivector"])
            assert {
                row[key] == line[key] for key in ("file", "page", "kind", "text", "language", "mtime_ns", "model_id")
            } == {True}
        [tide] = [row for row in rows if row["file"] == "notes/tide.md"]
        assert tide["language"] == "de" and tide["mtime_ns"] == (library / "notes" / "tide.md").stat().st_mtime_ns
        [expected] = embedder.embed([tide["text"]], task="retrieval", prompt_name="passage")
        assert np.allclose(tide["dense"], expected.dense, atol=1e-2)  # bfloat16, another batch
        assert "must end in .parquet or .jsonl" in refusal(
            "export", "--library", library, "--out", tmp_path / "pages.csv", code=2
        )
        assert sorted(path.name for path in tmp_path.iterdir()) == ["pages.jsonl", "pages.parquet"]

    def test_an_index_of_another_model_is_refused(self, library: Path, tmp_path: Path) -> None:
        other = tiny.write(tmp_path / "other", seed=1)
        line = refusal("search", "Flut", "--library", library, "--model", other, code=8)
        assert "'tiny@" in line and "'other@" in line and "polylens index --rebuild" in line

    def test_no_library(self, tmp_path: Path) -> None:
        assert "make one with `polylens index FOLDER`" in refusal("search", "Flut", code=6, cwd=tmp_path)
        assert "is not a folder" in refusal("index", tmp_path / "missing", code=6)

    def test_an_empty_query(self, library: Path) -> None:
        assert "the query is empty" in refusal("search", "  ", "--library", library, code=2)

    def test_ctrl_c_keeps_what_was_finished(self, model: Path, embedder: Embedder, tmp_path: Path) -> None:
        folder = tmp_path / "slow"
        folder.mkdir()
        for i in range(150):
            (folder / f"{i}.txt").write_text(" ".join(f"word{i + j}" for j in range(400)))
        command = [*COMMAND, "index", str(folder), "--model", str(model)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=QUIET) as process:
            until(lambda: process.poll() is not None or saved(folder))
            process.send_signal(signal.SIGINT)
            printed, said = process.communicate(timeout=HANG)
        assert (process.returncode, printed) == (130, b""), said
        assert said.decode().splitlines() == [
            "What was finished is in the index; the same command continues from there.",
            "polylens: interrupted",
        ]
        kept = saved(folder)
        assert 0 < len(kept) < 150
        hits = polylens.Library.open(folder, embedder).search("word7")
        assert hits and {hit.file for hit in hits} <= set(kept)


def saved(folder: Path) -> dict[str, Any]:
    index = folder / ".polylens"
    return dict(Store.open(index).files()) if Store.exists(index) else {}


class TestEval:
    def test_a_table_on_stdout_and_silence_beside_it(self, model: Path, tmp_path: Path) -> None:
        arguments = ("eval", "synthetic", "--model", model, "--tasks", "slide", "--pages", "2")
        done = run(*arguments, "--json", tmp_path / "figures.json")
        if b"apt-get install" in done.stderr:
            pytest.skip(done.stderr.decode())
        assert (done.returncode, done.stderr) == (0, b"")
        assert "slide" in done.stdout.decode() and "multi-vector" in done.stdout.decode()
        assert json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["tasks"][0]["pages"] == 2

    def test_texts_too(self, model: Path, tmp_path: Path) -> None:
        arguments = ("eval", "functions", "--model", model, "--candidates", "6", "--json", tmp_path / "figures.json")
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (0, b"")
        assert "nDCG@10" in done.stdout.decode() and "BM25" in done.stdout.decode()
        assert json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["tasks"][0]["candidates"] == 6

    def test_what_is_not_there_is_one_line(self, tmp_path: Path) -> None:
        for arguments, says in (
            (("nothing",), "No such command 'nothing'"),
            (("synthetic", "--candidates", "5"), "No such option: --candidates"),
            (("languages", "--pages", "5"), "No such option: --pages"),
        ):
            done = run("eval", *arguments)
            assert (done.returncode, done.stdout) == (2, b"") and says in done.stderr.decode()
        assert "got 'tabel'" in refusal("eval", "languages", "--tasks", "de,tabel", code=2)
        assert "got 'tabel'" in refusal("eval", "synthetic", "--tasks", "table,tabel", code=2)
        assert "got ''" in refusal("eval", "synthetic", "--tasks", ",", code=2)
        nowhere = tmp_path / "missing" / "figures.json"
        assert "--json must be a file in an existing folder" in refusal("eval", "synthetic", "--json", nowhere, code=2)
        assert "missing-model" in refusal("eval", "synthetic", "--model", "missing-model", code=3)


class TestReproduce:
    def test_a_table_on_stdout_and_a_report_beside_it(self, model: Path, dual: Path, tmp_path: Path) -> None:
        done = run(
            "reproduce",
            *("--model", model, "--dual", dual, "--without-kl", tiny.write(tmp_path / "without", seed=1)),
            *("--pages", "2", "--out", tmp_path / "report.html", "--json", tmp_path / "report.json"),
        )
        if b"apt-get install" in done.stderr:
            pytest.skip(done.stderr.decode())
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.decode().endswith(f"{tmp_path / 'report.html'}\n")
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        figures = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
        claims = [claim for section in figures["sections"] for claim in section["claims"]]
        assert len(claims) == 23 and "left out" not in {claim["shows"] for claim in claims}
        assert all(html.escape(claim["claim"]) in page for claim in claims)
        assert figures["two towers"].startswith("`dual@") and not list(tmp_path.glob("*.partial"))

    def test_what_cannot_be_compared_is_one_line(self, model: Path, dual: Path, tmp_path: Path) -> None:
        nowhere = tmp_path / "missing" / "report.html"
        assert "--out must be a file in an existing folder" in refusal("reproduce", "--out", nowhere, code=2)
        assert "--out must be a file" in refusal("reproduce", "--out", tmp_path, code=2)
        assert "--model must be of jina-embeddings-v4's" in refusal("reproduce", "--model", dual, code=2)
        assert "--dual must be of jina-clip-v2's" in refusal("reproduce", "--model", model, "--dual", model, code=2)
        assert "the same weights" in refusal("reproduce", "--model", model, "--without-kl", model, code=2)
        assert "missing-model" in refusal("reproduce", "--dual", "missing-model", code=3)


class TestRerank:
    @pytest.mark.parametrize("which", ["model", "ranker"])
    def test_json_in_the_order_of_the_scores(
        self, which: str, picture: Path, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        folder = request.getfixturevalue(which)
        lines = tmp_path / "lines.txt"
        lines.write_text("ein Hafen\n\nпорт\n", encoding="utf-8")
        given = ["a harbour", str(picture), "--file", lines, "--image", picture]
        printed = json.loads(output("rerank", "ships", *given, "--model", folder, "--json"))
        documents = ["a harbour", str(picture), "ein Hafen", "порт", polylens.Image(picture)]
        expected = polylens.load_reranker(folder).rerank("ships", documents)
        assert printed["query"] == "ships"
        scores = {row["index"]: row["score"] for row in printed["results"]}
        assert scores == pytest.approx({each.index: each.score for each in expected}, abs=1e-2)  # threads unlike here
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
        shown = {row["index"]: row["document"] for row in printed["results"]}
        assert shown == {
            **{index: {"text": text} for index, text in enumerate(documents[:4])},
            4: {"image": str(picture)},
        }

    def test_lines_for_people_and_an_image_as_the_query(self, ranker: Path, picture: Path) -> None:
        long = "b" * 200
        arguments = ["--query-image", picture, "a\ndocument", long, "--image", picture, "--model", ranker]
        lines = output("rerank", *arguments).decode().splitlines()
        assert [line[:4] for line in lines] == ["1. 0", "2. 0", "3. 0"]
        assert {line.split("  ", 1)[1] for line in lines} == {"a document", "b" * 97 + "...", str(picture)}
        assert output("rerank", *arguments, "--top", "1").decode().splitlines() == lines[:1]

    def test_documents_from_stdin(self, model: Path) -> None:
        printed = json.loads(output("rerank", "q", "--file", "-", "--model", model, "--json", stdin="ab\ncd\n"))
        assert {row["document"]["text"] for row in printed["results"]} == {"ab", "cd"}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "there is no query; pass a text, or --query-image PATH"),
            (["q"], "there is nothing to rank; pass documents after the query, --file FILE or --image PATH"),
            (["q", "--file", "missing.txt"], "--file must be a UTF-8 text file with one text per line"),
        ],
    )
    def test_what_is_refused_before_a_model_is_loaded(self, arguments: list[str], message: str) -> None:
        assert message in refusal("rerank", *arguments, "--model", "no-such-model", code=2)

    def test_an_image_that_is_not_there(self, ranker: Path) -> None:
        line = refusal("rerank", "q", "a", "--image", "missing.png", "--model", ranker, code=2)
        assert "document 1: 'missing.png' is not an existing file" in line


class TestTheRest:
    def test_help_comes_at_once(self) -> None:
        """It loads nothing that takes time. Counted, not timed: a clock would measure what else the machine does."""
        code = (
            "import atexit, sys; sys.argv = ['polylens', '--help']; import polylens.cli\n"
            f"atexit.register(lambda: print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr))\n"
            "polylens.cli.main()"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=QUIET, timeout=HANG)
        assert (done.returncode, done.stderr.decode()) == (0, "[]\n")
        assert b"Usage: polylens" in done.stdout

    def test_help_names_every_command(self) -> None:
        printed = output("--help").decode()
        assert all(f" {command} " in printed for command in ("embed", "index", "search", "demo", "train", "models"))

    def test_version(self) -> None:
        assert output("--version").decode() == f"polylens {polylens.__version__}\n"

    def test_models(self) -> None:
        printed = output("models").decode()
        assert "nano" in printed and "jinaai/jina-embeddings-v4" in printed and "non-commercial" in printed

    def test_recipes(self) -> None:
        assert output("train", "--list").decode().startswith("nano: ")

    def test_training_without_what_it_needs(self, tmp_path: Path) -> None:
        code = (
            "import sys; sys.modules['babel'] = None; sys.argv = ['polylens', 'train', 'nano'];"
            "import polylens.cli; polylens.cli.main()"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path, timeout=HANG)
        assert done.returncode == 2
        assert b"training needs babel" in done.stderr and b"Traceback" not in done.stderr

    def test_the_demo_after_a_new_nano(self, tmp_path: Path) -> None:
        """Its index is made anew, where any other would have to be asked for it."""
        folder = tmp_path / "samples"
        (folder / ".maker").mkdir(parents=True)
        (folder / "a.txt").write_text("a goose")
        question = {"query": "goose", "file": "a.txt", "page": 1, "language": "en"}
        (folder / ".maker" / "queries.json").write_text(json.dumps([question]))
        (folder / ".maker" / "absurd.json").write_text(json.dumps([{"query": "the price of submarines"}]))
        assert b"Of 1 such questions, 1 find" in run("demo", folder).stdout
        manifest = json.loads((folder / ".polylens" / "index.json").read_text())
        manifest["model_id"] = "nano@000000000000"
        (folder / ".polylens" / "index.json").write_text(json.dumps(manifest))
        assert "other weights now: make the index anew" in refusal("index", folder, "--model", "nano", code=8)
        assert b"Of 1 such questions, 1 find" in run("demo", folder).stdout

    def test_the_demo_elsewhere(self, tmp_path: Path) -> None:
        assert "is not the samples folder of the project" in refusal("demo", code=2, cwd=tmp_path)

    def test_an_unknown_command(self) -> None:
        done = run("serch", "Flut")
        assert (done.returncode, done.stdout) == (2, b"")
        assert "No such command 'serch'" in done.stderr.decode()

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
    def test_a_full_disk(self) -> None:
        with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device, not a path of ours
            done = subprocess.run([*COMMAND, "models"], stdout=full, stderr=subprocess.PIPE, env=QUIET, timeout=HANG)
        assert done.returncode == 1
        assert done.stderr.decode().startswith("polylens: ") and b"Traceback" not in done.stderr
