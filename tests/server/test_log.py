"""The log of the server: one JSON object per line, whoever writes it."""

from __future__ import annotations

import json

from tests.support.commands import run

CODE = """
import logging, warnings
from polylens.server.run import _log_to_stderr
_log_to_stderr(logging.INFO)
logging.getLogger("polylens.server").info("ours")
logging.getLogger("some.library").warning("of a %s", "library")
logging.getLogger("some.library").info("what nobody asked for")
logging.getLogger("python_multipart.multipart").warning("what a client sent")
warnings.warn("by Python's\\nown way")
"""


def test_what_libraries_say_is_json_as_well() -> None:
    done = run(code=CODE)
    ours, library, own = (json.loads(line) for line in done.stderr.splitlines())
    assert (ours["level"], ours["message"]) == ("info", "ours")
    assert (library["level"], library["message"]) == ("warning", "of a library")
    assert own["level"] == "warning" and "by Python's\nown way" in own["message"] and done.stdout == b""
