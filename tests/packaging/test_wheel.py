"""The wheel and the sdist: built as a release builds them, installed where nothing of the checkout is, and used."""

from __future__ import annotations

import email
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.root import ROOT
from tests.support.serving import Running, serving

import polylens

SAMPLES = ("keepers-letter.jpg", "radio-procedure.txt", "invoice-2024-0417.pdf")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with an sdist and the wheel that was made from it, and not from the checkout."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "tests/packaging", "docs/images"):
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, source)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel, and of this one the dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin/python"
    [wheel] = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [packages] = folder.glob("lib/python*/site-packages")
    # A folder that a .pth file names is searched, but its own .pth files are not read: the checkout stays out of sight.
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return python


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    for name in SAMPLES:
        shutil.copy(ROOT / "samples" / name, folder)
    return folder


@pytest.fixture(scope="module")
def server(installed: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    with serving("--library", str(folder), home=home, python=installed, variables={"PYTHONPATH": ""}) as server:
        yield server


def run(python: Path, *arguments: str | Path, cwd: Path) -> str:
    """What a program of the environment prints, run where it finds no checkout."""
    environment = {**os.environ, "HOME": str(cwd), "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def package_files(root: Path) -> set[str]:
    paths = (path for path in (root / "polylens").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(root).as_posix() for path in paths}


class TestWhatIsInThem:
    def test_the_wheel_has_every_file_of_the_package_and_nothing_else(self, built: Path) -> None:
        [wheel] = built.glob("*.whl")
        names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
        assert names == package_files(ROOT / "src")

    def test_the_sdist_has_what_builds_it_and_no_tests(self, built: Path) -> None:
        [sdist] = built.glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
        assert {f"src/{name}" for name in package_files(ROOT / "src")} <= names
        assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= names
        assert not [name for name in names if name.startswith(("tests/", "docs/"))]

    def test_its_metadata(self, built: Path) -> None:
        [wheel] = built.glob("*.whl")
        archive = zipfile.ZipFile(wheel)
        [place] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        said = email.message_from_bytes(archive.read(place))
        assert (said["Name"], said["Version"]) == ("polylens", polylens.__version__)
        assert (said["License-Expression"], said["Requires-Python"]) == ("Apache-2.0", ">=3.11")
        assert {"s3", "ocr", "files", "mcp", "read", "openvino"} <= set(said.get_all("Provides-Extra", []))


class TestUsedWithoutTheCheckout:
    def test_it_is_the_installed_package(self, installed: Path, tmp_path: Path) -> None:
        code = "import polylens, importlib.metadata as m; print(polylens.__file__, m.version('polylens'))"
        place, version = run(installed, installed, "-c", code, cwd=tmp_path).split()
        assert Path(place).is_relative_to(installed.parents[1]) and version == polylens.__version__
        said = run(installed, installed.parent / "polylens", "--version", cwd=tmp_path)
        assert said == f"polylens {polylens.__version__}\n"

    def test_it_embeds(self, installed: Path, tmp_path: Path) -> None:
        said = json.loads(run(installed, installed.parent / "polylens", "embed", "a harbour", cwd=tmp_path))
        assert said["model"] == "nano" and len(said["data"][0]["embedding"]) == 256

    def test_it_indexes_and_searches(self, installed: Path, folder: Path, tmp_path: Path) -> None:
        program = installed.parent / "polylens"
        run(installed, program, "index", folder, cwd=tmp_path)
        question = "goose cracked the great lens"
        found = json.loads(run(installed, program, "search", question, "--library", folder, "--json", cwd=tmp_path))
        assert found["results"][0]["file"] == "keepers-letter.jpg"

    def test_it_serves_its_interface_and_its_page(self, server: Running) -> None:
        [item] = server.embed("a harbour")["data"]
        assert len(item["embedding"]) == 256
        page = server.http.get("/")
        assert page.status_code == 200 and "text/html" in page.headers["content-type"]
        for name in ("app.js", "style.css"):
            assert name in page.text
