"""One command that checks a GPU in six minutes: correctness, where the time goes, speed, memory, fine-tuning.

    python benchmarks/gpu_check.py                          # 7.9 GB of random weights in a temporary folder, removed
    python benchmarks/gpu_check.py --out figures            # writes figures/gpu_check.json and figures/gpu_check.md
    python benchmarks/gpu_check.py --only parity,invariance
    python benchmarks/gpu_check.py --device cpu --small     # tries the script itself, with tiny weights

Nothing is downloaded. Each section is a process of its own, so one that fails or hangs does not take the others along;
figures are written after each. A section begins if the seconds it needs are left, and is named as skipped otherwise.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from full_size import describe_machine
from gpu_sections import SECTIONS, Setting
from random_weights import MODELS, require_room, shrunk, write_checkpoint

SECONDS = 360  # of the whole check
NAME = "jina-embeddings-v4"
TAIL = 1_500  # characters of a failed section's messages that are kept


def run_section(name: str, folder: Path, setting: Setting, seconds: float) -> dict[str, Any]:
    """Runs a section in a process of its own.

    Returns:
        Its `status` (ok, failed, timed out), its `seconds`, and its `figures` or the `reason`.
    """
    command = [sys.executable, __file__, "--section", name, "--folder", str(folder), "--device", setting.device]
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [*command, *(["--small"] if setting.small else [])], capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return {"status": "timed out", "seconds": seconds, "reason": f"it was stopped after {seconds:.0f} s"}
    spent = {"seconds": time.perf_counter() - start}
    if done.returncode != 0:
        return {"status": "failed", **spent, "reason": done.stderr.strip()[-TAIL:]}
    return {"status": "ok", **spent, "figures": json.loads(done.stdout.splitlines()[-1])}


def check(out: Path, setting: Setting, only: Sequence[str], total: float) -> dict[str, Any]:
    """Runs the sections one after the other, and writes what is known after each.

    Args:
        out: Folder of the figures.
        setting: Where, and how much.
        only: Names of the sections.
        total: Seconds of the whole check.
    """
    begin = time.perf_counter()
    result: dict[str, Any] = {"machine": describe_machine(setting.device, "bfloat16"), "sections": {}}
    with tempfile.TemporaryDirectory(prefix="polylens-gpu-check-") as place:
        folder = Path(place) / "model"
        unwritten = None
        if any(SECTIONS[name].needs_weights for name in only):
            unwritten = write_weights(folder, setting)
            result["writing_seconds"] = time.perf_counter() - begin
        for name in only:
            left, section = total - (time.perf_counter() - begin), SECTIONS[name]
            if section.needs_weights and unwritten:
                found = {"status": "skipped", "reason": unwritten}
            elif left < section.seconds and not (setting.small and left > 0):
                found = {
                    "status": "skipped",
                    "reason": f"it needs {section.seconds} s, and {max(0, left):.0f} are left",
                }
            else:
                found = run_section(name, folder, setting, min(2 * section.seconds, left))
            result["sections"][name] = found
            write_figures(out, result)
            print(f"{name}: {found['status']}, {time.perf_counter() - begin:.0f} s so far", file=sys.stderr)
    result["seconds"] = time.perf_counter() - begin
    write_figures(out, result)
    return result


def write_weights(folder: Path, setting: Setting) -> str | None:
    """Writes random weights; returns why that is not possible, or None."""
    model = MODELS[NAME]
    files = shrunk(model.files()) if setting.small else model.files()
    if reason := require_room(folder, model, files):
        shutil.rmtree(folder)
        return reason
    write_checkpoint(folder, model, files)
    return None


def write_figures(out: Path, result: Mapping[str, Any]) -> None:
    """Writes the figures as JSON and as a Markdown table."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "gpu_check.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (out / "gpu_check.md").write_text(render(result), encoding="utf-8")


def render(result: Mapping[str, Any]) -> str:
    """The result as a Markdown table, a row per figure."""
    machine = result["machine"]
    where = machine["gpu"] or f"{machine['processor']}, {machine['threads']} threads"
    lines = [f"{where}; torch {machine['torch']}, Python {machine['python']}, polylens {machine['polylens']}", ""]
    lines += ["| section | figure | value |", "|---|---|---|"]
    for name, found in result["sections"].items():
        spent = f", {found['seconds']:.0f} s" if "seconds" in found else ""
        reason = found.get("reason", "").splitlines()
        last = f": {reason[-1]}".replace("|", "/") if reason else ""
        lines.append(f"| **{name}** | {found['status']}{spent}{last} | |")
        lines += [f"| | {figure} | {value} |" for figure, value in _rows(found.get("figures", {}))]
    return "\n".join(lines) + "\n"


def _rows(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in figures.items():
        label = f"{prefix}{name.replace('_', ' ')}"
        if name == "longest":  # the names of kernels are for the JSON
            continue
        if isinstance(value, dict):
            rows += _rows(value, f"{label}: ")
        elif name.endswith("bytes"):
            rows.append((label.removesuffix(" bytes"), f"{value / 1e9:.2f} GB"))
        elif prefix.endswith("shares: "):
            rows.append((label, f"{value:.1%}"))
        else:
            rows.append((label, f"{value:.7g}" if isinstance(value, float) else str(value)))
    return rows


# -- the command -----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny weights and few inputs, to try the script")
    parser.add_argument("--only", default=",".join(SECTIONS), metavar="NAMES", help="sections, separated by commas")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the figures (default: this one)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the whole check")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    setting = Setting(device=given.device, small=given.small)
    if setting.device == "cuda" and not torch.cuda.is_available():
        parser.error("this machine has no CUDA GPU; --device cpu --small tries the script without one")
    if given.section:
        print(json.dumps(SECTIONS[given.section].run(given.folder, setting)))
        return 0
    only = given.only.split(",")
    if unknown := [name for name in only if name not in SECTIONS]:
        parser.error(f"--only takes {', '.join(SECTIONS)}, got {unknown[0]!r}")
    result = check(given.out, setting, only, given.seconds)
    print(render(result))
    found = result["sections"].values()
    return 0 if all(each["status"] == "ok" and each["figures"].get("passed", True) for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
