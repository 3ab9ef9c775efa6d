"""One process that holds a model, and the parent's handle on it.

A process rather than a thread: whatever an input does to it, it can be killed and started again, while the server in
front of it keeps responding.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from polylens.errors import WorkerError
from polylens.models.pixels import PixelScale
from polylens.models.protocol import Grid, Item, Modality
from polylens.runtime.memory import bound_compiled_products, trim_heap
from polylens.runtime.priority import yield_to_others
from polylens.types import Embedding

if TYPE_CHECKING:
    import PIL.Image

    from polylens.models.description import Header, Output
    from polylens.runtime.engines.choice import EngineName
    from polylens.runtime.engines.protocol import Engine

START_SECONDS = 900.0  # to load the largest checkpoint from a slow disk
WARM_UP_LENGTHS = (4, 128, 128)  # tokens of the texts that run before the first request; the last one is timed
WARM_UP_PIXELS = 448  # per side of the image that is timed

Answer = list[Embedding] | float
"""The model's answer to one item: the embeddings of an input, one or one per chunk, or the score of a pair."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Speeds:
    """Seconds per token. A token of an image costs several times one of a text, because of the vision tower."""

    text: float = 0.0
    image: float = 0.0

    def seconds(self, text_tokens: int, image_tokens: int) -> float:
        """The seconds that a number of tokens of texts and of images take.

        Example:
            >>> Speeds(text=0.5, image=2.0).seconds(4, 3)
            8.0
        """
        return text_tokens * self.text + image_tokens * self.image


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerConfig:
    """The parameters by which a worker loads its model."""

    folder: Path
    modalities: tuple[Modality, ...]
    device: str | None
    dtype: str | None
    threads: int | None
    engine: EngineName = "torch"
    quantization: str | None = None
    texts_apart: bool = False
    """Whether texts may be computed beside a batch of images, in a thread before which that one gives way."""


class Died(Exception):
    """The process ended, or had to be killed, before it returned a result.

    Args:
        message: A sentence that says what happened.
        hung: Whether the process was killed because it took far too long.
    """

    def __init__(self, message: str, *, hung: bool = False) -> None:
        super().__init__(message)
        self.hung = hung


