"""The effect of the KL distillation term of the joint loss: two adapters of nano that differ only in its weight.

    python benchmarks/kl_distillation.py [--out runs/kl-distillation] [--pages 120] [--steps 100] [--batch 8]

Generates pages of the training split, with a file of pairs per kind, so that the pages of a batch are alike; then runs
`polylens train finetune` twice, with the term and without. After an interruption it resumes from the last checkpoint.
Compare the adapters with the command that it prints at the end.
"""

from __future__ import annotations

import argparse
import random
import shutil
from pathlib import Path

import PIL.Image

from polylens.cli.bars import counting_bar, training_bar
from polylens.lab.synthetic.pages import page
from polylens.lab.synthetic.queries import KINDS, ask
from polylens.train.finetune import finetune, run_finetune
from polylens.train.pairs import Pair, write_pairs

PAGE_KINDS = ("table", "chart", "invoice", "slide", "code", "scan", "multilingual")  # as in `polylens eval synthetic`
SEED = 1
RATE = 1e-3  # five times that of `train finetune`, which has five times as many steps


def make_pairs(kind: str, count: int, folder: Path) -> Path:
    """A file of queries and pages of one kind, which is made unless it exists."""
    whole = folder / kind
    if not whole.exists():
        beside = folder / f"{kind}.partial"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        rng = random.Random(f"{kind}/{SEED}")
        pairs = []
        for number in range(count):
            made = page(kind, "train", SEED, number)
            query = None
            while query is None:
                query = ask(rng, made, rng.choice(KINDS), "train")
            PIL.Image.fromarray(made.image).save(beside / f"{number}.png")
            pairs.append(Pair(query=query.text, document=beside / f"{number}.png"))
        write_pairs(beside / "pairs.jsonl", pairs)
        beside.rename(whole)
    return whole / "pairs.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/kl-distillation"))
    parser.add_argument("--model", default="nano")
    parser.add_argument("--pages", type=int, default=120, help="pages per kind")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=8, help="pairs per batch")
    options = parser.parse_args()

    files = []
    with counting_bar("pages") as report:
        for number, kind in enumerate(PAGE_KINDS, start=1):
            files.append(str(make_pairs(kind, options.pages, options.out / "pairs")))
            report(number, len(PAGE_KINDS))
    made = {}
    for name, weight in (("with", 1.0), ("without", 0.0)):
        recipe = finetune(
            options.model,
            files,
            steps=options.steps,
            batch_size=options.batch,
            learning_rate=RATE,
            kl_weight=weight,
        )
        with training_bar(shown=True) as tell:
            made[name] = run_finetune(recipe, options.out / name, report=tell)
    print(f"polylens reproduce --model {made['with']} --without-kl {made['without']}")


if __name__ == "__main__":
    main()
