"""`import polylens` is cheap: each question is put to a fresh process."""

import subprocess
import sys

import pytest
from tests.support.waiting import HANG

import polylens

HEAVY = ("torch", "typer", "jaxtyping", "numpy", "PIL", "tokenizers", "huggingface_hub", "lancedb", "pypdfium2")
OURS = {"polylens"}  # what `import polylens` loads of the package: itself, and nothing that its names stand for


def answer_of_a_fresh_process(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True, timeout=HANG
    ).stdout.strip()


def test_importing_pulls_in_nothing_heavy() -> None:
    code = f"import sys, polylens; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert answer_of_a_fresh_process(code) == "[]"


def test_importing_loads_nothing_but_the_standard_library() -> None:
    """Counted, not timed: a clock would measure what else the machine does."""
    code = (
        "import sys; before = set(sys.modules); import polylens; new = set(sys.modules) - before\n"
        "new = {name for name in new if name.partition('.')[0] not in sys.stdlib_module_names}\n"
        "print(' '.join(sorted(new)))"
    )
    assert set(answer_of_a_fresh_process(code).split()) == OURS


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
