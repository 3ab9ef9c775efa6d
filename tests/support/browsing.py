"""Drives Chromium as a person uses the search page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.serving import Running
from tests.support.waiting import HANG

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")


def expect(found: Any) -> Any:
    """Playwright's own `expect`, which waits until the assertion holds."""
    from playwright import sync_api

    sync_api.expect.set_options(timeout=HANG * 1000)
    return sync_api.expect(found)


@contextmanager
def watched(browser: Browser, server: Running, **options: Any) -> Iterator[Page]:
    """A new page. It must send no request to another host and print no error or warning on the console."""
    context = browser.new_context(base_url=server.url, **options)
    context.set_default_timeout(HANG * 1000)  # of its pages, and of answers that a test edits on their way
    page = context.new_page()
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
