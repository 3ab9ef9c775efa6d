"""What a process gives back: the heap's holes, and the compiled products that it never keeps."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from polylens.runtime import memory

STATUS = Path("/proc/self/status")


def resident() -> int:
    found = re.search(r"VmRSS:\s*(\d+) kB", STATUS.read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.skipif(memory._malloc_trim() is None or not STATUS.exists(), reason="needs glibc's malloc_trim on Linux")
def test_holes_in_the_heap_go_back_to_the_system() -> None:
    blocks = [bytearray(os.urandom(1) * 60_000) for _ in range(2_000)]  # 120 MB; each too small to be mapped by itself
    last = blocks.pop()  # the heap cannot shrink from its end
    before = resident()
    del blocks
    memory.trim_heap()
    assert before - resident() > 60_000_000
    assert len(last) == 60_000


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_malloc_trim", lambda: None)
    memory.trim_heap()


@pytest.mark.parametrize("name", memory.CACHES)
def test_the_environment_has_the_last_word_on_compiled_products(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name, raising=False)
    memory.bound_compiled_products()
    assert os.environ[name] == memory.CACHES[name]
    monkeypatch.setenv(name, "7")
    memory.bound_compiled_products()
    assert os.environ[name] == "7"
