"""`import polylens` is cheap: each question is put to a fresh process."""

import subprocess
import sys

import pytest

import polylens

HEAVY = ("torch", "typer", "jaxtyping", "numpy", "PIL", "tokenizers", "huggingface_hub", "lancedb", "pypdfium2")
LIMIT = 0.15  # seconds, from the project's aims; it measures 0.01


def answer_of_a_fresh_process(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


def test_importing_pulls_in_nothing_heavy() -> None:
    code = f"import sys, polylens; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert answer_of_a_fresh_process(code) == "[]"


def test_importing_takes_milliseconds() -> None:
    code = "import time; start = time.perf_counter(); import polylens; print(time.perf_counter() - start)"
    best = min(float(answer_of_a_fresh_process(code)) for _ in range(5))
    assert best < LIMIT


def test_errors_and_plain_types_do_without_torch() -> None:
    code = "import sys, polylens; polylens.errors, polylens.Image, polylens.Embedding; print('torch' in sys.modules)"
    assert answer_of_a_fresh_process(code) == "False"


@pytest.mark.parametrize("name", polylens.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(polylens, name) is not None
    assert name in dir(polylens)


def test_an_unknown_name_lists_what_is_offered() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Embeder'; it offers Embedder"):
        polylens.Embeder  # noqa: B018
