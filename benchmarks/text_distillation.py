"""A learning curve of the text side: how much meaning a causal decoder of some size learns from the teacher.

    python benchmarks/text_distillation.py --vocab 32768 --width 384 --layers 6 --steps 1600 --minutes 15

First the teacher embeds the lessons (some hundred texts per second and core), which later calls share; then the student
learns, and its recall@1 on `polylens eval meaning` is in the log of its run at every checkpoint. Both go on where they
stopped. Needs the training extra, and the sources of docs/guides/train-nano.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from polylens.lab.nano.distillation.plan import lessons, student
from polylens.lab.nano.distillation.run import run
from polylens.lab.nano.distillation.taught import teach
from polylens.lab.teacher.file import parse
from polylens.lab.teacher.teacher import load_teacher, locate
from polylens.train.progress import TrainingProgress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, default=32_768, help="tokens")
    parser.add_argument("--width", type=int, default=384, help="that of the teacher")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--steps", type=int, default=1600, help="of 448 texts; the rate falls to zero over them")
    parser.add_argument("--minutes", type=float, help="stop at the next checkpoint after them")
    parser.add_argument("--shards", type=int, default=96, help="lessons, 8,192 texts each")
    parser.add_argument("--languages", help="comma-separated codes (default: those of nano)")
    parser.add_argument("--out", type=Path, default=Path("runs/distillation"), help="folder of lessons and runs")
    asked = parser.parse_args()

    plan_of_lessons = lessons(asked.shards)
    if asked.languages is not None:
        plan_of_lessons = lessons(asked.shards, tuple(asked.languages.split(",")))
    folder = asked.out / "lessons"
    teach(plan_of_lessons, folder, load_teacher(), lambda done, of: print(f"{done} of {of} shards"))
    plan = student(asked.vocab, asked.width, asked.layers, asked.steps)

    def report(progress: TrainingProgress) -> None:
        if progress.step % 50 == 0:
            print(f"step {progress.step} of {progress.total}: loss {progress.loss:.3f}", flush=True)

    seconds = None if asked.minutes is None else 60 * asked.minutes
    home = asked.out / plan.name.replace(" ", "")
    run(plan, folder, home, parse(locate().read_bytes()), report=report, max_seconds=seconds)
    print((home / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])


if __name__ == "__main__":
    main()
