"""A server between a client and object storage: it counts requests and round trips, or forgets their conditions."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.waiting import HANG

DELAY = 0.02  # seconds that an answer takes, so that requests made at the same time are seen to be


@dataclass
class Traffic:
    """The requests that came by."""

    spans: list[tuple[float, float, str]] = field(default_factory=list)
    """When each began and ended, and what it was."""

    def clear(self) -> None:
        self.spans.clear()

    def round_trips(self) -> int:
        """How often the client waited: requests that overlap are one round trip."""
        trips, until = 0, 0.0
        for began, ended, _ in sorted(self.spans):
            trips += began >= until
            until = max(until, ended)
        return trips

    def told(self) -> str:
        first = min((began for began, _, _ in self.spans), default=0.0)
        return "\n".join(f"{began - first:.3f} {ended - first:.3f} {what}" for began, ended, what in sorted(self.spans))


@contextlib.contextmanager
def relaying(backend: str, *, conditions: bool = True, delay: float = 0.0) -> Iterator[tuple[str, Traffic]]:
    """A relay within the block: its address and its traffic.

    Args:
        backend: The address of the storage.
        conditions: Whether the conditions of puts are passed on.
        delay: Seconds that each answer is held back.
    """
    traffic = Traffic()

    class Handler(_Relay):
        pass

    Handler.backend, Handler.conditions, Handler.delay, Handler.traffic = backend, conditions, delay, traffic
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", traffic
        server.shutdown()
        thread.join()


class _Relay(http.server.BaseHTTPRequestHandler):
    backend = ""
    conditions = True
    delay = 0.0
    traffic: Traffic
    protocol_version = "HTTP/1.1"

    def relay(self) -> None:
        began = time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {
            name: value for name, value in self.headers.items() if self.conditions or not name.lower().startswith("if-")
        }
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.backend).netloc, timeout=HANG)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        time.sleep(self.delay)
        self.traffic.spans.append((began, time.monotonic(), f"{self.command} {self.path} {headers.get('range', '')}"))
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = relay

    def log_message(self, *_: Any) -> None:
        """Says nothing."""
