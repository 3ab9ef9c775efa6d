"""An adapter's folder in a library and behind the server, as any other model: no code there knows of adapters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.support import tiny_col
from tests.support.serving import serving

import polylens
from polylens.library.library import Library


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    model = tiny_col.reference("qwen2_vl")
    tiny_col.write_base(tmp_path / "models/base", model, "qwen2_vl")
    return tiny_col.add_adapter(tmp_path / "models/adapter", "base", model, "first release")


def test_a_library_and_a_server(adapter: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        PIL.Image.new("RGB", (84, 56), colour).save(pictures / f"{name}.png")
    (pictures / "note.txt").write_text("The rent is due on Monday.\n")
    embedder = polylens.load(adapter, device="cpu", dtype="float32")
    library = Library(pictures, embedder)
    library.update()
    assert [hit.file for hit in library.search("rent", by="text")] == ["note.txt"]
    assert {hit.file for hit in library.search("rent")} == {"red.png", "blue.png", "note.txt"}
    query = embedder.encode_text("rent", return_multivector=True)
    red = embedder.encode_image(pictures / "red.png", return_multivector=True)
    scores = {hit.file: hit.score for hit in library.search("rent", by="late")}
    assert set(scores) == {"red.png", "blue.png", "note.txt"}
    expected = float((query @ red.T).max(axis=1).sum())
    assert scores["red.png"] in (pytest.approx(expected, rel=0.01), pytest.approx(expected / len(query), rel=0.01))

    with serving(
        "--model", str(adapter), "--library", str(pictures), home=tmp_path, variables={"POLYLENS_DTYPE": "float32"}
    ) as running:
        [listed] = [each for each in running.http.get("/v1/models").json()["data"] if "adapter" in each["id"]]
        assert listed["created"] == int((adapter.parent / "base/config.json").stat().st_mtime)
        answer = running.embed(["rent"], "adapter", task="retrieval.query", return_multivector=True)
        assert np.allclose(answer["data"][0]["embeddings"], query, atol=1e-5)
        dense = running.embed(["rent"], "adapter", task="retrieval.query")["data"][0]["embedding"]
        assert np.allclose(dense, query.mean(axis=0) / np.linalg.norm(query.mean(axis=0)), atol=1e-5)
        why = running.post("/library/why", {"query": "rent", "file": "red.png", "page": 1}).json()
        assert (why["rows"], why["columns"]) == (2, 3)
        assert [word["text"] for word in why["words"]] == ["rent"]