class Worker:
    """Starts a process and talks to it; every method blocks, so call it from a thread of its own.

    Args:
        config: The model that the process loads, and how.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self._process: Any = None
        self._pipe: Any = None
        self._text_pipe: Any = None

    def start(self) -> Speeds:
        """Starts the process and waits until its model is loaded and warm.

        Returns:
            Seconds per token, measured during warm-up.

        Raises:
            Died: The process could not start; the message says why.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._text_pipe, their_texts = context.Pipe()
        self._process = context.Process(
            target=serve, args=(theirs, their_texts, self.config), daemon=True, name="polylens-worker"
        )
        self._process.start()
        theirs.close()
        their_texts.close()
        kind, value = self._receive(self._pipe, START_SECONDS)
        if kind != "ready":
            self.stop()
            raise Died(f"the model could not be loaded: {value}")
        speeds: Speeds = value
        return speeds

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.is_alive()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def run(
        self, items: Sequence[Item], outputs: Sequence[Output], timeout: float, *, apart: bool = False
    ) -> list[Answer]:
        """Runs a batch.

        Args:
            items: The batch: inputs, pairs, or both.
            outputs: What is wanted of each item: "dense" leaves the multi-vector empty, "multi" is both vectors,
                "score" is the score of a pair.
            timeout: The seconds after which the process counts as hung.
            apart: Whether the batch is to be computed beside the one that another thread waits for; the configuration
                must have `texts_apart`.

        Returns:
            One answer per item, in order.

        Raises:
            WorkerError: The model failed; the process continues.
            Died: The process ended or hung; start it again.
        """
        pipe = self._text_pipe if apart else self._pipe
        try:
            pipe.send([(packed(item), output) for item, output in zip(items, outputs, strict=True)])
        except OSError as gone:
            raise Died("the model's process has ended") from gone
        kind, value = self._receive(pipe, timeout)
        if kind == "failed":
            raise WorkerError(str(value))
        return [answer if isinstance(answer, float) else [Embedding(*parts) for parts in answer] for answer in value]

    def stop(self) -> None:
        """Kills the process, whatever it is doing; a call that waits for it raises `Died`."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join()
            self._pipe.close()
            self._text_pipe.close()

    def _receive(self, pipe: Any, timeout: float) -> tuple[str, Any]:
        process = self._process
        if process is None:
            raise Died("the model's process was killed")
        try:
            has_come = multiprocessing.connection.wait([pipe, process.sentinel], timeout)
        except (OSError, ValueError) as gone:  # stopped from another thread meanwhile
            raise Died("the model's process was killed") from gone
        if not has_come:
            self.stop()
            raise Died(f"the model gave no result within {timeout:.0f} s, its process was killed", hung=True)
        try:
            answer: tuple[str, Any] = pipe.recv()
        except (EOFError, OSError) as gone:
            process.join()
            self.stop()
            raise Died(f"the model's process ended with exit code {process.exitcode}") from gone
        return answer


REST_SECONDS = 1.0
"""Seconds without a batch after which a process gives back the memory that it does not use."""

Packed = tuple[
    npt.NDArray[np.int64],
    tuple[int, int],
    str | None,
    npt.NDArray[np.uint8] | None,
    PixelScale | None,
    tuple[Grid, ...],
    tuple[int, ...],
    tuple[tuple[int, int], ...],
    npt.NDArray[np.bool_] | None,
]

Request = tuple[Packed, "Output"]
"""An item as the process gets it, and what is wanted of the model."""

Run = Callable[[list[Request]], list[Any]]
"""Computes a batch."""


def packed(item: Item) -> Packed:
    """An item as plain arrays: torch would send its tensors through shared memory, one file per tensor."""
    patches = None if item.patches is None else item.patches.numpy()
    images = patches, item.pixel_scale, item.grids, item.image_starts
    return item.token_ids, item.pool, item.task, *images, item.chunks, item.kept


def unpacked(parts: Packed) -> Item:
    """The item that `packed` turned into plain arrays."""
    import torch

    token_ids, pool, task, patches, pixel_scale, grids, image_starts, chunks, kept = parts
    return Item(
        token_ids=token_ids,
        pool=pool,
        task=task,
        patches=None if patches is None else torch.from_numpy(patches),
        pixel_scale=pixel_scale,
        grids=grids,
        image_starts=image_starts,
        chunks=chunks,
        kept=kept,
    )


def serve(pipe: Any, text_pipe: Any, config: WorkerConfig) -> None:
    """The main function of the process: loads the model, then computes batches until the pipes close.

    With `texts_apart` a second thread computes what comes through `text_pipe`, and a third one, of lower priority, the
    batches with images; all have the same weights.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop, and closes the pipe
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    bound_compiled_products()
    try:
        run, speeds = _load(config)
    except BaseException as error:  # noqa: BLE001  whatever it was, the parent must be told
        pipe.send(("failed", f"{type(error).__name__}: {error}"))
        return
    if config.texts_apart:
        threading.Thread(target=_compute, args=(text_pipe, run), daemon=True).start()
        run = _giving_way(run)
    pipe.send(("ready", speeds))
    _compute(pipe, run)


def _giving_way(run: Run) -> Run:
    """Computes batches with images in a thread that gives way to others. A thread cannot raise its priority again."""
    threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="polylens-images", initializer=yield_to_others)

    def run_either(batch: list[Request]) -> list[Any]:
        has_images = any(unpacked(parts).patches is not None for parts, _ in batch)
        return threads.submit(run, batch).result() if has_images else run(batch)

    return run_either


