"""The background updates of a library, as the search page shows them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from polylens.errors import ModelMismatchError
from polylens.library.library import Library
from polylens.library.progress import Report, UpdateProgress
from polylens.library.unsearchable import Listing, listed

log = logging.getLogger("polylens.server")

_SHOWN = frozenset({"phase", "file", "done_pages", "total_pages"})


class UpdateStatus:
    """The progress of the update under way and the outcome of the last one; the listener of a `Follower`.

    Args:
        on_other_model: A function that is called, from the follower's thread, where the index was made with another
            model.
    """

    def __init__(self, on_other_model: Callable[[], None]) -> None:
        self.failed: list[tuple[str, str]] = []
        """The files that could not be read, and why."""
        self.listing: Listing | None = None
        """Everything that is not searchable; None before the first update has ended and nobody has asked."""
        self.message = ""
        """The reason why the library cannot be updated; "" while it can."""
        self._on_other_model = on_other_model
        self._progress: UpdateProgress | None = None
        self._began = 0.0  # when the current phase began, on the monotonic clock

    def progress(self, _library: Library, progress: UpdateProgress) -> None:
        """Notes how far the update is."""
        if self._progress is None or self._progress.phase != progress.phase:
            self._began = time.monotonic()
        self._progress = progress

    def updated(self, _library: Library, report: Report) -> None:
        """Notes that the update is done."""
        self.failed, self.message, self._progress = report.failed, "", None
        self.listing = listed(report.passed_over, report.failed, report.partly)

    def problem(self, _library: Library, error: Exception) -> None:
        """Notes that the update failed."""
        self._progress = None
        if isinstance(error, ModelMismatchError):
            self._on_other_model()
            return
        self.message = str(error)
        log.error("the library could not be updated: %s", self.message)

    def summary(self) -> dict[str, Any] | None:
        """The update under way, with the seconds that it will take; None where there is nothing to show."""
        progress = self._progress
        if progress is None or not (progress.phase == "indexing" or progress.file or progress.total_pages):
            return None  # the scans in which nothing has changed
        left = progress.total_pages - progress.done_pages
        rate = progress.done_pages / max(1e-3, time.monotonic() - self._began)
        eta = round(left / rate, 1) if progress.done_pages and left else None
        fields = {name: value for name, value in asdict(progress).items() if name in _SHOWN}
        return {**fields, "eta_seconds": eta}
