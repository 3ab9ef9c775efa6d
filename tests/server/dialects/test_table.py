"""The page about clients against what it speaks of: the pinned versions, and the paths of the server."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Any

import pytest
from tests.support.root import ROOT
from tests.support.serving import Running

PAGE = (ROOT / "docs/reference/clients.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([a-z0-9_-]+)`[^|]*\| ([\d.]+) \|", PAGE, re.MULTILINE)
PINNED = dict(re.findall(r"^([\w.-]+)==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))


def test_there_are_rows() -> None:
    assert {"cohere", "google-genai", "voyageai", "huggingface_hub", "ollama", "openai"} <= {name for name, _ in ROWS}


@pytest.mark.parametrize(("name", "version"), ROWS)
def test_versions_are_those_that_were_tested(name: str, version: str) -> None:
    assert PINNED[name] == version
    try:
        assert importlib.metadata.version(name) == version
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"pip install {name}, to test what its client sends")


def test_every_path_is_one_of_the_server(server: Running) -> None:
    document: Any = server.http.get("/openapi.json").json()
    known = {path.replace("{model}", "NAME") for path in document["paths"]}
    named = {
        path
        for path in re.findall(r"(?:(?<=`)|(?<=\.\.\.))(/[a-z0-9][\w/.-]*)", PAGE)
        if not path.startswith("/openapi")
    }
    assert named >= {"/embed", "/similarity", "/v1/multimodalembeddings"}
    assert named <= known
