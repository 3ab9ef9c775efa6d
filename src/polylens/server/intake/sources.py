"""The inputs of a request, sorted into texts, images and PDFs. Nothing is opened or fetched here.

Every form that clients send is understood: a string, `{"text"}`, `{"image"}`, `{"url"}`, `{"bytes"}`, `{"pdf"}`,
`{"image_base64"}`, `{"image_url"}`, Elastic's `{"type", "format", "value"}`, a bare `data:image/...` string, token ids,
or `{"content"}` with parts of one input; one of them, or a list. A string that merely looks like a path or a URL is a
text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polylens.errors import FieldError, TooLargeError

FORMS = 'a string, {"text": ...}, {"image": URL, data URI or base64}, or a list of token ids'
_KEYS = ("text", "image", "url", "bytes", "pdf", "image_base64", "image_url", "content", "value")

MAX_PARTS = 64
"""Parts of one input."""


@dataclass(frozen=True, slots=True)
class TextInput:
    """A text, unchanged."""

    text: str


@dataclass(frozen=True, slots=True)
class TokenIds:
    """A text as ids of the model's own tokenizer."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ImageInput:
    """An image: an http(s) URL, a `data:` URI, or base64."""

    content: str


@dataclass(frozen=True, slots=True)
class PdfInput:
    """A PDF, each page of which is an image: an http(s) URL, a `data:` URI, or base64."""

    content: str


@dataclass(frozen=True, slots=True)
class FusedInput:
    """Texts and images, in order, that are one input and get one vector. At least one of them is an image."""

    parts: tuple[TextInput | ImageInput, ...]


Source = TextInput | TokenIds | ImageInput | PdfInput | FusedInput


def parse_input(value: Any, *, field: str = "input", max_items: int) -> list[Source]:
    """Sorts the input of a request.

    Args:
        value: The value from the JSON.
        field: The name of the field, for error messages.
        max_items: The most items in a list.

    Returns:
        At least one source; a PDF is the only one.

    Raises:
        FieldError: The input is empty, or an item has none of the known forms; the message names the item.
        TooLargeError: The list is too long.
    """
    if not isinstance(value, list):
        return [parse_item(value, field)]
    if not value:
        raise FieldError(f"is an empty list; send {FORMS}, or a list of them", field, value)
    if all(_is_token_id(each) for each in value):
        return [TokenIds(tuple(value))]
    if len(value) > max_items:
        raise TooLargeError(
            f"{field} has {len(value)} items, and the limit is {max_items} per request; split it into several requests"
        )
    sources = [parse_item(each, f"{field}.{index}") for index, each in enumerate(value)]
    if len(sources) > 1 and any(isinstance(source, PdfInput) for source in sources):
        raise FieldError("a PDF must be the only input of its request", field)
    return sources


def parse_item(value: Any, field: str) -> Source:
    """Sorts one input.

    Raises:
        FieldError: The value has none of the known forms.
    """
    if isinstance(value, str):
        return ImageInput(value) if value[:11].lower() == "data:image/" else TextInput(value)
    if isinstance(value, list):
        if value and all(_is_token_id(each) for each in value):
            return TokenIds(tuple(value))
        raise FieldError(f"must be {FORMS}, got a list of something else", field, value)
    if isinstance(value, dict):
        return _parse_object(value, field)
    raise FieldError(f"must be {FORMS}, got {_json_type(value)}", field, value)


def _parse_object(value: dict[str, Any], field: str) -> Source:
    given = [key for key in _KEYS if value.get(key) is not None]
    if len(given) != 1:
        found = " and ".join(given) if given else ", ".join(sorted(value)[:5]) or "nothing"
        raise FieldError(f"must have exactly one of {', '.join(_KEYS)}, got {found}", field, value)
    key, content = given[0], value[given[0]]
    if key == "content" and isinstance(content, list):
        return _parse_parts(content, f"{field}.content")
    if key == "image_url" and isinstance(content, dict):  # as OpenAI and Cohere nest it
        key, content = "url", content.get("url")
    if not isinstance(content, str):
        raise FieldError(f"must be a string, got {_json_type(content)}", f"{field}.{key}", content)
    if key in ("text", "content"):
        return TextInput(content)
    if key == "value":
        return _parse_value(value, field)
    return PdfInput(content) if key == "pdf" else ImageInput(content)


def _parse_value(value: dict[str, Any], field: str) -> Source:
    """Elastic's form of a text or an image."""
    kind = value.get("type")
    if kind == "text":
        return TextInput(value["value"])
    if kind == "image":
        return ImageInput(value["value"])
    raise FieldError('must be "text" or "image" beside "value"', f"{field}.type", kind)


def _parse_parts(values: list[Any], field: str) -> Source:
    """The parts of one input. Texts alone are one text, with a line for each."""
    if not 0 < len(values) <= MAX_PARTS:
        raise FieldError(f"must have 1 to {MAX_PARTS} parts, got {len(values)}", field)
    parts = [parse_item(value, f"{field}.{index}") for index, value in enumerate(values)]
    for index, part in enumerate(parts):
        if not isinstance(part, TextInput | ImageInput):
            raise FieldError("must be a text or an image: it is a part of one input", f"{field}.{index}", values[index])
    kept = tuple(part for part in parts if isinstance(part, TextInput | ImageInput))
    texts = [part.text for part in kept if isinstance(part, TextInput)]
    if len(texts) == len(kept):
        return TextInput("\n".join(texts))
    return kept[0] if len(kept) == 1 else FusedInput(kept)


def _is_token_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _json_type(value: Any) -> str:
    """The name of a value's type in JSON."""
    names = {bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
