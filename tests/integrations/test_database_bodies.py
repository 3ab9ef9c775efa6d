"""The bodies of docs/guides/databases-by-http.md, against the schemas of those who read them.

Neither schema is part of this project. To check against them, `POLYLENS_DATABASE_SCHEMAS` names a folder that holds

    npm install @elastic/elasticsearch typescript          the types of Elasticsearch's bodies
    weaviate.json                                          `openapi-specs/schema.json` of github.com/weaviate/weaviate
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import graphql
import jsonschema
import pytest
from tests.support.guides import code
from tests.support.root import ROOT

import polylens

PAGE = ROOT / "docs/guides/databases-by-http.md"
SCHEMAS = os.environ.get("POLYLENS_DATABASE_SCHEMAS")
needs_schemas = pytest.mark.skipif(
    SCHEMAS is None, reason="POLYLENS_DATABASE_SCHEMAS names no folder of schemas; the head of this file says of which"
)


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the page would send."""
    sent: dict[str, Any] = {}
    folder = tmp_path_factory.mktemp("bodies")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec("\n".join(code(PAGE)[0]), sent)
    return json.loads((folder / "requests.json").read_text(encoding="utf-8"))


def of(requests: list[dict[str, Any]], server: str, path: str) -> list[dict[str, Any]]:
    found = [each["body"] for each in requests if each["server"] == server and re.search(path, each["path"])]
    assert found
    return found


def test_vectors_have_the_widths_that_the_schemas_name(requests: list[dict[str, Any]]) -> None:
    nano = polylens.load("nano")
    text = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"dense\)? (?:type )?tensor<float>\(x\[(\d+)\]\)", text)) == {str(nano.dim)}
    assert set(re.findall(r"\{\}, x\[(\d+)\]\)", text)) == {str(nano.multivector_dim)}
    [fields] = [body["mappings"]["properties"] for body in of(requests, "elasticsearch", "^/pages$")]
    for document in of(requests, "elasticsearch", "_doc"):
        assert len(document["dense"]) == fields["dense"]["dims"]
        assert {len(vector) for vector in document["late"]} == {fields["late"]["dims"]}
    [batch] = of(requests, "weaviate", "batch")
    assert {len(each["vectors"]["dense"]) for each in batch["objects"]} == {nano.dim}
    for document in of(requests, "vespa", "document"):
        blocks = document["fields"]["late"]["blocks"]
        assert list(blocks) == [str(place) for place in range(len(blocks))]
        assert len(document["fields"]["dense"]["values"]) == nano.dim


def test_weaviates_queries_are_graphql(requests: list[dict[str, Any]]) -> None:
    for body in of(requests, "weaviate", "graphql"):
        [query] = graphql.parse(body["query"]).definitions
        assert isinstance(query, graphql.OperationDefinitionNode)
        [get] = query.selection_set.selections
        assert isinstance(get, graphql.FieldNode) and get.name.value == "Get"


@needs_schemas
def test_weaviates_bodies_are_those_of_its_openapi_document(requests: list[dict[str, Any]]) -> None:
    document = json.loads((Path(str(SCHEMAS)) / "weaviate.json").read_text(encoding="utf-8"))
    for definition in document["definitions"].values():
        if definition.get("properties"):
            definition.setdefault("additionalProperties", False)  # a misspelt name must not pass
    # An "object" without properties stands for any value there, and a vector is a list, of numbers or of lists of them.
    document["definitions"]["Vector"] = {"type": "array", "items": {"type": ["number", "array"]}}
    for method, path in (("post", "/schema"), ("post", "/batch/objects"), ("post", "/graphql")):
        [parameter] = [each for each in document["paths"][path][method]["parameters"] if each.get("in") == "body"]
        schema = {**parameter["schema"], "definitions": document["definitions"]}
        if "properties" in schema:
            schema["additionalProperties"] = False
        for body in of(requests, "weaviate", f"^/v1{path}$"):
            jsonschema.Draft4Validator(schema).validate(body)
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.Draft4Validator(schema).validate({**body, "klass": "Page"})


@needs_schemas
@pytest.mark.skipif(shutil.which("node") is None, reason="node, which runs TypeScript, is not installed")
def test_elasticsearchs_bodies_are_those_of_its_clients_types(requests: list[dict[str, Any]], tmp_path: Path) -> None:
    packages = Path(str(SCHEMAS)) / "node_modules"
    (tmp_path / "node_modules").symlink_to(packages)
    kinds = {"^/pages$": "IndicesCreateRequest", "_search": "SearchRequest"}

    def told(**wrong: Any) -> str:
        lines = ['import { estypes } from "@elastic/elasticsearch"']
        for path, kind in kinds.items():
            for body in of(requests, "elasticsearch", path):
                value = json.dumps({"index": "pages", **body, **wrong})
                lines.append(f"export const body{len(lines)}: estypes.{kind} = {value}")
        (tmp_path / "bodies.ts").write_text("\n".join(lines), encoding="utf-8")
        command = ["node", packages / "typescript/bin/tsc", "--noEmit", "--strict", "--skipLibCheck"]
        options = ["--module", "node16", "--moduleResolution", "node16", "--target", "es2022", "bodies.ts"]
        return subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    assert told() == ""
    assert "retrievar" in told(retrievar={})
