"""A hit is the same dictionary, with the same numbers, in every interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from tests.support.fakes import FakeEmbedder
from tests.support.searching import over_http, service_of
from typer.testing import CliRunner

from polylens.cli import app
from polylens.index.search import RANKINGS, By
from polylens.library.library import Library
from polylens.library.results import hit_dict

QUERY = "the harbour at night"
NUMBERS = ("page", "score", "fused_score", "late_score", "dense_score", "text_score")
SCORE_OF = {"fused": "fused_score", "late": "late_score", "dense": "dense_score", "text": "text_score"}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "night.txt").write_text("Nobody sails into the harbour at night, not even the pilot.")
    (tmp_path / "day.md").write_text("By day the harbour is full of ships.")
    PIL.Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    monkeypatch.setattr("polylens.runtime.embedder.load", lambda name, **_: FakeEmbedder(name))
    library = Library(tmp_path, FakeEmbedder())
    library.update()
    return library


def on_the_command_line(library: Library, by: By) -> list[dict[str, Any]]:
    command = ["search", QUERY, "--library", str(library.folder), "--top", "9", "--by", by, "--json"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    return json.loads(done.stdout)["results"]


@pytest.mark.parametrize("by", RANKINGS)
def test_the_command_line_and_http_say_the_same(library: Library, by: By) -> None:
    rows, printed = over_http(service_of(library), QUERY, by)["results"], on_the_command_line(library, by)
    assert [{name: row[name] for name in row.keys() - {"pages", "picture"}} for row in rows] == printed
    assert printed == [hit_dict(hit) for hit in library.search(QUERY, 9, by=by)]
    assert len(printed) == (2 if by == "text" else 3)
    assert all(row["score"] == row[SCORE_OF[by]] for row in rows)
    for row in rows:
        assert -1 <= row["late_score"] <= 1 and row["fused_score"] <= 1 and -1 <= row["dense_score"] <= 1
        assert all(row[name] == round(row[name], 4) for name in NUMBERS if row[name] is not None)


def test_the_integrations_say_the_same(library: Library) -> None:
    printed = on_the_command_line(library, "fused")
    langchain = pytest.importorskip("polylens.integrations.langchain")
    documents = langchain.PolylensRetriever(library=library, top=9).invoke(QUERY)
    llama_index = pytest.importorskip("polylens.integrations.llama_index")
    nodes = llama_index.PolylensRetriever(library, top=9).retrieve(QUERY)
    for found in (documents, nodes):
        for page, row in zip(found, printed, strict=True):
            metadata = dict(page.metadata)
            assert metadata.pop("source") == str(library.folder / row["file"])
            assert metadata == {**{name: row[name] for name in row.keys() - {"text"}}, "snippet": row["text"]}
    assert [node.score for node in nodes] == [row["score"] for row in printed]
