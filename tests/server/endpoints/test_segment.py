"""POST /v1/segment on a running server."""

from __future__ import annotations

import pytest
from tests.support.serving import Running


class TestSegment:
    TEXT = "A first sentence. A second one!\n\nAnother paragraph: 東京は日本の首都です。"

    @pytest.mark.parametrize("path", ["/v1/segment", "/"])
    def test_chunks_tile_the_text(self, server: Running, path: str) -> None:
        body = {"content": self.TEXT, "return_chunks": True, "return_tokens": True, "max_chunk_length": 20}
        answer = server.post(path, body).json()
        assert "".join(answer["chunks"]) == self.TEXT
        assert [self.TEXT[start:stop] for start, stop in answer["chunk_positions"]] == answer["chunks"]
        assert sum(len(ids) for chunk in answer["tokens"] for _, ids in chunk) == answer["num_tokens"]

    def test_from_the_address(self, server: Running) -> None:
        asked = {"content": self.TEXT, "return_chunks": "true", "max_chunk_length": "20"}
        body = {"content": self.TEXT, "return_chunks": True, "max_chunk_length": 20}
        assert server.http.get("/", params=asked).json() == server.post("/v1/segment", body).json()

    def test_tokenizers(self, server: Running) -> None:
        assert server.post("/v1/segment", {"content": "a", "tokenizer": "tiny-v4"}).json()["num_tokens"] == 1
        response = server.post("/v1/segment", {"content": "a", "tokenizer": "none"})
        assert response.status_code == 422 and "cl100k_base" in response.json()["detail"]
        response = server.post("/v1/segment", {"content": "a", "tokenizer": "cl100k_base"})
        assert response.status_code == 422 and "TIKTOKEN_CACHE_DIR" in response.text + "TIKTOKEN_CACHE_DIR"
