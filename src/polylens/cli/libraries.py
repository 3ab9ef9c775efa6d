"""Commands that make folders searchable, keep them so, and examine and export their indexes."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polylens.cli.app import AsJson, Engine, IndexModel, LibraryName, app, load_if_named, model_of
from polylens.cli.bars import counting_bar, indexing_bar
from polylens.cli.escaping import shown
from polylens.cli.watching import Watching, summary, unread_in_short, wordless
from polylens.errors import InputError

if TYPE_CHECKING:
    from polylens.library.doctor import Diagnosis
    from polylens.library.library import Library
    from polylens.library.progress import Report
    from polylens.library.reading import Executor
    from polylens.library.watch import Follower

Ocr = Annotated[
    str | None,
    typer.Option(
        metavar="auto|off|LANGS",
        help="Read the words of pages that are pictures only: with what is installed (auto), not at all (off), or only "
        "in these languages: ISO 639 codes, such as de,ru (default: the index's setting, or auto).",
    ),
]


Folder = Annotated[
    str, typer.Argument(metavar="FOLDER", help="The folder to make searchable.", envvar="POLYLENS_LIBRARY")
]
At = Annotated[
    str | None,
    typer.Option(
        "--index",
        envvar="POLYLENS_INDEX",
        metavar="s3://BUCKET/PREFIX",
        help="Keep the folder's index on object storage, from now on.",
    ),
]
NewModel = Annotated[
    str | None,
    typer.Option(
        envvar="POLYLENS_MODEL",
        help="The model, as for embed (default: the one that the index was made with, or nano).",
    ),
]
Rebuild = Annotated[
    bool,
    typer.Option(
        "--rebuild",
        envvar="POLYLENS_REBUILD",
        help="Make the index anew, for instance for another model; the old one answers meanwhile.",
    ),
]
Pool = Annotated[
    int | None,
    typer.Option(
        min=1,
        envvar="POLYLENS_POOL",
        help="Keep one of every N vectors per page (default: the index's setting, or all).",
    ),
]
IndexQuantization = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        envvar="POLYLENS_QUANTIZATION",
        help="int8 computes in 8-bit integers, int4 holds a decoder's weights in 4 bits; by the engine openvino "
        "(default: the index's, or none).",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="local|ADDRESS",
        envvar="POLYLENS_RAY",
        help="Read and embed the files on a Ray cluster: one of this machine (local), or one that runs. FOLDER may "
        "then be s3://BUCKET/PREFIX.",
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        envvar="POLYLENS_VERBOSE",
        help="Name every file and part that is not searchable, with the reason.",
    ),
]


@app.command()
def index(
    folder: Folder = ".",
    at: At = None,
    model: NewModel = None,
    rebuild: Rebuild = False,
    pool: Pool = None,
    ocr: Ocr = None,
    engine: Engine = None,
    quantization: IndexQuantization = None,
    ray: Ray = None,
    verbose: Verbose = False,
) -> None:
    """Make a folder of documents, pictures and texts searchable, or bring its index up to date.

    Every option can also be set by an environment variable: docs/reference/settings.md lists them.
    """
    from polylens.library.library import Library

    if model is None and (engine or quantization):
        model = model_of(at or folder)  # they say how a model computes, and that is this one
    library = Library(folder, load_if_named(model, engine, quantization), index=at)
    report = _update(library, rebuild, pool, ocr, _executor(library, ray, model, engine, quantization))
    print(summary(report))
    if report.wordless:
        print(wordless(report))
    if unread := unread_in_short(report, named=verbose):
        print(unread)
    for name, reason in report.failed:
        print(shown(f"could not read {name}: {reason}"), file=sys.stderr)
    if verbose:
        for name, reason in sorted(report.passed_over):
            print(shown(f"passed over {name}: {reason}"), file=sys.stderr)
        for name, part, reason in report.partly:
            print(shown(f"read in part {name}, without {part}: {reason}"), file=sys.stderr)


def _executor(
    library: Library, ray: str | None, model: str | None, engine: str | None, quantization: str | None
) -> Executor | None:
    """The Ray cluster that a command names; None where it names none."""
    if ray is None:
        return None
    from polylens.integrations.ray.bulk import executor_for

    return executor_for(library, model, address=ray, engine=engine, quantization=quantization)


@app.command()
def watch(
    folders: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FOLDER]...", help="The folders to watch (default: the current folder)."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model, as for index; the same for all folders.")] = None,
    ocr: Ocr = None,
) -> None:
    """Keep folders searchable: their changes are indexed within seconds, until interrupted."""
    from polylens.index.storage.opening import is_remote
    from polylens.index.table.manifest import read_manifest
    from polylens.index.table.store import Store
    from polylens.library.library import Library
    from polylens.library.watch import Follower

    if remote := next(filter(is_remote, folders or []), None):
        raise InputError(
            f"watch follows the files of a folder, and {remote} is an index without them; watch its folder instead. To "
            "keep a folder's index on object storage: polylens index FOLDER --index s3://BUCKET/PREFIX, once"
        )
    paths = list({Path(folder).expanduser().absolute(): None for folder in folders or ["."]})
    indexed = [path for path in paths if Store.exists(Library(path).storage)]
    embedder = load_if_named(model) or Library((indexed or paths)[0]).embedder
    for path in indexed:
        read_manifest(Library(path).storage, model_id=embedder.model_id)
    listener = Watching(one=len(paths) == 1)
    follower = Follower([Library(path, embedder) for path in paths], listener, ocr=ocr)
    _stop_on_signals(follower)
    try:
        follower.run()
    finally:
        listener.close()
    print("stopped; what was finished is in the index", file=sys.stderr)


def _stop_on_signals(follower: Follower) -> None:
    """End the follower in good order on the first SIGINT or SIGTERM, and at once on the second."""

    def end(number: int, _frame: object) -> None:
        follower.stop()
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, end)


@app.command()
def export(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write: .parquet or .jsonl.")],
    library: LibraryName = None,
) -> None:
    """Write every page of an index, with its text and its vectors, to a file that other programs read."""
    from polylens.index.export import export as write
    from polylens.library.library import Library
    from polylens.library.location import find_library

    pages = write(Library(library if library is not None else find_library()).storage, out)
    print(f"{pages} pages in {out}", file=sys.stderr)


@app.command()
def doctor(
    folder: Annotated[
        str | None,
        typer.Argument(
            metavar="[FOLDER]",
            help="The indexed folder, or s3://BUCKET/PREFIX (default: the nearest folder upwards that has an index).",
        ),
    ] = None,
    model: IndexModel = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove what is damaged or left over, and compact the index.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Examine an index: damage, leftovers, changed files, and whether its model tells things apart.

    Prints one line per finding. The exit code is 1 if there is a problem, and 0 if there are only notes.
    """
    from polylens.library import doctor as surgery
    from polylens.library.library import Library
    from polylens.library.location import find_library

    library = Library(folder if folder is not None else find_library(), load_if_named(model))
    with counting_bar("pages") as report:
        diagnosis = surgery.examine(library, report=report)
    done = []
    if repair:
        done = surgery.repair(library, diagnosis)
        with counting_bar("pages") as report:
            diagnosis = surgery.examine(library, report=report)
    if as_json:
        print(json.dumps(surgery.as_json(diagnosis, done), ensure_ascii=False))
    else:
        _print_diagnosis(diagnosis, done, repair)
    if not diagnosis.is_well:
        raise typer.Exit(1)


