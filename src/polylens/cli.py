"""The command line: parses, calls, prints. Results go to stdout, everything else to stderr.

What a command needs is imported inside it, so that `polylens --help` answers at once.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from polylens.errors import InputError, PolylensError, exit_code

if TYPE_CHECKING:
    from rich.table import Table

    from polylens.index.search import Hit
    from polylens.library import Change, Library, Progress, Report
    from polylens.train.progress import Progress as TrainingProgress
    from polylens.types import Kind

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[str, typer.Option(help="A name of `polylens models`, or a folder in the official layout.")]
LibraryName = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="The indexed folder, or s3://BUCKET/PREFIX; by default the nearest folder upwards that has an index.",
    ),
]
Top = Annotated[int, typer.Option("--top", "-n", min=1, help="How many results.")]


class Format(StrEnum):
    """How `embed` prints vectors."""

    json = "json"
    jsonl = "jsonl"
    npy = "npy"


class Ranking(StrEnum):
    """What ranks the pages that `search` prints."""

    fused = "fused"
    late = "late"
    dense = "dense"
    text = "text"


class FetchMode(StrEnum):
    """Which URLs `serve` fetches."""

    public = "public"
    allow = "allow"
    off = "off"


def main() -> None:
    """Entry point of the console script: runs a command and turns errors into a line and an exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a Japanese page is printed in a Latin-1 locale too
    try:
        app()
    except PolylensError as error:
        print(f"polylens: {error}", file=sys.stderr)
        sys.exit(exit_code(error))
    except OSError as error:  # of the machine: no space left, no permission
        print(f"polylens: {error}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:  # typer has made 130 of Ctrl-C, and 1 of a reader that went away, as `head` does
        if end.code == 130:
            print("polylens: interrupted", file=sys.stderr)
        raise


def _print_version(wanted: bool) -> None:
    if wanted:
        from polylens import __version__

        print(f"polylens {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Universal embeddings one can run oneself: text, pictures and document pages in one vector space."""


@app.command()
def embed(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT", help="Texts. They are never opened as files.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A file with one text a line; - is stdin.")] = None,
    image: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="A picture: path, URL or data URI; may be repeated.")
    ] = None,
    model: Model = "nano",
    task: Annotated[
        str | None, typer.Option(help="retrieval, text-matching or code; by default what the model does by default.")
    ] = None,
    prompt_name: Annotated[str | None, typer.Option(help="query or passage, for texts; query if only a task.")] = None,
    dim: Annotated[int | None, typer.Option(help="Cut dense vectors to this many numbers (Matryoshka).")] = None,
    multivector: Annotated[
        bool, typer.Option("--multivector", help="One vector a token instead of one in all.")
    ] = False,
    format: Annotated[Format, typer.Option(help="npy is binary: send it to a file.")] = Format.json,
) -> None:
    """Print the vectors of texts and pictures.

    They come in this order: texts, lines of the file, pictures.
    """
    from polylens.types import Image

    inputs: list[Any] = [*(texts or []), *_lines(file), *map(Image, image or [])]
    if not inputs:
        raise InputError("nothing to embed: give texts, --file FILE or --image PATH")
    if multivector and dim is not None:
        raise InputError(
            "--dim cuts dense vectors; the vectors of --multivector have one width, so leave one of the two out"
        )
    if format is Format.npy and multivector and len(inputs) > 1:
        raise InputError(
            "npy holds one array, and multi-vectors of several inputs differ in length; use --format jsonl"
        )
    if format is Format.npy and sys.stdout.isatty():
        raise InputError("npy is binary and would garble the terminal; redirect it: polylens embed ... > vectors.npy")
    from polylens.runtime.embedder import load

    vectors = load(model).encode(
        inputs, task, prompt_name, truncate_dim=dim, return_multivector=multivector, show_progress=len(inputs) > 8
    )
    _print_vectors(vectors, format, model=model, task=task, multivector=multivector)


