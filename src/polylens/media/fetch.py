"""Fetches an image from an http(s) URL that was passed to `encode_image`.

Any address may be fetched, because a program calls this on its own behalf. The server never does: URLs in its clients'
requests go through `server/intake/fetching.py`, which judges every address.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from typing import Any

from polylens.errors import ImageError

MAX_FETCH_BYTES = 32 * 1024 * 1024
"""Largest response body, in bytes."""

FETCH_TIMEOUT = 20.0
"""Seconds to wait for a response, or for its next bytes."""

FETCH_DEADLINE = 120.0
"""Seconds for one URL altogether: a server that sends single bytes slowly never exceeds FETCH_TIMEOUT."""


class _HttpRedirectsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.lower().startswith(("http://", "https://")):
            raise ImageError(f"{shortened(req.full_url)} redirects to {shortened(newurl)}, which is not http(s)")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(url: str) -> bytes:
    """Fetches a URL and returns the body of the response. Only redirects to http(s) URLs are followed.

    Raises:
        ImageError: The server cannot be reached, or responds with an error, with too many bytes or too slowly.
    """
    opener = urllib.request.OpenerDirector()  # not build_opener, which would answer file: and ftp: too
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _HttpRedirectsOnly,
    ):
        opener.add_handler(handler())
    request = urllib.request.Request(url, headers={"User-Agent": "polylens", "Accept": "image/*"})
    deadline = time.monotonic() + FETCH_DEADLINE
    received = bytearray()
    try:
        with opener.open(request, timeout=FETCH_TIMEOUT) as response:
            while chunk := response.read1(65536):
                received += chunk
                if len(received) > MAX_FETCH_BYTES:
                    raise ImageError(f"{shortened(url)} sends more than {MAX_FETCH_BYTES:,} bytes, the limit")
                if time.monotonic() > deadline:
                    raise ImageError(f"{shortened(url)} did not finish within {FETCH_DEADLINE:.0f} s")
    except urllib.error.HTTPError as error:
        with error:
            raise ImageError(f"{shortened(url)} responds with {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{shortened(url)} cannot be fetched ({reason(error)})") from error
    return bytes(received)


def shortened(text: str) -> str:
    """Quotes a source for an error message: a URL, or the beginning of a long data: URI."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


def reason(error: BaseException) -> str:
    """Says in an error message what another library raised."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