def _print_diagnosis(diagnosis: Diagnosis, repaired: list[str], is_repaired: bool) -> None:
    for line in repaired:
        print(shown(f"repaired  {line}"))
    for finding in diagnosis.findings:
        print(shown(f"{finding.level:<8}  {finding.check}: {finding.message}"))
    verdict = "well" if diagnosis.is_well else "not well; --repair may help" if not is_repaired else "still not well"
    print(
        f"{shown(diagnosis.folder)}: {diagnosis.num_pages} pages of {diagnosis.num_files} files, "
        f"{diagnosis.model_id or 'no model'}: {verdict}"
    )


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The samples folder that comes with the project.")
    ] = Path("samples"),
) -> None:
    """Make the samples searchable and search them in several languages."""
    from polylens.index.table.manifest import read_manifest
    from polylens.index.table.store import Store
    from polylens.library.library import Library
    from polylens.runtime.embedder import load

    questions, absurd = (folder / ".maker" / name for name in ("queries.json", "absurd.json"))
    if not questions.exists() or not absurd.exists():
        raise InputError(f"{folder} is not the samples folder of the project; run this where the project was cloned")
    print(f"Making {folder}/ searchable with nano, on this machine alone.", file=sys.stderr)
    embedder = load("nano")
    library = Library(folder, embedder)
    is_old = Store.exists(library.storage) and read_manifest(library.storage).model_id != embedder.model_id
    print(summary(_update(library, rebuild=is_old, ocr="off")))  # to show what is found by sight alone
    _ask(library, json.loads(questions.read_text(encoding="utf-8")))
    _ask_in_vain(library, json.loads(absurd.read_text(encoding="utf-8")))
    print("\nAsk them something else:")
    print(f"  .venv/bin/polylens search --library {folder} 'what you are looking for'")
    print("\nSearch a folder of your own:")
    print("  .venv/bin/polylens index ~/Documents")
    print("  .venv/bin/polylens search --library ~/Documents 'what you are looking for'")
    print("\nLook at the pages, and see why each was found:")
    print(f"  .venv/bin/polylens open {folder}")


def _ask(library: Library, questions: list[dict[str, Any]]) -> None:
    """Search for each question, print the first one in each language, and count the pages that were found."""
    from polylens.cli.searching import print_hits

    right = by_sight = 0
    shown: set[str] = set()
    for question in questions:
        hits = library.search(question["query"], top=3)
        found = [hit for hit in hits if (hit.file, hit.page) == (question["file"], question["page"])]
        right += bool(found)
        by_sight += bool(found and not found[0].text)
        if question["language"] not in shown:
            shown.add(question["language"])
            print(f"\n{question['query']}  [{question['language']}]")
            print_hits(hits, indent="  ")
    print(
        f"\nOf {len(questions)} such questions, {right} find the page they are about among their first three results."
    )
    print(f"{by_sight} of those {right} pages are mere pictures, without a text layer: found by sight alone.")


def _ask_in_vain(library: Library, questions: list[dict[str, Any]]) -> None:
    """Search for what is not there, and count how often that is noticed."""
    empty = sum(not library.search(question["query"], min_score=0.5) for question in questions)
    print(f"Of {len(questions)} questions that no page answers, {empty} find nothing that fits well (--min-score 0.5).")


def _update(
    library: Library,
    rebuild: bool,
    pool: int | None = None,
    ocr: str | None = None,
    executor: Executor | None = None,
) -> Report:
    try:
        with indexing_bar() as report:
            return library.update(report, rebuild=rebuild, pool=pool, ocr=ocr, executor=executor)
    except KeyboardInterrupt:
        where = "kept beside the index, which answers as before" if rebuild else "in the index"
        print(f"What was finished is {where}; the same command continues from there.", file=sys.stderr)
        raise
