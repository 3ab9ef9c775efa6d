"""Many files embedded into one index by a Ray cluster.

The driver is an update like any other (`library.update`): it compares the source with the index by content hash, and
says what is committed when, each file whole, every 64 pages or 5 seconds. Between its plan and that Ray reads the files
on actors of their own, embeds the pages on others, and one more commits them (`saving`): no vector comes to the driver.
So a file counts once whatever dies: an actor's batch or commit is repeated by Ray, and what a driver had not committed
is found new by the next one.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polylens.errors import InputError, PolylensError, StorageUnavailableError
from polylens.integrations.ray.actors import Done, Embedding, Model, Reading, ToRead, packed, unpacked
from polylens.integrations.ray.saving import RowApart, RowsApart, outline, start_saving
from polylens.library.page_embedding import PageEmbedder
from polylens.library.progress import Report, UpdateProgress
from polylens.library.reading import File, Step

if TYPE_CHECKING:
    from polylens.index.table.mandate import Committed, Mandate
    from polylens.index.table.schema import FilePages
    from polylens.library.library import Library

BATCH_PAGES = 8  # pages that a model is handed at a time
BLOCK_BYTES = 16 * 2**20  # of pages that travel together; Ray's own 128 MB would hold back the first ones


@dataclass(slots=True)
class Work:
    """What the embedding actors did."""

    seconds: dict[int, float] = field(default_factory=dict)
    """Seconds that the model computed, by the process of the actor."""
    pages: dict[int, int] = field(default_factory=dict)
    """Pages that each embedded."""
    bytes_here: int = 0
    """Bytes of what this process was told of the pages."""
    bytes_apart: int = 0
    """Bytes of the rows of the pages, vectors and texts, which did not come here."""

    def note(self, done: Done) -> None:
        """Count a page."""
        self.seconds[done.actor] = self.seconds.get(done.actor, 0.0) + done.seconds
        self.pages[done.actor] = self.pages.get(done.actor, 0) + 1
        self.bytes_apart += done.row_bytes

    def share(self, wall: float) -> float:
        """The share of the time that the models computed.

        Args:
            wall: Seconds that the whole took.
        """
        return sum(self.seconds.values()) / max(1e-9, wall * max(1, len(self.seconds)))


class RayExecutor:
    """Reads, embeds and saves the files of an update on a Ray cluster; `Library.update(executor=...)` takes one.

    Args:
        model: What the embedding actors load, or a function that gives it.
        max_pixels: Largest area of a page, as the model has it.
        address: "local" for a cluster of this machine that lasts as long as the program, or that of a running one.
        embedders: Embedding actors; None has one per GPU, or one per two cores.
        readers: Most reading actors; None has as many as there are cores left.
        gpus: GPUs that each embedding actor has.
    """

    def __init__(
        self,
        model: Model | Callable[[], PageEmbedder],
        max_pixels: int,
        *,
        address: str = "local",
        embedders: int | None = None,
        readers: int | None = None,
        gpus: float | None = None,
    ) -> None:
        self.work = Work()
        self._model, self._max_pixels, self._address = model, max_pixels, address
        self._embedders, self._readers, self._gpus = embedders, readers, gpus
        self._saving: Any = None  # the handle of the actor that commits, while there are steps

    @contextlib.contextmanager
    def steps(
        self,
        files: Iterable[tuple[File, Path | str]],
        *,
        only: Callable[[File], frozenset[int]],
        mandate: Mandate,
        ocr: str,
    ) -> Iterator[Iterator[Step[File]]]:
        """The steps in any order; see `library.reading.Executor`."""
        connect(self._address)
        import ray

        known = list(files)
        jobs = [ToRead(at, str(place), tuple(sorted(only(file)))) for at, (file, place) in enumerate(known)]
        self._saving = start_saving(mandate, _credentials())
        try:
            yield self._steps([file for file, _ in known], self._dataset(jobs, mandate.manifest.pool, ocr))
            ray.get(self._saving.close.remote())  # or its presence would hold back the compacting that follows
        finally:
            ray.kill(self._saving)
            self._saving = None

    def rows(self, *, only_some: bool) -> RowsApart:
        """Keeps where the rows of one file lie; see `library.reading.Executor`."""
        return RowsApart(only_some=only_some)

    def commit(self, files: Sequence[FilePages], removed: Sequence[str]) -> Committed:
        """Commits files by an actor; see `library.reading.Executor`."""
        import ray

        with _told():
            done: Committed = ray.get(self._saving.commit.remote(files, removed))
        return done

    def _dataset(self, jobs: list[ToRead], pool: int, ocr: str) -> Any:
        import ray
        from ray.data import ActorPoolStrategy

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.target_max_block_size = BLOCK_BYTES
        context.max_errored_blocks = 0
        cores = int(ray.cluster_resources().get("CPU", 1))
        gpus = int(ray.cluster_resources().get("GPU", 0))
        embedders = self._embedders or (gpus or max(1, cores // 2))
        readers = self._readers or max(1, cores - embedders)
        per_actor = self._gpus if self._gpus is not None else (1.0 if gpus else 0.0)
        values = packed(list(jobs))["step"]
        dataset = ray.data.from_items([{"step": value} for value in values], override_num_blocks=max(1, len(jobs)))
        pages = dataset.map_batches(
            Reading,
            fn_constructor_args=(self._max_pixels, ocr),
            batch_size=1,
            batch_format="numpy",
            compute=ActorPoolStrategy(min_size=1, max_size=readers),
            num_cpus=0.5,  # a model that computes on the same cores has to find room beside them
            **({"runtime_env": {"env_vars": _credentials()}} if any("://" in job.place for job in jobs) else {}),
        )
        return pages.map_batches(
            Embedding,
            fn_constructor_args=(self._model, pool),
            batch_size=BATCH_PAGES,
            batch_format="numpy",
            compute=ActorPoolStrategy(size=embedders),
            num_cpus=0.5,
            num_gpus=per_actor or None,
        )

    def _steps(self, files: list[File], dataset: Any) -> Iterator[Step[File]]:
        with _told():
            yield from self._unpacked(files, dataset)

    def _unpacked(self, files: list[File], dataset: Any) -> Iterator[Step[File]]:
        seen: set[tuple[int, int]] = set()  # pages, in case a batch that Ray repeats was delivered already
        for block, done in self._outlines(dataset):
            if done.failure:
                raise StorageUnavailableError(done.failure)
            step: Step[int] = done.step
            row: RowApart | None = None
            if step.page is not None:
                if (step.file, step.page.number) in seen:
                    continue
                seen.add((step.file, step.page.number))
                self.work.note(done)
                row = RowApart(step.file, step.page.number, block) if done.row_bytes else None
            yield replace(step, file=files[step.file], row=row)  # type: ignore[arg-type, misc]

    def _outlines(self, dataset: Any) -> Iterator[tuple[Any, Done]]:
        """What was done of each page, with the reference to the block of its row, which stays where it is."""
        import ray

        outlined = ray.remote(num_cpus=0)(outline)
        for bundle in dataset.iter_internal_ref_bundles():
            for block in bundle.block_refs:
                steps: list[bytes] = ray.get(outlined.remote(block))
                self.work.bytes_here += sum(map(len, steps))
                yield from ((block, done) for done in unpacked({"step": steps}))


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """A block in which errors of Ray become errors of this package.

    Raises:
        PolylensError: What an actor that commits raised; or an actor failed.
    """
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, PolylensError) and isinstance(error, PolylensError):
            raise cause from error
        raise PolylensError(
            f"an actor of Ray failed ({str(cause).strip().splitlines()[-1]}); what was saved stays, and the same "
            "command goes on from there"
        ) from error


def _credentials() -> dict[str, str]:
    """This program's way into a bucket, for actors that are to read there; nodes with a way of their own need none."""
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def connect(address: str) -> None:
    """Connect to a Ray cluster, or start one of this machine; harmless when repeated.

    Args:
        address: "local", or that of a running cluster, such as "auto" or "ray://HOST:10001".

    Raises:
        InputError: Ray is not installed, or the cluster does not answer.
    """
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as missing:
        raise InputError(
            f"Ray needs {missing.name}, which is not installed; it comes with pip install 'polylens[ray]'"
        ) from missing
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        return
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"there is no Ray cluster at {address!r} ({error}); start one, or use --ray local") from error


