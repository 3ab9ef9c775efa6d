"""`polylens train` and `polylens mine`: training by recipe, and hard negatives for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from polylens.cli.app import Model, app, needing_the_train_extra
from polylens.cli.bars import counting_bar, training_bar
from polylens.errors import InputError

Out = Annotated[
    Path | None, typer.Option(help="Folder of the run (default: runs/RECIPE). An unfinished run there is resumed.")
]
Minutes = Annotated[float | None, typer.Option(help="Stop at the next checkpoint after this many minutes.")]
Pairs = Annotated[list[str], typer.Option(metavar="FILE", help="File of pairs, as JSON lines. May be repeated.")]
HeldOut = Annotated[str | None, typer.Option("--eval", metavar="FILE", help="File of held-out pairs to evaluate on.")]
Steps = Annotated[int, typer.Option(min=1, help="Number of training steps.")]
BatchSize = Annotated[int, typer.Option(min=2, help="Pairs per batch; they compete with each other.")]
Rate = Annotated[float, typer.Option(min=0, help="Peak learning rate.")]
PartTokens = Annotated[
    int, typer.Option(min=1, metavar="N", help="Tokens of a batch that are trained on at once; fewer need less memory.")
]
Checkpointing = Annotated[
    bool | None,
    typer.Option(
        "--gradient-checkpointing/--no-gradient-checkpointing",
        help="Compute each layer twice, which saves most of the memory (default: for a large model on a GPU).",
    ),
]
KLWeight = Annotated[float, typer.Option(min=0, help="Weight of the KL distillation term; 0 leaves it out.")]


def _list_recipes(wanted: bool) -> None:
    if wanted:
        from polylens.lab.nano.recipes import RECIPES
        from polylens.train.clip_recipe import jina_clip_v2
        from polylens.train.finetune import finetune
        from polylens.train.phases import jina_v4

        every = {**RECIPES, "finetune": finetune, "jina-v4": jina_v4, "jina-clip-v2": jina_clip_v2}
        for name, make in every.items():
            print(f"{name}: {(make.__doc__ or '').strip().splitlines()[0]}")
        raise typer.Exit


recipes = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(recipes, name="train")


@recipes.callback()
def options(
    listed: Annotated[
        bool, typer.Option("--list", is_eager=True, callback=_list_recipes, help="List the recipes.")
    ] = False,
) -> None:
    """Train a model by a recipe. An interrupted run resumes from its last checkpoint when called again."""


@recipes.command()
def nano(out: Out = None, minutes: Minutes = None) -> None:
    """Train the model that ships, from random weights, on synthetic pages and texts found on this machine."""
    _from_random_weights("nano", out, minutes)


@recipes.command()
def nano_meaning(out: Out = None, minutes: Minutes = None) -> None:
    """Train the next nano, which learns from a teacher what words mean. It has not been run to its end yet."""
    _from_random_weights("nano-meaning", out, minutes)


@recipes.command()
def nano_clip(out: Out = None, minutes: Minutes = None) -> None:
    """Train nano's counterpart with two towers, to compare."""
    _from_random_weights("nano-clip", out, minutes)


@recipes.command()
def finetune(
    data: Pairs,
    model: Model = "nano",
    evaluation: HeldOut = None,
    task: Annotated[str, typer.Option(help="Task whose adapter is trained.")] = "retrieval",
    steps: Steps = 500,
    batch_size: BatchSize = 64,
    learning_rate: Rate = 2e-4,
    kl_weight: KLWeight = 1.0,
    part_tokens: PartTokens = 8_192,
    gradient_checkpointing: Checkpointing = None,
    out: Out = None,
    minutes: Minutes = None,
) -> None:
    """Fine-tune one task's adapter of a checkpoint of jina-embeddings-v4's family on your own pairs."""
    from polylens.train.finetune import finetune, run_finetune

    recipe = finetune(
        model,
        data,
        evaluation=evaluation,
        task=task,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        kl_weight=kl_weight,
        part_tokens=part_tokens,
        gradient_checkpointing=gradient_checkpointing,
    )
    _run("finetune", partial(run_finetune, recipe), out, minutes)


@recipes.command()
def jina_v4(
    data: Pairs,
    model: Model = "nano",
    task_data: Annotated[
        list[str] | None, typer.Option(metavar="TASK=FILE", help="File of pairs for one task's phase. May be repeated.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of phase 1; phase 2 has half as many per task.")] = 500,
    batch_size: BatchSize = 64,
    learning_rate: Rate = 2e-4,
    kl_weight: KLWeight = 1.0,
    part_tokens: PartTokens = 8_192,
    gradient_checkpointing: Checkpointing = None,
    out: Out = None,
    minutes: Minutes = None,
) -> None:
    """Train in jina-embeddings-v4's two phases: one adapter on all pairs, then one per task from copies of it."""
    from polylens.train.phases import jina_v4, run_phases

    recipe = jina_v4(
        model,
        data,
        _by_task(task_data or []),
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        kl_weight=kl_weight,
        part_tokens=part_tokens,
        gradient_checkpointing=gradient_checkpointing,
    )
    _run("jina-v4", partial(run_phases, recipe), out, minutes)


