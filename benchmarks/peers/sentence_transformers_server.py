"""The peer of benchmarks/serve.py: sentence-transformers behind a plain FastAPI route, as its users write it.

    python benchmarks/peers/sentence_transformers_server.py FOLDER --port 8001 [--dtype bfloat16]

FOLDER holds a model of transformers' own jina-embeddings-v3 (safetensors, tokenizer.json); mean pooling, unit vectors.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer, models


class Request(BaseModel):
    model: str
    input: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    transformer = models.Transformer(options.folder, model_args={"dtype": getattr(torch, options.dtype)})
    pooling = models.Pooling(transformer.get_word_embedding_dimension(), pooling_mode="mean")
    model = SentenceTransformer(modules=[transformer, pooling], device="cpu")
    app = FastAPI()

    @app.post("/v1/embeddings")
    def embed(request: Request) -> dict[str, Any]:
        vectors = model.encode(request.input, normalize_embeddings=True, convert_to_numpy=True)
        rows = [{"object": "embedding", "index": i, "embedding": row.tolist()} for i, row in enumerate(vectors)]
        return {"object": "list", "model": request.model, "data": rows}

    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
