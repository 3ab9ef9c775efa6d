"""How the inputs of a request are to be embedded."""

from __future__ import annotations

from dataclasses import dataclass

from polylens.server.http.context import RequestContext


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedOptions:
    """Of all inputs of one request."""

    context: RequestContext
    task: str | None = None  # a published name; None is the model's default
    truncate: bool = False  # cut texts that are too long instead of refusing them
    wants_tokens: bool = False  # multi-vectors too
    shows_tokens: bool = False  # and which token each is of, which the cache does not know
    late_chunking: bool = False
    field: str = "input"  # where in the request the inputs stood
    listed: bool = True  # as a list, or as the one input

    def place(self, index: int) -> str:
        """The path of an input in the request."""
        return f"{self.field}.{index}" if self.listed else self.field
