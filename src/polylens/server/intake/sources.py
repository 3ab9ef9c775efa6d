"""The inputs of a request, sorted into texts, images and PDFs. Nothing is opened or fetched here.

Every form that clients send is understood: a string, `{"text"}`,
`{"image"}`, `{"url"}`, `{"bytes"}`, `{"pdf"}`, a bare `data:image/...` string, or token ids; one of them, or a list.
A string that merely looks like a path or a URL is a text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polylens.errors import FieldError, TooLargeError

FORMS = 'a string, {"text": ...}, {"image": URL, data URI or base64}, or a list of token ids'
_KEYS = ("text", "image", "url", "bytes", "pdf")


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


Source = TextInput | TokenIds | ImageInput | PdfInput


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
    if not isinstance(content, str):
        raise FieldError(f"must be a string, got {_json_type(content)}", f"{field}.{key}", content)
    if key == "text":
        return TextInput(content)
    return PdfInput(content) if key == "pdf" else ImageInput(content)


def _is_token_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _json_type(value: Any) -> str:
    """The name of a value's type in JSON."""
    names = {bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
