"""Notebooks: cells, what they printed and drew, and files that are none."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from tests.support import papers
from tests.support.pages import pages_of, reason, text_of

from polylens.documents.formats.notebook import MAX_OUTPUT


def write(path: Path, cells: list[Any], **more: Any) -> Path:
    language = {"kernelspec": {"language": "python"}}
    path.write_text(json.dumps({"cells": cells, "metadata": language, "nbformat": 4, "nbformat_minor": 5, **more}))
    return path


def code(source: str | list[str], *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "outputs": list(outputs), "metadata": {}, "execution_count": 1}


def test_cells(tmp_path: Path) -> None:
    shown = {"output_type": "execute_result", "data": {"text/plain": ["   metres\n", "0  3.9"], "text/html": "<table>"}}
    path = write(
        tmp_path / "a.ipynb",
        [
            {"cell_type": "markdown", "source": ["# Tides\n", "\n", "They rise."], "metadata": {}},
            code(["import tides\n", "tides.table()"], {"output_type": "stream", "text": ["reading\n"]}, shown),
            code("1/0", {"output_type": "error", "traceback": ["\x1b[0;31mZeroDivisionError\x1b[0m: division"]}),
            {"cell_type": "raw", "source": "raw words", "metadata": {}},
            code(""),
        ],
    )
    assert text_of(path) == (
        "# Tides\n\nThey rise.\n\n```python\nimport tides\ntides.table()\n```\n\nreading\n\n   metres\n0  3.9\n\n"
        "```python\n1/0\n```\n\nZeroDivisionError: division\n\nraw words"
    )
    assert pages_of(path)[0].image is None


def test_pictures_are_pages(tmp_path: Path) -> None:
    def drawn(data: bytes) -> dict[str, Any]:
        bundle = {"image/png": base64.b64encode(data).decode(), "text/plain": ["<Figure size 640x480 with 1 Axes>"]}
        return {"output_type": "display_data", "data": bundle}

    attached = {"a.png": {"image/png": base64.b64encode(papers.picture(2)).decode()}}
    cells = [
        code("plot(tides)", drawn(papers.picture(1)), drawn(b"no picture")),
        {"cell_type": "markdown", "source": "![](attachment:a.png)", "attachments": attached},
        code("more", {"output_type": "display_data", "data": {"image/png": "!"}}),
    ]
    text, first, second = pages_of(write(tmp_path / "a.ipynb", cells))
    assert "Figure size" not in text.text
    assert first.image is not None and first.text == "plot(tides)"
    assert second.image is not None and second.text == "![](attachment:a.png)"


def test_html_where_there_is_no_plain_text(tmp_path: Path) -> None:
    shown = {"output_type": "display_data", "data": {"text/html": ["<p>a <b>bold</b>\n", "word<script>x()</script>"]}}
    assert text_of(write(tmp_path / "a.ipynb", [code("x", shown)])) == "```python\nx\n```\n\na bold word"


def test_the_older_format(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Tides"]},
        {"cell_type": "code", "input": ["x = 1"], "language": "python", "outputs": [{"text": ["one"]}]},
    ]
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"worksheets": [{"cells": cells}], "metadata": {}, "nbformat": 3}))
    assert text_of(path) == "## Tides\n\n```\nx = 1\n```\n\none"


def test_long_outputs_are_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ipynb", [code("x", {"output_type": "stream", "text": "word " * 100_000})])
    assert len(text_of(path)) < 1.1 * MAX_OUTPUT


def test_what_is_no_notebook_is_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    for text in ('{"cells": [<<<<<<< HEAD', "just words", "[1, 2]", '{"a": 1}', '{"cells": 5}', "[" * 100_000):
        path.write_text(text)
        assert text_of(path).replace("\n", "").startswith(text[:1_000])
    path.write_text("")
    assert pages_of(path) == []
    path.write_bytes(bytes(range(256)) * 9)
    assert "is not text" in reason(path)


def test_odd_cells(tmp_path: Path) -> None:
    odd: list[Any] = [
        5,
        None,
        {},
        {"cell_type": "code"},
        {"source": None},
        {"source": [1, None]},
        code("x", {"data": 5}),
    ]
    assert "```python\nx\n```" in text_of(write(tmp_path / "a.ipynb", odd))
