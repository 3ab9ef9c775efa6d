"""Commands that make folders searchable, keep them so, search them, and examine and export their indexes."""

from __future__ import annotations

import json
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from polylens.cli.app import Engine, Quantization, app
from polylens.cli.bars import counting_bar, indexing_bar
from polylens.cli.escaping import shown
from polylens.cli.marking import in_words, save_marked_pages
from polylens.cli.watching import Watching, summary, unread_in_short
from polylens.errors import InputError

if TYPE_CHECKING:
    from polylens.index.search import Hit
    from polylens.library.doctor import Diagnosis
    from polylens.library.library import Library
    from polylens.library.progress import Report
    from polylens.library.reranking import Found, Reranked, Reranking
    from polylens.library.watch import Follower
    from polylens.types import Kind

LibraryName = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="The indexed folder, or s3://BUCKET/PREFIX (default: the nearest folder upwards that has an index).",
    ),
]
Top = Annotated[int, typer.Option("--top", "-n", min=1, help="Number of results.")]
IndexModel = Annotated[
    str | None, typer.Option(help="The model, as for index (default: the one that the index was made with).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


RerankModel = Annotated[
    str | None,
    typer.Option(
        "--rerank",
        metavar="MODEL",
        help="Order the first pages anew with this reranker, which looks at each page together with the query.",
    ),
]
RerankPages = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="How many pages --rerank scores (default: 20).")
]
RerankSeconds = Annotated[
    float | None,
    typer.Option(
        metavar="S", min=0.01, help="Seconds after which --rerank scores no further page (default: no limit)."
    ),
]


SaveMarks = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Write the picture of each page found, with the places that fit marked."),
]


class Ranking(StrEnum):
    """What ranks the pages that `search` prints."""

    fused = "fused"
    late = "late"
    dense = "dense"
    text = "text"


@app.command()
def index(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder to make searchable.")] = ".",
    at: Annotated[
        str | None,
        typer.Option(
            "--index",
            metavar="s3://BUCKET/PREFIX",
            help="Keep the folder's index on object storage, from now on.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model, as for embed (default: the one that the index was made with, or nano)."),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Make the index anew, for instance for another model; the old one answers meanwhile."
        ),
    ] = False,
    pool: Annotated[
        int | None,
        typer.Option(min=1, help="Keep one of every N vectors per page (default: the index's setting, or all)."),
    ] = None,
    engine: Engine = None,
    quantization: Quantization = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Name every file and part that is not searchable, with the reason.")
    ] = False,
) -> None:
    """Make a folder of documents, pictures and texts searchable, or bring its index up to date."""
    from polylens.library.library import Library

    report = _update(Library(folder, _load(model, engine, quantization), index=at), rebuild, pool)
    print(summary(report))
    if unread := unread_in_short(report, named=verbose):
        print(unread)
    for name, reason in report.failed:
        print(shown(f"could not read {name}: {reason}"), file=sys.stderr)
    if verbose:
        for name, reason in sorted(report.passed_over):
            print(shown(f"passed over {name}: {reason}"), file=sys.stderr)
        for name, part, reason in report.partly:
            print(shown(f"read in part {name}, without {part}: {reason}"), file=sys.stderr)


