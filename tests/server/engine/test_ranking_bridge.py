"""A served model as a library's reranker; what it scores is compared in `search_page/test_reranking.py`."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.support import tiny_m0

from polylens.checkpoints.loading import read_header
from polylens.server.engine.ranking_bridge import ServedReranker


def test_nothing_more_is_scored_for_a_client_that_went_away(tmp_path: Path) -> None:
    header = read_header(tiny_m0.write(tmp_path / "m0"))
    served = SimpleNamespace(model_id="m0", header=header, scheduler=None, scores_pairs=True)  # nothing to submit to
    loop = asyncio.new_event_loop()
    reranker = ServedReranker(served, loop)  # type: ignore[arg-type]
    assert reranker.modalities == ("text", "image") and reranker.max_pixels == header.pairs.max_pixels
    reranker.cancel()
    with pytest.raises(CancelledError):
        reranker.rerank("a query", ["a page"])
    loop.close()