def index(
    source: str | Path,
    index: str | None = None,
    *,
    model: str | None = None,
    engine: str | None = None,
    quantization: str | None = None,
    ray: str = "local",
    embedders: int | None = None,
    rebuild: bool = False,
    pool: int | None = None,
    ocr: str | None = None,
    progress: Callable[[UpdateProgress], None] | None = None,
) -> Report:
    """Bring an index up to date with a folder or a prefix of a bucket, by a Ray cluster.

    Args:
        source: A folder that every node sees under the same path, or `s3://BUCKET/PREFIX`.
        index: `s3://BUCKET/PREFIX`; None is the folder's own.
        model: As for `polylens.load`; None is the one that the index was made with, or nano.
        engine: As for `polylens.load`.
        quantization: As for `polylens.load`.
        ray: "local", or the address of a cluster.
        embedders: Embedding actors; None has one per GPU, or one per two cores.
        rebuild: As for `Library.update`, and so are the others.

    Raises:
        InputError: Ray is not installed or not there, or the source is in a bucket and `index` is not given.
        PolylensError: What `Library.update` raises.
    """
    from polylens.library.library import Library

    library = Library(source, Model(model, engine, quantization)() if model else None, index=index)
    executor = executor_for(library, model, address=ray, engine=engine, quantization=quantization, embedders=embedders)
    return library.update(progress, rebuild=rebuild, pool=pool, ocr=ocr, executor=executor)


def executor_for(
    library: Library,
    model: str | None,
    *,
    address: str,
    engine: str | None = None,
    quantization: str | None = None,
    embedders: int | None = None,
) -> RayExecutor:
    """An executor whose actors load the model of a library.

    Args:
        library: With the model that it is to be made with.
        model: The name or the folder that it was loaded by; every node has to find it there. None is the name that
            the index, or nano, has.
        address: As for `RayExecutor`, and so are the others.

    Raises:
        InputError: Ray is not installed, or the cluster does not answer.
    """
    from polylens.runtime.engines.choice import quantization_of

    connect(address)
    embedder = library.embedder
    name = model or embedder.model_id.rpartition("@")[0] or embedder.model_id
    if Path(name).exists():
        name = str(Path(name).absolute())  # actors run in other folders
    loaded = Model(name, engine, quantization or quantization_of(embedder.model_id))
    return RayExecutor(loaded, embedder.max_pixels, address=address, embedders=embedders)
