"""The documentation's site: every page has its place, and every link leads somewhere."""

from __future__ import annotations

import doctest
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.support.root import ROOT


@pytest.fixture(scope="module")
def site() -> ModuleType:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'polylens[docs]'")
    spec = importlib.util.spec_from_file_location("polylens_site", ROOT / "docs/.site/site.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_navigation_has_every_page(site: ModuleType) -> None:
    nav = site.navigation((ROOT / "docs/README.md").read_text(encoding="utf-8"))
    named = [path for section in nav for pages in section.values() if isinstance(pages, list) for page in pages
             for path in page.values()]  # fmt: skip
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert {path for path in named if not path.startswith("project/")} == there - {"README.md"}
    assert len(named) == len(set(named))
    assert doctest.testmod(site).failed == 0
    for section in ("Guides", "Deployment", "Concepts", "Reference", "Decisions"):
        assert any(section in each for each in nav)


def test_it_is_built_without_a_warning(site: ModuleType, tmp_path: Path) -> None:
    """Strictly: a link or an anchor that leads nowhere and a page without a place are errors."""
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed: pip install 'polylens[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    reference = (tmp_path / "site/reference/python/index.html").read_text(encoding="utf-8")
    assert "encode_text" in reference and "return_multivector" in reference
    assert (tmp_path / "site/project/CONTRIBUTING/index.html").is_file()
    home = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    assert "https://fonts." not in home and "https://unpkg" not in home
