"""The image, without a container daemon: its file is linted, and what it runs is run here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.deploying import DEPLOY, check, tool
from tests.support.root import ROOT
from tests.support.serving import serving
from tests.support.waiting import until

from polylens.server.settings import all_settings

DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
ENTRYPOINT = DEPLOY / "entrypoint.sh"


def test_hadolint_finds_nothing() -> None:
    check(tool("hadolint"), DEPLOY / "Dockerfile")


def test_what_it_copies_is_there_and_not_ignored() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*"
    copied = [
        line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY") and "--from" not in line
    ]
    for name in (name for line in copied for name in line if not name.startswith("--")):
        assert (ROOT / name.removeprefix("./")).exists(), name
        assert f"!{name.removeprefix('./')}" in ignored, name


def test_it_runs_as_nobody_in_particular_and_keeps_things_in_one_place() -> None:
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, flags=re.MULTILINE)
    known = {setting.variable for setting in all_settings()} | {"POLYLENS_CACHE"}
    places = dict(re.findall(r"\b(POLYLENS_\w+|HF_HOME)=(\S+)", DOCKERFILE))
    assert set(places) - {"HF_HOME"} <= known
    assert all(value.startswith("/state/") for name, value in places.items() if name != "POLYLENS_HOST")
    assert "POLYLENS_PORT" not in places  # the entry point finds it


@pytest.mark.parametrize("script", ["install.sh", "entrypoint.sh"])
def test_scripts_are_posix(script: str) -> None:
    check("sh", "-n", DEPLOY / script)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["/a", "/b"], "needs SOURCE, TARGET"), (["/a", "/b", "tpu"], "for cpu or cuda, got 'tpu'")],
)
def test_wrong_arguments_of_the_installation_are_named(arguments: list[str], reason: str) -> None:
    done = subprocess.run(["sh", DEPLOY / "install.sh", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and reason in done.stderr


class TestEntryPoint:
    """`polylens` is a script here that prints what it is given."""

    @pytest.fixture
    def program(self, tmp_path: Path) -> Path:
        program = tmp_path / "bin/polylens"
        program.parent.mkdir()
        program.write_text('#!/bin/sh\necho "$POLYLENS_PORT|${POLYLENS_MODELS:-}|$*"\n')
        program.chmod(0o755)
        return program

    def ran(self, program: Path, *arguments: str, **given: str) -> list[str]:
        variables = {"PATH": f"{program.parent}:{os.environ['PATH']}", "SM_MODEL_DIR": "/nowhere", **given}
        done = subprocess.run(["sh", ENTRYPOINT, *arguments], env=variables, capture_output=True, text=True, check=True)
        return done.stdout.strip().split("|")

    @pytest.mark.parametrize(
        ("variables", "port"),
        [
            ({}, "8000"),
            ({"PORT": "8080"}, "8080"),  # Cloud Run, App Service
            ({"AIP_HTTP_PORT": "7080", "PORT": "1"}, "7080"),  # Vertex AI
            ({"SAGEMAKER_BIND_TO_PORT": "9001"}, "9001"),
            ({"POLYLENS_PORT": "5000", "PORT": "8080"}, "5000"),
        ],
    )
    def test_the_port_is_the_clouds(self, program: Path, variables: dict[str, str], port: str) -> None:
        assert self.ran(program, "serve", "--lazy", **variables) == [port, "", "serve --lazy"]

    def test_sagemakers_folder_and_port(self, program: Path, tmp_path: Path) -> None:
        folder = tmp_path / "model"
        folder.mkdir()
        assert self.ran(program, "serve", SM_MODEL_DIR=str(folder)) == ["8080", "", "serve"]
        (folder / "config.json").write_text("{}")
        assert self.ran(program, "serve", SM_MODEL_DIR=str(folder)) == ["8080", str(folder), "serve"]
        named = self.ran(program, "serve", SM_MODEL_DIR=str(folder), POLYLENS_MODELS="nano")
        assert named == ["8080", "nano", "serve"]

    def test_azures_folder(self, program: Path, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        assert self.ran(program, "serve", AZUREML_MODEL_DIR=str(tmp_path)) == ["8000", str(tmp_path), "serve"]

    def test_health_and_sagemakers_contract_of_a_running_server(self, tmp_path: Path) -> None:
        """With SageMaker's way to start a container, `serve`, and its two routes."""
        environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        with serving(home=tmp_path) as server:
            until(lambda: server.http.get("/ping").status_code == 200)
            port = server.url.rpartition(":")[2]
            answered = subprocess.run(["sh", ENTRYPOINT, "health"], env={**environment, "PORT": port}, check=False)
            assert answered.returncode == 0
            asked = server.post("/invocations", {"data": ["a harbour"], "parameters": {"task": "text-matching"}})
            assert asked.status_code == 200 and len(asked.json()["data"][0]["embedding"]) == 256
        gone = subprocess.run(
            ["sh", ENTRYPOINT, "health"], env={**environment, "PORT": port}, capture_output=True, text=True, check=False
        )
        assert gone.returncode == 1 and "not ready" in gone.stderr