@app.command()
def index(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder to make searchable.")] = ".",
    at: Annotated[
        str | None,
        typer.Option(
            "--index", metavar="s3://BUCKET/PREFIX", help="Keep the index there, not in the folder, from now on."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="As for embed; by default the one the index was made with, or nano.")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make it anew, such as for another model; the old one answers meanwhile.")
    ] = False,
    pool: Annotated[
        int | None,
        typer.Option(min=1, help="Keep one vector in so many of each page; by default all, or as the index is."),
    ] = None,
) -> None:
    """Make a folder of PDFs, pictures and texts searchable, or bring its index up to date."""
    from polylens.library import Library

    report = _update(Library(folder, _load(model), index=at), rebuild, pool)
    print(_summary(report))
    for name, reason in report.failed:
        print(f"could not read {name}: {reason}", file=sys.stderr)


@app.command()
def watch(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[FOLDER]...", help="By default the current one.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="As for index; one for all folders.")] = None,
) -> None:
    """Keep folders searchable: what comes, changes, moves or goes in them follows within seconds, until interrupted."""
    import signal

    from polylens.index.store import Store, read_manifest
    from polylens.library import Library
    from polylens.watch import Follower

    paths = list({folder.expanduser().absolute(): None for folder in folders or [Path()]})
    indexed = [path for path in paths if Store.exists(Library(path).place)]
    embedder = _load(model) or Library((indexed or paths)[0]).embedder
    for path in indexed:
        read_manifest(Library(path).place, model_id=embedder.model_id)
    listener = _Watching(one=len(paths) == 1)
    follower = Follower([Library(path, embedder) for path in paths], listener)

    def end(number: int, _frame: object) -> None:
        follower.stop()
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, end)
    try:
        follower.run()
    finally:
        listener.close()
    print("stopped; what was finished is in the index", file=sys.stderr)


