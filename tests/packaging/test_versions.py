"""One version, everywhere where one is written."""

from __future__ import annotations

import re
import tomllib

from tests.support.root import ROOT

import polylens


def test_the_newest_version_of_the_changelog_is_the_packages() -> None:
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert versions[0] in (polylens.__version__, "Unreleased")
    assert next(version for version in versions if version != "Unreleased") == polylens.__version__


def test_the_package_reads_it_from_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in project["project"]["dynamic"] and "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "polylens.__version__"


def test_what_is_deployed_is_this_version() -> None:
    compose = (ROOT / "deploy/compose.yaml").read_text(encoding="utf-8")
    assert re.findall(r"image: polylens:(\S+)", compose) == [polylens.__version__]
    gpu = (ROOT / "deploy/compose.gpu.yaml").read_text(encoding="utf-8")
    assert re.findall(r"image: polylens:(\S+)", gpu) == [f"{polylens.__version__}-cuda"]
    chart = (ROOT / "deploy/helm/polylens/Chart.yaml").read_text(encoding="utf-8")
    assert re.search(rf'^appVersion: "{re.escape(polylens.__version__)}"$', chart, flags=re.MULTILINE)
