"""The description of a served model in GET /v1/models: the published shape, with OpenAI's few fields added."""

from __future__ import annotations

from typing import Any

from polylens.server.engine.published import published_tasks
from polylens.server.engine.registry import PREFIX, Served

_PRICES = {
    "prompt": "0",
    "completion": "0",
    "image": "0",
    "request": "0",
    "input_cache_read": "0",
    "input_cache_write": "0",
}


def model_info(served: Served) -> dict[str, Any]:
    """The entry of a model in GET /v1/models."""
    header, entry = served.header, served.entry
    short = served.name.rpartition("/")[2]
    outputs = [name for name, has in (("embeddings", served.embeds), ("scores", served.scores_pairs)) if has]
    features = ["multi-vector"] if header.multivector_dim is not None else []
    licence = f" Licence of the weights: {entry.licence}." if entry is not None else ""
    return {
        "id": PREFIX + short,
        "object": "model",
        "owned_by": "polylens",
        "hugging_face_id": (entry.repository or "") if entry is not None else "",
        "name": f"polylens: {short}",
        "created": int((header.folder / "config.json").stat().st_mtime),
        "input_modalities": list(header.modalities),
        "output_modalities": outputs,
        "quantization": "",
        "context_length": header.context,
        "max_output_length": header.dim,
        "matryoshka_dims": list(header.matryoshka_dims),
        "tasks": list(published_tasks(header)),
        "pricing": _PRICES,
        "supported_sampling_parameters": [],
        "supported_features": features + (["rerank"] if served.scores_pairs else []),
        "description": f"{_description(served)}{licence}",
        "datacenters": [],
    }


def _description(served: Served) -> str:
    if not served.embeds:
        return "A reranker: scores of documents for a query, from POST /v1/rerank alone."
    return f"Dense vectors of {', '.join(map(str, served.header.matryoshka_dims))} dimensions."
