"""The document at /openapi.json against the running server: requests drawn from it, answers checked against it."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.support.serving import Running

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 15  # of each operation: enough to meet wrong types, and no load test


OPERATIONS = [
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/rerank"),
    ("POST", "/v1/classify"),
    ("POST", "/v1/train"),
    ("POST", "/v1/segment"),
    ("POST", "/"),
    ("POST", "/v1/read"),
    ("POST", "/invocations"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model_id}"),
    ("GET", "/v1/classifiers"),
    ("DELETE", "/v1/classifiers/{classifier_id}"),
    ("GET", "/health"),
    ("GET", "/live"),
    ("GET", "/ready"),
    ("GET", "/ping"),
    ("POST", "/v2/embed"),
    ("POST", "/v2/rerank"),
    ("POST", "/v1beta/models/{model}:embedContent"),
    ("POST", "/v1beta/models/{model}:batchEmbedContents"),
    ("POST", "/v1/models/{model}:embedContent"),
    ("POST", "/v1/models/{model}:batchEmbedContents"),
    ("POST", "/v1/multimodalembeddings"),
    ("POST", "/embed"),
    ("POST", "/rerank"),
    ("POST", "/similarity"),
    ("POST", "/models/{model}/pipeline/feature-extraction"),
    ("POST", "/models/{model}/pipeline/sentence-similarity"),
    ("GET", "/info"),
    ("POST", "/api/embed"),
    ("POST", "/api/embeddings"),
    ("GET", "/api/tags"),
    ("GET", "/api/version"),
    ("POST", "/v1/files"),
    ("GET", "/v1/files"),
    ("GET", "/v1/files/{file_id}"),
    ("DELETE", "/v1/files/{file_id}"),
    ("POST", "/v1/batches"),
    ("GET", "/v1/batches"),
    ("GET", "/v1/batches/{batch_id}"),
    ("POST", "/v1/batches/{batch_id}/cancel"),
]


@pytest.fixture(scope="module")
def document(server: Running) -> Any:
    return server.http.get("/openapi.json").json()


def test_all_operations_are_here(document: Any) -> None:
    there = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert there == set(OPERATIONS)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_answers_are_as_documented(
    server: Running, document: Any, method: str, path: str, mode: GenerationMode
) -> None:
    """Requests that the document allows, and such as it does not."""
    if mode is GenerationMode.NEGATIVE and (method == "GET" and "{" not in path):
        pytest.skip("has nothing that could be wrong")
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=server.url)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
            case.body["model"] = "nano"  # or else every answer would be that there is no such model
        if isinstance(case.path_parameters, dict) and "model" in case.path_parameters:
            case.path_parameters["model"] = "nano"
        case.call_and_validate(checks=CHECKS)

    check()


def test_the_document_is_whole(server: Running) -> None:
    """Every reference in it leads somewhere."""
    document = server.http.get("/openapi.json").json()
    references: set[str] = set()

    def walk(value: object) -> None:
        if isinstance(value, dict):
            reference = value.get("$ref")
            if isinstance(reference, str):
                references.add(reference)
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(document)
    there = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references <= there
    assert {"/v1/embeddings", "/v1/rerank", "/v1/classify", "/v1/train", "/invocations"} <= set(document["paths"])