def _compute(pipe: Any, run: Run) -> None:
    """Answers the batches of one pipe; ends the process when it closes."""
    while True:
        try:
            if not pipe.poll(REST_SECONDS):
                trim_heap()
            batch = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)
        try:
            answer: tuple[str, Any] = ("done", run(batch))
        except Exception as error:  # noqa: BLE001  the model failed on this batch; the next one may be fine
            answer = ("failed", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        pipe.send(answer)


def _load(config: WorkerConfig) -> tuple[Run, Speeds]:
    import torch

    from polylens.checkpoints.loading import load_model, load_scorer, read_header
    from polylens.runtime.devices import choose_device, choose_dtype
    from polylens.runtime.engines.choice import make_engine
    from polylens.runtime.engines.torch import TorchEngine

    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = choose_device(config.device)
    header = read_header(config.folder, modalities=config.modalities)
    dtype = choose_dtype(config.dtype, device, float16_overflows=header.family.overflows_in_float16)
    engine: Engine
    if header.family.embeds:
        model = load_model(header, device=device, dtype=dtype)
        engine = make_engine(config.engine, model, header, quantization=config.quantization)
        engine.prepare(_one_of_each(header))
    else:
        engine = TorchEngine(load_scorer(header, device=device, dtype=dtype))
    run = partial(_answers, engine)
    return run, _warm_up(run, header)


def _answers(engine: Engine, batch: list[Request]) -> list[Any]:
    """The answers to a batch, in order: a score is a float, an embedding the arguments of `Embedding`."""
    items = [unpacked(parts) for parts, _ in batch]
    answers: list[Any] = [None] * len(batch)
    pairs = [index for index, (_, output) in enumerate(batch) if output == "score"]
    if pairs:
        for index, score in zip(pairs, engine.score([items[index] for index in pairs]), strict=True):
            answers[index] = float(score)
    inputs = [index for index, (_, output) in enumerate(batch) if output != "score"]
    empty = np.zeros((0, 0), dtype=np.float32)
    if inputs:
        for index, chunks in zip(inputs, engine.run([items[index] for index in inputs]), strict=True):
            shown = batch[index][1] == "multi"
            answers[index] = [(each.dense, each.multivector if shown else empty, each.norm) for each in chunks]
    return answers


def _one_of_each(header: Header) -> list[Item]:
    """Returns a short text for each adapter, and an image: what an engine must have made before requests come."""
    import PIL.Image

    processor = header.processor
    items = []
    if "text" in header.modalities:
        default, prompt = processor.role(None, None)
        roles = [processor.role(task, side) for task in processor.tasks for side in ("query", "passage")]
        adapters = dict.fromkeys([default, *(adapter for adapter, _ in roles)])
        items = [processor.text("warm", task=adapter, prompt_name=prompt, max_length=None) for adapter in adapters]
    if "image" in header.modalities:
        image = PIL.Image.new("RGB", (WARM_UP_PIXELS, WARM_UP_PIXELS), "white")
        items.append(processor.image(image, task=None, max_pixels=None))
    return items


def _warm_up(run: Run, header: Header) -> Speeds:
    """Runs a few texts and images, and times the last of each, when caches are warm."""
    texts, images = _warm_up_inputs(header) if header.family.embeds else _warm_up_pairs(header)
    output: Output = "dense" if header.family.embeds else "score"
    return Speeds(text=_last_seconds_per_token(run, texts, output), image=_last_seconds_per_token(run, images, output))


def _warm_up_inputs(header: Header) -> tuple[list[Item], list[Item]]:
    """Texts and images, each kind as far as the model takes it."""
    processor = header.processor
    adapter, prompt = processor.role(None, None)
    texts, images = [], []
    if "text" in header.modalities:
        texts = [
            processor.text("warm " * length, task=adapter, prompt_name=prompt, max_length=length)
            for length in WARM_UP_LENGTHS
        ]
    if "image" in header.modalities:
        images = [processor.image(_white(), task=adapter, max_pixels=None)] * 2
    return texts, images


def _warm_up_pairs(header: Header) -> tuple[list[Item], list[Item]]:
    """Pairs of two texts, and pairs of a text and an image as far as the model takes images."""
    processor = header.pairs
    query = processor.query("warm", max_length=None, max_pixels=None)
    texts = [
        processor.pair(query, processor.document("warm " * length, max_length=length, max_pixels=None), max_length=None)
        for length in WARM_UP_LENGTHS
    ]
    if "image" not in header.modalities:
        return texts, []
    image = processor.document(_white(), max_length=None, max_pixels=None)
    return texts, [processor.pair(query, image, max_length=None)] * 2


def _white() -> PIL.Image.Image:
    import PIL.Image

    return PIL.Image.new("RGB", (WARM_UP_PIXELS, WARM_UP_PIXELS), "white")


def _last_seconds_per_token(run: Run, items: Sequence[Item], output: Output) -> float:
    seconds = 0.0
    for item in items:
        started = time.perf_counter()
        run([(packed(item), output)])
        seconds = (time.perf_counter() - started) / item.num_tokens
    return seconds