@recipes.command()
def jina_clip_v2(
    model: Annotated[str, typer.Option(help="Checkpoint to start from: a name or a folder.")],
    data: Annotated[
        list[str], typer.Option(metavar="FILE", help="File of text pairs, as JSON lines. May be repeated.")
    ],
    captions: Annotated[
        list[str], typer.Option(metavar="FILE", help="File of short captions and their images. May be repeated.")
    ],
    long_captions: Annotated[
        list[str], typer.Option(metavar="FILE", help="File of long captions and their images. May be repeated.")
    ],
    triplets: Annotated[
        list[str], typer.Option(metavar="FILE", help="File of text pairs with hard negatives. May be repeated.")
    ],
    evaluation: HeldOut = None,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Pixels per side in the last stage (default: the model's own).")
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, help="Steps of stage 1; the others keep their published proportion to it.")
    ] = 60_000,
    batch_size: Annotated[
        int,
        typer.Option(
            min=2, help="Text pairs per step, and as many captions; stages 2 and 3 have at most 8,192 and 1,024."
        ),
    ] = 32_768,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Peak learning rate of stage 1 (default: by the batch size).")
    ] = None,
    part_tokens: PartTokens = 8_192,
    gradient_checkpointing: Checkpointing = None,
    out: Out = None,
    minutes: Minutes = None,
) -> None:
    """Train in jina-clip-v2's three stages: short captions, then long ones, then hard negatives."""
    from polylens.train.clip_recipe import jina_clip_v2
    from polylens.train.clip_stages import image_size_of, run_clip_stages

    recipe = jina_clip_v2(
        model,
        data,
        captions,
        long_captions,
        triplets,
        evaluation=evaluation,
        image_size=image_size_of(model) if image_size is None else image_size,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        part_tokens=part_tokens,
        gradient_checkpointing=gradient_checkpointing,
    )
    _run("jina-clip-v2", partial(run_clip_stages, recipe), out, minutes)


def _from_random_weights(name: str, out: Path | None, minutes: float | None) -> None:
    with needing_the_train_extra("training"):
        from polylens.lab.nano import loop
        from polylens.lab.nano.recipes import RECIPES

    _run(name, partial(loop.train, RECIPES[name]()), out, minutes)


def _run(name: str, run: Callable[..., Path | None], out: Path | None, minutes: float | None) -> None:
    from polylens.train.distributed import processes

    folder = out or Path("runs") / name
    with needing_the_train_extra("training"):
        leads = processes().is_main_process  # of several, one speaks for all
        with training_bar(shown=leads) as report:
            finished = run(folder, report=report, max_seconds=None if minutes is None else minutes * 60)
    if not leads:
        return
    if finished is None:
        print(f"stopped at a checkpoint in {folder}; run the same command to resume", file=sys.stderr)
    else:
        print(finished)


@app.command()
def mine(
    data: Annotated[Path, typer.Option(metavar="FILE", help="File of pairs, as for `train finetune`.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write the pairs with their negatives to.")],
    model: Model = "nano",
    task: Annotated[str, typer.Option(help="Task whose adapter ranks.")] = "retrieval",
    negatives: Annotated[int, typer.Option(min=1, help="Most negatives per pair.")] = 7,
    below: Annotated[
        float, typer.Option(min=0, max=1, help="Largest score of a negative, as a share of the right document's score.")
    ] = 0.95,
) -> None:
    """Find hard negatives: documents of other pairs that the model ranks high."""
    from polylens.runtime.embedder import load
    from polylens.train.mining import mine
    from polylens.train.pairs import read_pairs, write_pairs

    source = read_pairs(data)
    with counting_bar("mining") as report:
        mined = mine(source, load(model), task=task, negatives=negatives, below=below, report=report)
    write_pairs(out, mined)
    count = sum(len(pair.negatives) for pair in mined)
    print(
        f"{out}: {len(mined)} pairs, {count} negatives, {sum(not pair.negatives for pair in mined)} pairs without any"
    )


def _by_task(pairs: list[str]) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for pair in pairs:
        task, equals, file = pair.partition("=")
        if not (task and equals and file):
            raise InputError(f"--task-data must be TASK=FILE, such as code=functions.jsonl, got {pair!r}")
        files.setdefault(task, []).append(file)
    return files
