"""A browser for the tests of the search page. Without one, each of these tests is still collected, and then skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests.support.browsing import CHROMIUM
from tests.support.hiding import HIDDEN

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, started once per module: while Playwright runs, nothing else in the process can run an event loop."""
    if "chromium" in HIDDEN or not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    from playwright import sync_api  # here, so that the rest of the folder does without it

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()
