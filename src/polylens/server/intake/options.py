"""The options by which the inputs of a request are embedded or scored."""

from __future__ import annotations

from dataclasses import dataclass

from polylens.errors import ImageError
from polylens.server.http.context import RequestContext


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedOptions:
    """Options that hold for all inputs of one request."""

    context: RequestContext
    task: str | None = None  # a published name; None is the model's default
    truncate: bool = False  # cut texts that are too long instead of refusing them
    max_length: int | None = None  # tokens at which a text is too long; None is the limit of the server or the model
    keeps_end: bool = False  # what is cut off a text is its start
    cut_by: str = "truncate: true"  # what a request says so that texts are cut, for error messages
    wants_tokens: bool = False  # return multi-vectors as well
    shows_tokens: bool = False  # return the token of each vector as well; such results are not cached
    late_chunking: bool = False
    field: str = "input"  # the field of the request that holds the inputs
    listed: bool = True  # whether that field is a list, or one input alone
    name: str = "image"  # what error messages call an image: "image", "query" or "document"

    def field_of(self, index: int) -> str:
        """The path of an input in the request, as error messages name it."""
        return f"{self.field}.{index}" if self.listed else self.field

    def image_error(self, message: str, index: int) -> ImageError:
        """The error for an input that is no image that can be used."""
        return ImageError(message, index if self.listed else None, self.name)
