"""Chromium, as a person uses the search page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.serving import Running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")


def expect(found: Any) -> Any:
    """Playwright's, which waits until what is asserted holds, for up to 20 seconds."""
    from playwright import sync_api

    sync_api.expect.set_options(timeout=20_000)
    return sync_api.expect(found)


@contextmanager
def watched(browser: Browser, server: Running, **options: Any) -> Iterator[Page]:
    """A page of its own, which must not ask any other host for anything, nor complain on the console."""
    context = browser.new_context(base_url=server.url, **options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    strangers: list[str] = []
    complaints: list[str] = []
    allowed = (server.url + "/", "data:", "blob:")
    page.on("request", lambda request: request.url.startswith(allowed) or strangers.append(request.url))
    page.on("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert not strangers
    assert not complaints