@app.command()
def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for; several words in quotes.")],
    library: LibraryName = None,
    top: Top = 5,
    by: Annotated[
        Ranking,
        typer.Option(
            help="One vector a page (dense), one a token (late), the words themselves (text), or all (fused)."
        ),
    ] = Ranking.fused,
    below: Annotated[
        str | None, typer.Option("--folder", metavar="NAME", help="Below this folder of the library only.")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Of this kind only: pdf, image, text, document, slides or sheet; may be repeated."),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="In this language only, by its ISO 639 code (de, zh); may be repeated."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Of files modified on this day or later: 2026-11-01.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="DATE", help="The same, on this day or before.")] = None,
    model: Annotated[str | None, typer.Option(help="As for index.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Find the pages that fit a query best."""
    from polylens.index.filters import Filters
    from polylens.library import Library, find_library

    folder = library if library is not None else find_library()
    if not query.strip():
        raise InputError("the query is empty; say what to look for")
    filters = Filters.of(below, cast("list[Kind] | None", kind), language, since, until)  # refused before a model loads
    searched = Library(folder, _load(model))
    hits = searched.search(query, top=top, by=by.value, **filters.given())
    if as_json:
        results = [
            {
                "file": hit.file,
                "page": hit.page,
                "score": hit.score,
                "dense_score": hit.dense_score,
                "text_score": hit.text_score,
                "fused_score": hit.fused_score,
                "text": hit.snippet,
                "kind": hit.kind,
                "language": hit.language,
                "modified": hit.modified.isoformat(timespec="seconds"),
            }
            for hit in hits
        ]
        print(json.dumps({"query": query, "results": results}, ensure_ascii=False))
    elif hits:
        _print_hits(hits, by)
    else:
        print(f"nothing found: {searched.why_nothing(by=by.value, **filters.given())}")


@app.command()
def export(
    out: Annotated[Path, typer.Option(metavar="FILE", help="A .parquet or a .jsonl file.")],
    library: LibraryName = None,
) -> None:
    """Write every page of an index with its text and its vectors to a file that other programs read."""
    from polylens.index.export import export as write
    from polylens.library import Library, find_library

    pages = write(Library(library if library is not None else find_library()).place, out)
    print(f"{pages} pages in {out}", file=sys.stderr)


@app.command()
def doctor(
    folder: Annotated[
        str | None,
        typer.Argument(
            metavar="[FOLDER]", help="Or s3://BUCKET/PREFIX; by default the nearest folder upwards that has an index."
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="As for index.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Take out what is damaged or left over, and compact.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Look an index over: damage, leftovers, what has changed, and whether its model tells things apart.

    A line a finding; the exit code is 1 where there is a problem, 0 where there are notes at most.
    """
    from polylens import doctor as surgery
    from polylens.library import Library, find_library

    library = Library(folder if folder is not None else find_library(), _load(model))
    diagnosis = surgery.examine(library)
    done = []
    if repair:
        done = surgery.repair(library, diagnosis)
        diagnosis = surgery.examine(library)
    if as_json:
        print(json.dumps(surgery.as_json(diagnosis, done), ensure_ascii=False))
    else:
        for line in done:
            print(f"repaired  {line}")
        for finding in diagnosis.findings:
            print(f"{finding.level:<8}  {finding.check}: {finding.message}")
        verdict = "well" if diagnosis.is_well else "not well; --repair may help" if not repair else "still not well"
        print(
            f"{diagnosis.folder}: {diagnosis.num_pages} pages of {diagnosis.num_files} files, "
            f"{diagnosis.model_id or 'no model'}: {verdict}"
        )
    if not diagnosis.is_well:
        raise typer.Exit(1)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The samples that came with the project.")] = Path(
        "samples"
    ),
) -> None:
    """Make the samples searchable and ask them a few questions in several languages."""
    from polylens.library import Library
    from polylens.runtime.embedder import load

    questions = folder / ".maker" / "queries.json"
    if not questions.exists():
        raise InputError(f"{folder} is not the samples folder of the project; run this where the project was cloned")
    print(f"Making {folder}/ searchable with nano, on this machine alone.", file=sys.stderr)
    library = Library(folder, load("nano"))
    print(_summary(_update(library, rebuild=False)))
    asked = json.loads(questions.read_text(encoding="utf-8"))
    right = by_sight = 0
    shown: set[str] = set()
    for question in asked:
        hits = library.search(question["query"], top=3)
        found = [hit for hit in hits if (hit.file, hit.page) == (question["file"], question["page"])]
        right += bool(found)
        by_sight += bool(found and not found[0].text)
        if question["language"] not in shown:
            shown.add(question["language"])
            print(f"\n{question['query']}  [{question['language']}]")
            _print_hits(hits, indent="  ")
    print(f"\nOf {len(asked)} such questions, {right} find the page they are about among their first three results.")
    print(f"{by_sight} of those {right} pages are mere pictures, without a text layer: found by sight alone.")
    print("\nAsk them something else:")
    print(f"  .venv/bin/polylens search --library {folder} 'what you are looking for'")
    print("\nSearch a folder of your own:")
    print("  .venv/bin/polylens index ~/Documents")
    print("  .venv/bin/polylens search --library ~/Documents 'what you are looking for'")
    print("\nLook at the pages, and see why each was found:")
    print(f"  .venv/bin/polylens open {folder}")


@app.command()
def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(help="A name of `polylens models` or a folder; may be repeated. By default nano."),
    ] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(metavar="PUBLISHED=NAME", help="Another name for a served model; may be repeated."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 is every one of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8000,
    library: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep a folder searchable, with a page to search it on; or search s3://BUCKET/PREFIX as it is.",
        ),
    ] = None,
    lazy: Annotated[bool, typer.Option("--lazy", help="Load a model when it is first asked for.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; by default a GPU if there is one.")] = None,
    dtype: Annotated[str | None, typer.Option(help="bfloat16, float32 or float16.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes a model, each with its own copy of it.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of each process on a CPU; by default the cores are shared out.")
    ] = None,
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens a forward pass; by default 512 on a CPU, 16384 on a GPU.")
    ] = None,
    max_wait: Annotated[
        float, typer.Option(min=0, help="Seconds of work that may wait; what would wait longer is refused.")
    ] = 60.0,
    keys: Annotated[
        Path | None, typer.Option(help="File of API keys, made with `polylens key`; without it anyone may ask.")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Most requests of one key.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="Most tokens of one key.")] = None,
    fetch: Annotated[
        FetchMode, typer.Option(help="URLs of images: public addresses, only hosts of --fetch-host, or none.")
    ] = FetchMode.public,
    fetch_host: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="host, host:port or *.host; may be repeated.")
    ] = None,
    cors_origin: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Pages that may call from a browser; may be repeated.")
    ] = None,
    cache_mb: Annotated[int, typer.Option(min=0, help="Memory for finished vectors, in MB; 0 keeps none.")] = 256,
) -> None:
    """Answer the HTTP interface of the published models, for Jina's and OpenAI's clients, until interrupted."""
    from polylens.server.fetching import FetchPolicy
    from polylens.server.run import run
    from polylens.server.settings import Limits, Settings

    limits = Limits(requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute)
    run(
        Settings(
            models=tuple(model or [_model_of(library)]),
            aliases=_aliases(alias or []),
            library=library,
            host=host,
            port=port,
            lazy=lazy,
            device=device,
            dtype=dtype,
            workers=workers,
            threads=threads,
            batch_tokens=batch_tokens,
            max_wait=max_wait,
            cache_bytes=cache_mb * 1024 * 1024,
            keys=keys,
            cors_origins=tuple(cors_origin or ()),
            fetch=FetchPolicy(
                mode=fetch.value, allowed_hosts=frozenset(fetch_host or ()), max_bytes=limits.image_bytes
            ),
            limits=limits,
        )
    )


@app.command(name="open")
def open_page(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder to search, or s3://BUCKET/PREFIX.")] = ".",
    model: Annotated[str | None, typer.Option(help="As for index.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 0,
) -> None:
    """Open the search page of a folder in the browser, and keep the folder searchable until interrupted."""
    import webbrowser

    from polylens.server.run import run
    from polylens.server.settings import Settings

    def show(address: str) -> None:
        print(f"{address}  (Ctrl-C ends it)", file=sys.stderr)
        webbrowser.open(address)

    run(Settings(models=(model or _model_of(folder),), library=folder, port=port), show=show)


@app.command()
def key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is; it stands in logs.")],
    keys: Annotated[Path, typer.Option(help="The file that `serve --keys` reads; made if it is not there.")],
) -> None:
    """Make an API key for the server and print it. Only its hash is kept, so it cannot be shown again."""
    from polylens.server.access import add_key

    print(add_key(keys, name))


@app.command()
def train(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", help="Name of a recipe; see --list.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; by default runs/RECIPE. A run that is there goes on.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop at the next checkpoint after this many minutes.")] = None,
    model: Annotated[
        str, typer.Option(help="Of finetune, jina-v4 and jina-clip-v2: what to start from, a name or a folder.")
    ] = "nano",
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="Of finetune, jina-v4 and jina-clip-v2: JSON lines of pairs; may be repeated."
        ),
    ] = None,
    task_data: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK=FILE", help="Of jina-v4: pairs for a task's own phase; may be repeated."),
    ] = None,
    captions: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Of jina-clip-v2: pairs of a short caption and an image; may be repeated."),
    ] = None,
    long_captions: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Of jina-clip-v2: pairs of a long caption and an image; may be repeated."),
    ] = None,
    triplets: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Of jina-clip-v2: pairs of texts with negatives; may be repeated."),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=1, help="Of jina-clip-v2: pixels a side in its last stage; by default the model's own."),
    ] = None,
    evaluation: Annotated[
        str | None, typer.Option("--eval", metavar="FILE", help="Of finetune and jina-clip-v2: pairs held out.")
    ] = None,
    task: Annotated[str, typer.Option(help="Of finetune: whose adapter learns.")] = "retrieval",
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of finetune and of jina-v4's first phase, by default 500; of jina-clip-v2's first stage, 60000.",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=2, help="Pairs a step: of finetune and jina-v4, by default 64; of jina-clip-v2, 32768, 8192 and 1024."
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            min=0, help="At its highest: of finetune and jina-v4, by default 2e-4; of jina-clip-v2, by the batch."
        ),
    ] = None,
    divergence: Annotated[
        float, typer.Option(min=0, help="Of finetune and jina-v4: weight of that term of the loss; 0 leaves it out.")
    ] = 1.0,
    list_recipes: Annotated[bool, typer.Option("--list", help="Name the recipes.")] = False,
) -> None:
    """Train a model after a recipe. Interrupted, it goes on from its last checkpoint when called again."""
    from polylens.train.clip_recipe import jina_clip_v2
    from polylens.train.clip_stages import image_size_of, run_clip_stages
    from polylens.train.finetune import finetune, run_finetune
    from polylens.train.phases import jina_v4, run_phases
    from polylens.train.recipes import RECIPES

    every = {**RECIPES, "finetune": finetune, "jina-v4": jina_v4, "jina-clip-v2": jina_clip_v2}
    if list_recipes:
        for name, make in every.items():
            print(f"{name}: {(make.__doc__ or '').strip().splitlines()[0]}")
        return
    if recipe not in every:
        raise InputError(f"recipe must be one of {', '.join(every)}, got {recipe!r}")
    if recipe in ("finetune", "jina-v4", "jina-clip-v2") and not data:
        raise InputError(f"{recipe} needs --data FILE: JSON lines, each with a query and a document")
    stages = {"--captions": captions, "--long-captions": long_captions, "--triplets": triplets}
    if recipe == "jina-clip-v2" and not all(stages.values()):
        lacking = ", ".join(option for option, files in stages.items() if not files)
        raise InputError(f"jina-clip-v2 needs {lacking} FILE besides --data: its three stages learn from all four")
    with _needing_the_train_extra("training"):
        from polylens.train import loop
    run: Callable[..., Path | None]
    given = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
    sizes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if recipe == "finetune":
        sizes["divergence"] = divergence
        run = partial(run_finetune, finetune(model, data or [], evaluation=evaluation, task=task, **sizes))
    elif recipe == "jina-v4":
        sizes["divergence"] = divergence
        run = partial(run_phases, jina_v4(model, data or [], _by_task(task_data or []), **sizes))
    elif recipe == "jina-clip-v2":
        files = [data or [], *(each or [] for each in stages.values())]
        sizes["image_size"] = image_size_of(model) if image_size is None else image_size
        run = partial(run_clip_stages, jina_clip_v2(model, *files, evaluation=evaluation, **sizes))
    else:
        run = partial(loop.train, RECIPES[recipe]())
    folder = out or Path("runs") / recipe
    with _training_bar() as report:
        finished = run(folder, report=report, max_seconds=None if minutes is None else minutes * 60)
    if finished is None:
        print(f"stopped at a checkpoint in {folder}; the same command goes on from there", file=sys.stderr)
    else:
        print(finished)


@app.command()
def mine(
    data: Annotated[Path, typer.Option(metavar="FILE", help="JSON lines of pairs, as for `train finetune`.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the pairs go, their negatives with them.")],
    model: Model = "nano",
    task: Annotated[str, typer.Option(help="Whose adapter ranks.")] = "retrieval",
    negatives: Annotated[int, typer.Option(min=1, help="Most a pair gets.")] = 7,
    below: Annotated[
        float, typer.Option(min=0, max=1, help="Largest share of the right document's score that one may reach.")
    ] = 0.95,
) -> None:
    """Find hard negatives for pairs: documents of others that the model ranks high."""
    from polylens.runtime.embedder import load
    from polylens.train.mining import mine
    from polylens.train.pairs import read_source, write_pairs

    source = read_source(data)
    with _counting_bar("mining") as report:
        mined = mine(source, load(model), task=task, negatives=negatives, below=below, report=report)
    write_pairs(out, mined)
    count = sum(len(pair.negatives) for pair in mined)
    print(
        f"{out}: {len(mined)} pairs, {count} negatives, {sum(not pair.negatives for pair in mined)} pairs without any"
    )


@app.command(name="eval")
def evaluate(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="Which benchmark: synthetic, languages or functions.")],
    model: Model = "nano",
    tasks: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Only these tasks, or languages, with commas between; by default all."),
    ] = None,
    pages: Annotated[int | None, typer.Option(min=1, help="Of synthetic: pages of each task; by default 60.")] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Of languages and functions: documents that compete; by default 1,000 a language, 500 functions.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides what is drawn.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here too.")
    ] = None,
) -> None:
    """Measure how well a model finds what is held out from training.

    synthetic: pages that are made here, by their pictures, nDCG@5. languages: translations of English sentences, in
    twenty languages, recall@5. functions: the functions that docstrings speak of, nDCG@10.
    """
    from rich.console import Console

    from polylens.evaluate.figures import write_json

    suites = ("synthetic", "languages", "functions")
    if suite not in suites:
        raise InputError(f"suite must be one of {', '.join(suites)}, got {suite!r}")
    alien, value = ("--candidates", candidates) if suite == "synthetic" else ("--pages", pages)
    if value is not None:
        raise InputError(f"{alien} is no option of {suite}")
    _require_place("--json", json_file)
    names = None if tasks is None else tuple(dict.fromkeys(filter(None, tasks.split(","))))
    measured = _evaluate_pages if suite == "synthetic" else partial(_evaluate_texts, suite)
    tables, figures = measured(model, names, pages or candidates, seed)
    console = Console(width=None if sys.stdout.isatty() else 180)
    for table in tables:
        console.print(table)
    if json_file is not None:
        write_json(figures, json_file)


def _evaluate_pages(
    model: str, names: tuple[str, ...] | None, pages: int | None, seed: int
) -> tuple[Iterable[Table], dict[str, Any]]:
    with _needing_the_train_extra("making pages"):
        from polylens.evaluate import report, synthetic

    from polylens.runtime.embedder import load

    chosen = synthetic.TASKS if names is None else names
    synthetic.check_tasks(chosen)
    embedder = load(model)
    with _counting_bar("pages") as report_pages:
        results = synthetic.run(embedder, chosen, pages or 60, seed, lambda told: report_pages(told.done, told.total))
    return report.tables(results), report.as_json(results, model=embedder.model_id, seed=seed)


def _evaluate_texts(
    name: str, model: str, names: tuple[str, ...] | None, candidates: int | None, seed: int
) -> tuple[Iterable[Table], dict[str, Any]]:
    from polylens.evaluate import text_report, texts
    from polylens.evaluate.suites import SUITES
    from polylens.runtime.embedder import load

    suite = SUITES[name]
    if names is not None:
        texts.check_tasks(suite, names)
    embedder = load(model)
    with _counting_bar("texts") as report_texts:
        results = texts.run(suite, embedder, names, candidates, seed, lambda told: report_texts(told.done, told.total))
    return [text_report.table(suite, results)], text_report.as_json(suite, results, model=embedder.model_id, seed=seed)


@app.command()
def reproduce(
    model: Model = "nano",
    dual: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="A model with two towers to compare with, as `train nano-clip` makes it."),
    ] = None,
    without_kl: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="A model trained like --model but with --divergence 0.")
    ] = None,
    pages: Annotated[int, typer.Option(min=2, help="Pages of each of seven tasks; as many crops as pages.")] = 30,
    seed: Annotated[int, typer.Option(help="Decides pages, crops and queries.")] = 1,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the report goes.")] = Path("report.html"),
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here too.")
    ] = None,
) -> None:
    """Compare small models as the papers do theirs: one HTML report, the published figures beside ours."""
    _require_place("--out", out)
    _require_place("--json", json_file)
    with _needing_the_train_extra("making pages"):
        from polylens.evaluate.reproduce import page, report, run
        from polylens.train.data.unseen import crops
    from rich.console import Console

    from polylens.evaluate.figures import write_json, write_text
    from polylens.runtime.embedder import load
    from polylens.train.recipes import EUROPEAN

    compared = run.Models(
        unified=load(model),
        dual=None if dual is None else load(dual),
        without_kl=None if without_kl is None else load(without_kl),
    )
    run.check(compared)
    unseen = crops(tuple(dict.fromkeys(EUROPEAN)), seed)
    with _counting_bar("pages and crops") as report_pictures:
        sections = run.reproduce(compared, unseen, pages, seed, report_pictures)
    made_with = run.made_with(compared, pages, seed)
    Console(width=None if sys.stdout.isatty() else 180).print(report.table(sections))
    write_text(page.html(sections, made_with), out)
    if json_file is not None:
        write_json(report.as_json(sections, made_with), json_file)
    print(out)


@app.command()
def models() -> None:
    """List the models that are known by name."""
    from rich.console import Console
    from rich.table import Table

    from polylens.checkpoints.catalog import CATALOG

    table = Table("model", "parameters", "dense sizes", "multi-vectors", "context", "takes", "languages", "licence")
    for entry in CATALOG:
        size = f"{entry.parameters / 1e9:.1f} B" if entry.parameters > 1e9 else f"{entry.parameters / 1e6:.1f} M"
        dims = ", ".join(map(str, entry.dims))
        late, takes = str(entry.multivector_dim or "-"), ", ".join(entry.modalities)
        table.add_row(entry.name, size, dims, late, f"{entry.context:,}", takes, entry.languages, entry.licence)
    Console(width=None if sys.stdout.isatty() else 180).print(table)


def _require_place(option: str, file: Path | None) -> None:
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise InputError(f"{option} must be a file in a folder that is there, got {file}")


@contextmanager
def _needing_the_train_extra(what: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as missing:
        raise InputError(
            f"{what} needs {missing.name}, which is not installed; it comes with pip install -e '.[train]'"
        ) from missing


def _model_of(library: str | None) -> str:
    """The model that a library's index was made with; nano where there is none."""
    from polylens.index.store import Store, read_manifest
    from polylens.library import DEFAULT_MODEL, Library

    if library is None or not Store.exists(place := Library(library).place):
        return DEFAULT_MODEL
    return read_manifest(place).model_name


def _by_task(pairs: list[str]) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for pair in pairs:
        task, equals, file = pair.partition("=")
        if not (task and equals and file):
            raise InputError(f"--task-data must be TASK=FILE, such as code=functions.jsonl, got {pair!r}")
        files.setdefault(task, []).append(file)
    return files


def _aliases(pairs: list[str]) -> dict[str, str]:
    aliases = {}
    for pair in pairs:
        published, equals, name = pair.partition("=")
        if not (published and equals and name):
            raise InputError(f"--alias must be PUBLISHED=NAME, such as jina-embeddings-v4=nano, got {pair!r}")
        aliases[published] = name
    return aliases


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as unreadable:
        raise InputError(f"--file must be a UTF-8 text file, one text a line: {unreadable}") from unreadable
    return [line for line in text.splitlines() if line.strip()]


def _load(model: str | None) -> Any:
    if model is None:
        return None
    from polylens.runtime.embedder import load

    return load(model)


def _update(library: Library, rebuild: bool, pool: int | None = None) -> Report:
    try:
        with _indexing_bar() as report:
            return library.update(report, rebuild=rebuild, pool=pool)
    except KeyboardInterrupt:
        where = "kept beside the index, which answers as before" if rebuild else "in the index"
        print(f"What was finished is {where}; the same command goes on from there.", file=sys.stderr)
        raise


class _Watching:
    """Says what `watch` does: a line a change on stdout, the rest on stderr; on a terminal a bar while it embeds.

    Args:
        one: Whether there is one folder only, which then need not be named.
    """

    def __init__(self, *, one: bool) -> None:
        self._one = one
        self._known: set[Library] = set()
        self._failed: dict[Library, set[tuple[str, str]]] = {}
        self._changes: list[Change] = []
        self._bar = ExitStack()
        self._report: Callable[[Progress], None] | None = None

    def progress(self, library: Library, progress: Progress) -> None:
        if progress.total_pages and self._report is None:
            self._report = self._bar.enter_context(_indexing_bar())
        if self._report is not None:
            self._report(progress)
        if library in self._known:
            self._changes += progress.changes
        if self._report is None:  # a bar and a line do not go together
            self._say_changes(library)

    def updated(self, library: Library, report: Report) -> None:
        self.close()
        self._say_changes(library)
        if library not in self._known:
            self._known.add(library)
            print(f"{self._name(library)}{_summary(report)}", file=sys.stderr)
            print(f"watching {library.folder} (Ctrl-C ends it)", file=sys.stderr)
        for file, reason in sorted(set(report.failed) - self._failed.get(library, set())):
            print(f"could not read {self._name(library)}{file}: {reason}", file=sys.stderr)
        self._failed[library] = set(report.failed)

    def problem(self, library: Library, error: Exception) -> None:
        self.close()
        self._say_changes(library)
        print(f"{library.folder}: {error}", file=sys.stderr)

    def close(self) -> None:
        """Take the bar away."""
        self._report = None
        self._bar.close()

    def _say_changes(self, library: Library) -> None:
        from polylens.watch import in_words

        for change in self._changes:
            print(f"{self._name(library)}{in_words(change)}", flush=True)
        self._changes = []

    def _name(self, library: Library) -> str:
        return "" if self._one else f"{library.folder.name}: "


def _print_vectors(vectors: Any, format: Format, *, model: str, task: str | None, multivector: bool) -> None:
    if format is Format.npy:
        import numpy as np

        np.save(sys.stdout.buffer, vectors[0] if multivector else vectors)
        return
    rows = [{"index": i, "embedding": vector.tolist()} for i, vector in enumerate(vectors)]
    if format is Format.json:
        print(json.dumps({"model": model, "task": task, "data": rows}))
        return
    for row in rows:
        print(json.dumps(row))


def _print_hits(hits: list[Hit], by: Ranking = Ranking.fused, indent: str = "") -> None:
    for rank, hit in enumerate(hits, start=1):
        print(f"{indent}{rank}. {hit.file}, page {hit.page}  ({_scores(hit, by)})")
        if hit.snippet:
            print(f"{indent}   {hit.snippet}")


def _scores(hit: Hit, by: Ranking) -> str:
    """Each stage's score, first the one that ranks; late interaction by the token, as 1 is the most then."""
    scores = {
        Ranking.fused: hit.fused_score,
        Ranking.late: hit.score / hit.query_tokens,
        Ranking.dense: hit.dense_score,
        Ranking.text: hit.text_score,
    }
    order = sorted(scores, key=lambda stage: stage is not by)
    return ", ".join(f"{stage} {scores[stage]:.2f}" for stage in order if scores[stage] is not None)


def _summary(report: Report) -> str:
    rate = f", {report.pages / report.seconds:.1f} pages/s" if report.pages and report.seconds else ""
    counts = {
        "indexed": report.indexed,
        "unchanged": report.unchanged,
        "moved": report.moved,
        "removed": report.removed,
        "passed over": report.skipped,
        "failed": len(report.failed),
    }
    files = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"files: {files or 'none'}; {report.pages} pages embedded in {report.seconds:.1f} s{rate}"


@contextmanager
def _indexing_bar() -> Iterator[Callable[[Progress], None] | None]:
    """One bar with an ETA on a terminal; silence where stderr is piped."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("pages"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("scanning", total=None)

        def report(progress: Progress) -> None:
            bar.update(
                task,
                description=progress.phase,
                completed=progress.done_pages,
                total=progress.total_pages or None,
            )

        yield report


@contextmanager
def _counting_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """One bar with an ETA on a terminal; silence where stderr is piped."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _training_bar() -> Iterator[Callable[[TrainingProgress], None]]:
    """One calm line on a terminal; silence where stderr is piped."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=None, loss=float("nan"))
        yield lambda progress: bar.update(task, completed=progress.step, total=progress.total, loss=progress.loss)


if __name__ == "__main__":
    main()
