"""The search page's service without a server: it searches a library that is there already."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from polylens.index.ranking.filters import Filters
from polylens.index.search import By
from polylens.library.library import Library
from polylens.server.search_page.service import LibraryService, Wanted


class Models:
    """As much of the server's registry as a search needs."""

    def __iter__(self) -> Iterator[Any]:
        return iter([self.made("fake")])

    def made(self, model_id: str) -> Any:
        return SimpleNamespace(model_id=model_id, name=model_id, embeds=True)


def service_of(library: Library) -> LibraryService:
    service = LibraryService(library.folder, Models())  # type: ignore[arg-type]
    service._library = library
    return service


def over_http(service: LibraryService, query: str, by: By = "fused", filters: Filters | None = None) -> dict[str, Any]:
    """What the page is answered, before it is JSON."""
    return asyncio.run(service.search([query], Wanted(9, by, filters)))
