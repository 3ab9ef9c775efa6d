"""The check of a GPU, on a processor and with tiny weights: every section runs, and none takes the others along."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tests.support.root import ROOT
from tests.support.waiting import PROGRAM_HANG

SCRIPT = ROOT / "benchmarks" / "gpu_check.py"
SECTIONS = ("parity", "invariance", "shares", "speed", "nano", "finetuning")
SMALL = ("--device", "cpu", "--small")


@pytest.fixture(scope="module")
def gpu_check() -> Iterator[ModuleType]:
    sys.path.insert(0, str(SCRIPT.parent))
    yield importlib.import_module("gpu_check")
    sys.path.remove(str(SCRIPT.parent))


@pytest.fixture(scope="module")
def folder(gpu_check: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "model"
    assert gpu_check.write_weights(folder, gpu_check.Setting(device="cpu", small=True)) is None
    return folder


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_has_its_figures(gpu_check: ModuleType, folder: Path, name: str) -> None:
    figures = gpu_check.SECTIONS[name].run(folder, gpu_check.Setting(device="cpu", small=True))
    figures = json.loads(json.dumps(figures))  # they are plain values
    if name == "parity":
        assert figures["passed"] and figures["float32"]["lowest_cosine"] > 0.999999  # the same processor, too
        assert figures["bfloat16"]["lowest_cosine"] > 0.98
        assert figures["bfloat16"]["largest_difference"] > 10 * figures["float32"]["largest_difference"]
    elif name == "invariance":
        assert figures["passed"] and figures["inputs"] == 7 and 0 <= figures["bit_identical"] <= 7
    elif name == "shares":
        for kind in ("texts", "pages"):
            shares = figures[kind]["shares"]
            assert list(shares) == ["attention", "products", "copies", "elementwise", "gaps"]
            assert all(shares[part] > 0 for part in ("attention", "products", "elementwise"))
            assert sum(shares.values()) > 0.999  # gaps are what the others leave
            assert figures[kind]["tokens_per_second"] > 0 and len(figures[kind]["longest"]) == 12
    elif name == "speed":
        assert 0 < figures["query_seconds_p50"] <= figures["query_seconds_p95"]
        assert figures["pages_per_second"] > 0 and figures["tokens_per_page"] == 765
    elif name == "nano":
        assert figures["pages"] == 1 and figures["pages_per_second"] > 0
    else:
        assert figures["tokens"] == 128 and figures["part_tokens"] == 64
        assert figures["checkpointed"]["gradient"] == figures["as_it_is"]["gradient"] > 0
    assert set(gpu_check.SECTIONS) == set(SECTIONS)


def test_the_command_writes_a_table_and_names_what_failed_or_did_not_fit(
    gpu_check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One section is asked for what it cannot do, one runs, and one has no time left."""
    setting = gpu_check.Setting(device="cpu", small=True)
    run = gpu_check.run_section
    places = {"parity": tmp_path / "nothing"}
    monkeypatch.setattr(
        gpu_check, "run_section", lambda name, folder, *rest: run(name, places.get(name, folder), *rest)
    )
    result = gpu_check.check(tmp_path / "out", setting, ["parity", "invariance"], PROGRAM_HANG)
    skipped = gpu_check.check(tmp_path / "skipped", setting, ["nano"], 0.0)["sections"]["nano"]
    assert skipped == {"status": "skipped", "reason": "it needs 35 s, and 0 are left"}
    assert [result["sections"][name]["status"] for name in ("parity", "invariance")] == ["failed", "ok"]
    assert "nothing" in result["sections"]["parity"]["reason"]
    assert json.loads((tmp_path / "out/gpu_check.json").read_text()) == result
    table = (tmp_path / "out/gpu_check.md").read_text()
    assert "| **parity** | failed, " in table and "| | lowest cosine | " in table


def test_it_refuses_a_section_that_does_not_exist() -> None:
    command = [sys.executable, str(SCRIPT), *SMALL, "--only", "parity,speeed"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_HANG)
    assert done.returncode == 2 and "--only takes parity, invariance," in done.stderr and "'speeed'" in done.stderr


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("void cutlass::device_kernel<flash::FlashAttnFwdSm90<...>>", "attention"),
        ("nvjet_tst_128x256_64x4_2x1_v_bz_coopA_TNN", "products"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32", "products"),
        ("Memcpy HtoD (Pageable -> Device)", "copies"),
        ("void at::native::vectorized_elementwise_kernel<4, ...>", "elementwise"),
        ("void at::native::reduce_kernel<512, 1, ...>", "elementwise"),
    ],
)
def test_kernels_are_told_apart_by_their_names(gpu_check: ModuleType, name: str, kind: str) -> None:
    assert importlib.import_module("gpu_profile").kind_of(name) == kind


def test_kernels_that_overlap_count_once(gpu_check: ModuleType) -> None:
    union = importlib.import_module("gpu_profile").union
    assert union([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.5, 1.75)]) == 4.0 and union([]) == 0.0
