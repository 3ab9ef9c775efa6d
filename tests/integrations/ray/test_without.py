"""What is said where Ray is not installed, or not there."""

from __future__ import annotations

import sys

import pytest

from polylens.errors import InputError


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from polylens.integrations.ray import bulk

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"Ray needs ray, which is not installed.*pip install 'polylens\[ray\]'"):
        bulk.connect("local")


def test_names() -> None:
    import polylens.integrations.ray as module

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing
    assert module.Model("nano").name == "nano"
