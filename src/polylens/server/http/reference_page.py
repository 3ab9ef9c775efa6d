"""The interface as an HTML page, made from its OpenAPI document: without scripts, and without files of other hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; font-size: 1.1rem; } code { font-size: .95em; }
.verb { display: inline-block; min-width: 4.5rem; font-weight: 700; }
table { border-collapse: collapse; width: 100%; }
td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; }
tr + tr td { border-top: 1px solid color-mix(in srgb, currentColor 15%, transparent); }
"""


def reference_page(document: Mapping[str, Any]) -> str:
    """The page as HTML.

    Args:
        document: The document at `/openapi.json`.
    """
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(document['info']['title'])}</title>"
    intro = (
        f"<h1>{escape(document['info']['title'])} {escape(document['info']['version'])}</h1>"
        f"<p>{escape(document['info']['description'])} For programs: <a href=/openapi.json>openapi.json</a>.</p>"
    )
    return "".join((head, f"<style>{STYLE}</style><body>", intro, *_operations(document)))


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"<h2><span class=verb>{method.upper()}</span> <code>{escape(path)}</code></h2>"
            yield f"<p>{escape(operation.get('summary', ''))}</p>"
            yield from _fields(document, operation)
            statuses = ((code, found["description"]) for code, found in operation["responses"].items())
            yield "<p>" + " ".join(f"<b>{code}</b> {escape(text)}" for code, text in statuses) + "</p>"


def _fields(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[str]:
    """A table of the fields of a request body."""
    if "requestBody" not in operation:
        return
    [content] = operation["requestBody"]["content"].values()  # JSON, or a form
    schema = content["schema"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    required = schema.get("required", ())
    yield "<table>"
    for name, field in schema["properties"].items():
        needed = " (required)" if name in required else ""
        meaning = escape(field.get("description", ""))
        yield f"<tr><td><code>{escape(name)}</code>{needed}<td>{escape(_type(field))}<td>{meaning}"
    yield "</table>"


def _type(field: Mapping[str, Any]) -> str:
    """A field's type in a few words."""
    if "anyOf" in field:
        kinds = dict.fromkeys(_type(each) for each in field["anyOf"])
        return " or ".join(kind for kind in kinds if kind != "null")
    if "enum" in field:
        return " or ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    if field.get("type") == "object" and "properties" in field:
        return "{" + ", ".join(field["properties"]) + "}"
    return str(field.get("type", "object"))
