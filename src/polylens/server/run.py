"""The server as a process: listens, logs one JSON object per line, and shuts down in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette

from polylens.errors import InputError
from polylens.server.app import create_app
from polylens.server.places import places
from polylens.server.settings import Settings, require_keys_for_others, unknown_variables
from polylens.server.state import Server

GRACE_SECONDS = 120  # for requests under way once the server is told to stop

_FIELDS = ("request_id", "route", "status", "seconds", "owner", "model", "inputs", "tokens")


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON, with the fields of the request that it is about."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **{name: getattr(record, name) for name in _FIELDS if hasattr(record, name)},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _Server(uvicorn.Server):
    """uvicorn's server, but a signal ends the process with exit code 0 instead of by that signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, self._end)
        yield

    def _end(self) -> None:
        self.force_exit = self.should_exit  # a second signal ends it at once
        self.should_exit = True


def run(
    settings: Settings,
    *,
    show: Callable[[str], None] | None = None,
    create: Callable[[Settings], Starlette] = create_app,
) -> None:
    """Serves until SIGTERM or Ctrl-C; then finishes the requests under way and accepts no new ones.

    Args:
        settings: The settings of the server; the first line of the log names the address.
        show: Called with the address once the server listens; then only warnings and errors are logged.
        create: Makes the application.

    Raises:
        InputError: The server cannot listen on the address, or a library there needs keys.
        PolylensError: A model, the file of keys or the library cannot be used.
    """
    require_keys_for_others(settings)  # before anybody can connect
    listener = _listen(settings.host, settings.port)
    app = create(settings)
    _log_to_stderr(logging.INFO if show is None else logging.WARNING)
    log = logging.getLogger("polylens.server")
    for name, closest in unknown_variables(os.environ).items():
        log.warning("the variable %s is no setting and is ignored; the closest one is %s", name, closest)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_SECONDS, server_header=False
    )
    address, bound = listener.getsockname()[:2]
    names = ", ".join(app.state.server.models.names())
    shown = f"[{address}]" if ":" in address else address
    log.info("listening on http://%s:%d, serving %s", shown, bound, names)
    log.info("kept where: %s", "; ".join(map(str, places(settings))))
    if show is not None:
        show(f"http://{shown}:{bound}")
    asyncio.run(_Server(config).serve(sockets=[listener]))


def run_on_stdio(settings: Settings) -> None:
    """Serves a library's tools to the assistant that started this process, until stdin ends.

    Args:
        settings: The settings of the server, with a library. The package `mcp` must be installed.

    Raises:
        PolylensError: A model or the library cannot be used.
    """
    from polylens.server.mcp.stdio import serve_stdio

    _log_to_stderr(logging.WARNING)
    serve_stdio(Server(settings))


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # from here on connections are accepted; the first ones wait until the application runs
    except OSError as error:
        raise InputError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    listener.set_inheritable(True)
    return listener


def _log_to_stderr(ours: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("polylens").setLevel(ours)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # a client's mistake is told to the client
