"""One's own data as a task, and the synthetic benchmark as one: its nDCG is that of `polylens eval synthetic`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import mteb
import numpy as np
import pytest
from tests.support.commands import polylens as command
from tests.support.commands import run

import polylens
from polylens.cli import main
from polylens.errors import InputError
from polylens.integrations.mteb import encoder
from polylens.integrations.mteb.folders import folder_task, write_folder
from polylens.lab.benchmarks import synthetic
from polylens.lab.benchmarks.mteb_tasks import write_tasks

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package `datasets` keeps what it read from parquet."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


def test_texts_of_ones_own(tmp_path: Path) -> None:
    words = ["harbour", "invoice", "turbine"]
    write_folder(
        tmp_path / "mine",
        [(f"d{i}", f"about the {word}") for i, word in enumerate(words)],
        [(f"q{i}", word) for i, word in enumerate(words)],
        {f"q{i}": {f"d{i}": 1} for i in range(3)},
    )
    task = folder_task(tmp_path / "mine")
    [result] = mteb.evaluate(encoder(polylens.load("nano")), task, cache=None, show_progress_bar=False).task_results
    assert (task.metadata.name, task.metadata.category) == ("mine", "t2t")
    assert result.get_score() == 1.0


def test_the_synthetic_benchmark_has_the_same_ndcg(tmp_path: Path) -> None:
    nano = polylens.load("nano")
    [written] = write_tasks(tmp_path, ["chart"], pages=5, seed=5)
    [ours] = synthetic.run(nano, ["chart"], pages=5, seed=5)
    for by in ("dense", "multi-vector"):
        model = encoder(nano, multivector=by == "multi-vector")
        task = folder_task(written)
        [theirs] = mteb.evaluate(model, task, cache=None, show_progress_bar=False).task_results
        mean = float(np.mean(ours.scored[by].ndcg))
        assert theirs.get_score() == pytest.approx(mean, abs=6e-6), by  # mteb rounds to five places
        assert 0.05 < mean < 1, by  # so that equal means something


def test_the_commands(tmp_path: Path) -> None:
    done = command("eval", "synthetic", "--tasks", "chart", "--pages", "2", "--mteb", tmp_path / "tasks")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "tasks" / "synthetic-chart"
    assert done.stdout == f"{folder}\n"
    report = tmp_path / "report.json"
    asked = ("eval", "mteb", "--folder", folder, "--out", tmp_path / "results", "--json", report)
    ran = run(*asked, environment={**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "datasets")})
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"synthetic-chart" in ran.stdout
    told = json.loads(report.read_text())
    [file] = (tmp_path / "results").rglob("synthetic-chart.json")
    [scored] = json.loads(file.read_text())["scores"]["test"]
    [group] = told["groups"]
    assert group["tasks"][0]["ndcg_at_5"] == pytest.approx(100 * scored["ndcg_at_5"], abs=1e-3)
    assert (told["model"], file.parent.name) == ("polylens/nano", told["revision"])


def test_the_list() -> None:
    done = command("eval", "mteb", "--list")
    assert done.returncode == 0 and "jina-vdr           Jina-VDR: JinaVDR" in done.stdout


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process, which has imported mteb: that takes seconds."""
    for arguments, says in [
        ((), "there is nothing to run; pass --tasks NAME or --folder FOLDER"),
        (
            ("--folder", tmp_path),
            "must hold corpus.parquet, queries.parquet, qrels.parquet and README.md; missing: README",
        ),
        (("--tasks", "sts", "--by", "library", "--dim", "64"), "--by library compares none"),
        (("--tasks", "stss"), "got 'stss'"),
    ]:
        monkeypatch.setattr("sys.argv", ["polylens", "eval", "mteb", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert (ended.value.code, out) == (2, "") and says in err, err


def test_a_folder_without_its_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing: README.md, corpus.parquet"):
        folder_task(tmp_path)