@app.command()
def watch(
    folders: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FOLDER]...", help="The folders to watch (default: the current folder)."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model, as for index; the same for all folders.")] = None,
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
    embedder = _load(model) or Library((indexed or paths)[0]).embedder
    for path in indexed:
        read_manifest(Library(path).storage, model_id=embedder.model_id)
    listener = Watching(one=len(paths) == 1)
    follower = Follower([Library(path, embedder) for path in paths], listener)
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
def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for; quote several words.")],
    library: LibraryName = None,
    top: Top = 5,
    by: Annotated[
        Ranking,
        typer.Option(
            help="What ranks: one vector per page (dense), one per token (late), the words (text), or all (fused)."
        ),
    ] = Ranking.fused,
    below: Annotated[
        str | None, typer.Option("--folder", metavar="NAME", help="Only files below this folder of the library.")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Only pages of this kind: pdf, image, text, document, slides or sheet. May be repeated."),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="Only texts in this language: an ISO 639 code (de, zh). May be repeated."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only files modified on this day or later: 2026-11-01.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only files modified on this day or earlier.")
    ] = None,
    rerank: RerankModel = None,
    rerank_pages: RerankPages = None,
    rerank_seconds: RerankSeconds = None,
    save_marks: SaveMarks = None,
    model: IndexModel = None,
    as_json: AsJson = False,
) -> None:
    """Find the pages that best fit a query."""
    from polylens.index.ranking.filters import Filters
    from polylens.library.library import Library
    from polylens.library.location import find_library

    folder = library if library is not None else find_library()
    if not query.strip():
        raise InputError("the query is empty; say what to look for")
    filters = Filters.of(below, cast("list[Kind] | None", kind), language, since, until)  # refused before a model loads
    reranking = _reranking(rerank, rerank_pages, rerank_seconds)
    searched = Library(folder, _load(model))
    view = searched.view()
    hits = view.search(query, top, by=by.value, filters=filters, rerank=reranking)
    if save_marks is not None:
        save_marked_pages(searched, view, hits, save_marks)
    if hits.reranked is not None:
        print(_reranked(hits.reranked), file=sys.stderr)
    if as_json:
        _print_json(query, hits)
    elif hits:
        _print_hits(hits, by)
    else:
        print(shown(f"nothing found: {view.why_nothing(by=by.value, filters=filters)}"))


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

    library = Library(folder if folder is not None else find_library(), _load(model))
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

    questions = folder / ".maker" / "queries.json"
    if not questions.exists():
        raise InputError(f"{folder} is not the samples folder of the project; run this where the project was cloned")
    print(f"Making {folder}/ searchable with nano, on this machine alone.", file=sys.stderr)
    embedder = load("nano")
    library = Library(folder, embedder)
    is_old = Store.exists(library.storage) and read_manifest(library.storage).model_id != embedder.model_id
    print(summary(_update(library, rebuild=is_old)))
    _ask(library, json.loads(questions.read_text(encoding="utf-8")))
    print("\nAsk them something else:")
    print(f"  .venv/bin/polylens search --library {folder} 'what you are looking for'")
    print("\nSearch a folder of your own:")
    print("  .venv/bin/polylens index ~/Documents")
    print("  .venv/bin/polylens search --library ~/Documents 'what you are looking for'")
    print("\nLook at the pages, and see why each was found:")
    print(f"  .venv/bin/polylens open {folder}")


def _ask(library: Library, questions: list[dict[str, Any]]) -> None:
    """Search for each question, print the first one in each language, and count the pages that were found."""
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
            _print_hits(hits, indent="  ")
    print(
        f"\nOf {len(questions)} such questions, {right} find the page they are about among their first three results."
    )
    print(f"{by_sight} of those {right} pages are mere pictures, without a text layer: found by sight alone.")


def _load(model: str | None, engine: str | None = None, quantization: str | None = None) -> Any:
    if model is None:
        if engine is not None or quantization is not None:
            raise InputError("--engine and --quantization say how a model computes; name it with --model")
        return None
    from polylens.runtime.embedder import load

    return load(model, engine=engine, quantization=quantization)


def _update(library: Library, rebuild: bool, pool: int | None = None) -> Report:
    try:
        with indexing_bar() as report:
            return library.update(report, rebuild=rebuild, pool=pool)
    except KeyboardInterrupt:
        where = "kept beside the index, which answers as before" if rebuild else "in the index"
        print(f"What was finished is {where}; the same command continues from there.", file=sys.stderr)
        raise


def _reranking(model: str | None, pages: int | None, seconds: float | None) -> Reranking | None:
    if model is None:
        if pages is not None or seconds is not None:
            raise InputError("--rerank-pages and --rerank-seconds limit a reranker; name one with --rerank MODEL")
        return None
    from polylens.library.reranking import DEFAULT_PAGES, Reranking
    from polylens.runtime.reranker import load_reranker

    return Reranking(load_reranker(model), DEFAULT_PAGES if pages is None else pages, seconds)


def _reranked(done: Reranked) -> str:
    """What the rerank stage did, as a line."""
    return f"reranked {done.scored} of {done.pages} pages with {done.model_id} in {done.seconds:.1f} s"


def _print_json(query: str, hits: Found) -> None:
    from polylens.library.results import hit_dict, reranked_dict

    found: dict[str, Any] = {"query": query, "results": [hit_dict(hit) for hit in hits]}
    if hits.reranked is not None:
        found["reranked"] = reranked_dict(hits.reranked)
    print(json.dumps(found, ensure_ascii=False))


def _print_hits(hits: list[Hit], by: Ranking = Ranking.fused, indent: str = "") -> None:
    for rank, hit in enumerate(hits, start=1):
        print(f"{indent}{rank}. {shown(hit.file)}, page {hit.page}{in_words(hit.places)}  ({_scores(hit, by)})")
        if hit.snippet:
            print(f"{indent}   {shown(hit.snippet)}")


def _scores(hit: Hit, by: Ranking) -> str:
    """The reranker's score, if there is one, and that of each stage, the one that ranks first."""
    reranked = [] if hit.rerank_score is None else [f"rerank {hit.rerank_score:.2f}"]
    scores = {
        Ranking.fused: hit.fused_score,
        Ranking.late: hit.late_score,
        Ranking.dense: hit.dense_score,
        Ranking.text: hit.text_score,
    }
    order = sorted(scores, key=lambda stage: stage is not by)
    return ", ".join([*reranked, *(f"{stage} {scores[stage]:.2f}" for stage in order if scores[stage] is not None)])
