"""A learning curve of the text side: how much meaning a causal decoder of some size learns from the teacher.

    python benchmarks/text_distillation.py --vocab 44032 --layers 6 --steps 1600 --minutes 15

The teacher answers the texts of each step, and the recall@1 of the student on `polylens eval meaning` is in the log of
its run at every checkpoint. A run that was stopped goes on where it was. Needs the training extra, and the sources of
docs/guides/train-nano.md.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from polylens.lab.nano.loop import train
from polylens.lab.nano.nano_meaning_recipe import LESSONS, WIDTH, nano_meaning, sized
from polylens.train.progress import TrainingProgress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, default=44_032, help="tokens")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--steps", type=int, default=1600, help="the rate falls along a cosine over them")
    parser.add_argument("--rate", type=float, default=4e-3, help="learning rate at the beginning")
    parser.add_argument("--minutes", type=float, help="stop at the next checkpoint after them")
    parser.add_argument("--texts", type=int, default=320, help="texts per step, beside half as many aligned pairs")
    parser.add_argument("--out", type=Path, default=Path("runs/distillation"), help="folder of the runs")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    recipe = nano_meaning()
    assert recipe.distillation is not None
    recipe = replace(
        recipe,
        model=sized(asked.vocab, WIDTH, asked.layers),
        stages=(replace(LESSONS, steps=asked.steps, learning_rate=asked.rate),),
        distillation=replace(recipe.distillation, texts_a_step=asked.texts, pairs_a_step=asked.texts // 2),
    )

    def report(progress: TrainingProgress) -> None:
        if progress.step % 50 == 0:
            print(f"step {progress.step} of {progress.total}: loss {progress.loss:.3f}", flush=True)

    home = asked.out / f"{asked.vocab}x{WIDTH}x{asked.layers}-{asked.steps}-{asked.rate}"
    seconds = None if asked.minutes is None else 60 * asked.minutes
    train(recipe, home, report=report, max_seconds=seconds)
    print((home / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])


if __name__ == "__main__":
    main()
