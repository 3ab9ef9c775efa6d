"""Where a server keeps things: said in its log, and no reason not to start where it can keep nothing."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.support.root import ROOT
from tests.support.serving import serving

from polylens.caches import NO_HOME, cache_folder
from polylens.server.places import Place, places
from polylens.server.settings import Settings


def without_a_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


class TestPlaces:
    def test_each_says_whether_it_can_be_written(self, tmp_path: Path) -> None:
        place = Place(what="vectors", folder=tmp_path / "a/b", variable="V", without="none are kept")
        assert place.is_writable and str(place) == f"vectors: {tmp_path}/a/b"
        (tmp_path / "a").write_text("a file, not a folder")
        assert not place.is_writable
        assert str(place) == f"vectors: {tmp_path}/a/b, which cannot be written (V names another): none are kept"
        assert str(Place(what="vectors", folder=None, variable="V", without="none")).startswith("vectors: no folder (V")

    def test_their_variables_choose_them(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("POLYLENS_CACHE", str(tmp_path / "cache"))
        found = {place.variable: place.folder for place in places(Settings(classifiers=tmp_path / "classifiers"))}
        assert found["POLYLENS_CLASSIFIERS"] == tmp_path / "classifiers"
        assert found["POLYLENS_CACHE"] == tmp_path / "cache"
        assert found["TMPDIR"] == Path(tempfile.gettempdir()) and found["HF_HOME"] is not None

    def test_without_any_temporary_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def none() -> str:
            raise FileNotFoundError("No usable temporary directory found")

        monkeypatch.setattr(tempfile, "gettempdir", none)
        [place] = [place for place in places(Settings()) if place.variable == "TMPDIR"]
        assert place.folder is None and "cannot be rendered" in str(place)

    def test_a_user_without_a_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Path, "home", without_a_home)
        monkeypatch.setattr(Path, "expanduser", lambda self: without_a_home() if self.parts[0] == "~" else self)
        for name in ("POLYLENS_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        assert cache_folder() == NO_HOME / ".cache/polylens"
        kept = Settings(classifiers=Path("~/.local/share/polylens/classifiers")).classifiers
        assert kept == NO_HOME / ".local/share/polylens/classifiers"


def test_a_read_only_root_and_no_home(tmp_path: Path) -> None:
    """As a container runs it: a user without a home, no variables, and one folder for temporary files."""
    start = tmp_path / "start"
    start.write_text(
        "#!/bin/sh\n"
        "exec unshare --mount sh -c 'set -e\n"
        f"mount -t tmpfs -o mode=1777 tmpfs {tmp_path}/tmp\n"
        "mount -o remount,ro,bind /\n"
        f"cd {ROOT}\n"
        "exec unshare --user "  # without a map: nobody, whose home is /nonexistent
        f'env -i PATH="$PATH" TMPDIR={tmp_path}/tmp OMP_NUM_THREADS=1 PYTHONPATH={ROOT}/src PYTHONDONTWRITEBYTECODE=1 '
        f'{sys.executable} "$@"\' sh "$@"\n'
    )
    start.chmod(0o755)
    (tmp_path / "tmp").mkdir(mode=0o777)
    require_mounts_and_users(start)
    with serving(home=tmp_path, python=start) as server:
        assert len(server.embed("a harbour")["data"][0]["embedding"]) == 256
        lines = [json.loads(line) for line in server.log.read_text(encoding="utf-8").splitlines()]
        [kept] = [line["message"] for line in lines if line["message"].startswith("kept where: ")]
        assert f"trained classifiers: {NO_HOME}/.local/share/polylens/classifiers, which cannot be written" in kept
        assert f"what can be made again: {NO_HOME}/.cache/polylens, which cannot be written" in kept
        assert f"temporary files: {tmp_path}/tmp" in kept
        pdf = (ROOT / "samples/invoice-2024-0417.pdf").read_bytes()
        asked = server.post("/v1/embeddings", {"model": "nano", "input": [{"pdf": base64.b64encode(pdf).decode()}]})
        assert asked.status_code == 200, asked.text


def require_mounts_and_users(start: Path) -> None:
    """Skips the test where this user may not do what a container's runtime does."""
    if os.name != "posix" or not all(map(shutil.which, ("unshare", "mount"))):
        pytest.skip("needs unshare and mount")
    code = "import polylens, pathlib; pathlib.Path('/tmp/written').write_text('')"
    tried = subprocess.run([start, "-c", code], capture_output=True, text=True, check=False)
    if "Read-only file system" not in tried.stderr:
        pytest.skip(f"may not make the root read-only, or not run as another user, here: {tried.stderr[-300:]}")
