"""`polylens.load` and what it returns: texts and images in, vectors out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch

from polylens.checkpoints.fetch import resolve
from polylens.checkpoints.loading import load_model, read_header
from polylens.errors import InputError
from polylens.models.description import Header
from polylens.models.protocol import Modality, Model
from polylens.nn.pooling import truncate
from polylens.nn.similarity import ragged_maxsim
from polylens.runtime.batching import TOKEN_BUDGET, batches
from polylens.runtime.forward import Input, forward, prepare, require_unicode
from polylens.types import Embedding, FloatArray, Image, ImageSource

WINDOW_ITEMS = 256  # inputs whose pixels are held at once, so that a thousand photographs do not fill the memory

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    name: str | Path = "nano",
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    modalities: Sequence[Modality] | None = None,
) -> Embedder:
    """Loads a model.

    Args:
        name: A name of the catalog ("nano", "jinaai/jina-embeddings-v4", "jinaai/jina-clip-v2"), or a folder in the
            official layout.
        device: Where it runs; None takes a GPU where there is one.
        dtype: "bfloat16", "float32" or "float16"; None takes bfloat16 where the processor computes in it, else float32.
        revision: Of the hub's repository, instead of the catalog's.
        local_files_only: Never ask the hub.
        modalities: ("text",) or ("image",) loads only that tower of a model with two, jina-clip-v2; None loads both.

    Raises:
        ModelNotFoundError: Neither the catalog nor the disk knows the name.
        HubUnavailableError: The weights are not here and cannot be fetched.
        CheckpointError: They are here and do not fit.
        InputError: The device or the type does not exist, or the model has no such modality.

    Example:
        >>> import polylens
        >>> polylens.load("nano").encode_text(["a harbour", "ein Hafen"]).shape  # doctest: +SKIP
        (2, 256)
    """
    folder = resolve(name, revision=revision, local_files_only=local_files_only)
    target = choose_device(device)
    header = read_header(folder, modalities=modalities)  # before the weights: what is cheap to refuse comes first
    model = load_model(header, device=target, dtype=choose_dtype(dtype, target))
    return Embedder(header, model, model_stem(name))


def model_stem(name: str | Path) -> str:
    """What a model is called: a folder by its last part."""
    return Path(name).resolve().name if Path(name).is_dir() else str(name)


def choose_device(device: str | torch.device | None) -> torch.device:
    """A GPU where there is one, unless told otherwise.

    Raises:
        InputError: The device does not exist here.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError, TypeError) as unusable:
        reason = str(unusable).splitlines()[0].partition(". ")[0]
        raise InputError(f"device {device!r} cannot be used here: {reason}") from unusable
    return target


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes in it, else float32, unless told otherwise.

    Raises:
        InputError: There is no such type for weights.
    """
    if dtype is None:
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
        return torch.bfloat16 if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() else torch.float32
    if isinstance(dtype, torch.dtype):
        dtype = str(dtype).removeprefix("torch.")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    return DTYPES[dtype]


class Embedder:
    """A loaded model.

    Args:
        header: What the folder's small files said.
        model: What its weights became.
        name: What to call it.

    Attributes:
        family: What the model says about itself; see `polylens.models.description`.
        model_id: Name and fingerprint of the weights; vectors of different ids cannot be compared.
        dim: Width of the dense vectors.
        tasks: Names of the tasks.
        matryoshka_dims: What `truncate_dim` may be.
        multivector_dim: Width of each vector of a multi-vector; None where there is no late interaction.
        modalities: "text", "image" or both.
        max_pixels: Largest area to which an image is resized, unless a call says otherwise.
    """

    def __init__(self, header: Header, model: Model, name: str) -> None:
        self.model = model
        self.family = header.family
        self.processor = header.processor
        self.model_id = f"{name}@{header.fingerprint}"
        self.dim = header.dim
        self.tasks = header.processor.tasks
        self.matryoshka_dims = header.matryoshka_dims
        self.multivector_dim = header.multivector_dim
        self.modalities = header.modalities
        self.max_pixels = header.processor.max_pixels

    def encode_text(
        self,
        texts: str | Sequence[str],
        task: str | Sequence[str] | None = None,
        prompt_name: str | None = None,
        *,
        truncate_dim: int | None = None,
        max_length: int | None = None,
        return_multivector: bool = False,
        batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Any:
        """Vectors of texts. A text is always a text: one that looks like a path or a URL is never opened.

        Args:
            texts: One or several.
            task: "retrieval", "text-matching" or "code", or the names of the HTTP API ("retrieval.query", ...), which
                bring their prompt along; one for all or one for each. None is the model's default: retrieval for
                jina-embeddings-v4; no instruction and, for jina-embeddings-v3, no adapter for the others.
            prompt_name: "query" or "passage", a query if nothing is said; text-matching always takes the query's.
            truncate_dim: One of `matryoshka_dims`; cuts dense vectors and brings them back to unit length.
            max_length: Tokens, the prompt's included; what is longer is cut on the right. None is the model's limit,
                for jina-clip-v2 512 as published.
            return_multivector: One vector a token instead of one in all; a model without late interaction refuses.
            batch_size: Most inputs a forward pass; None goes by tokens.
            show_progress: A progress bar on stderr where that is a terminal.

        Returns:
            Float32 `[N, dim]` with unit rows; with `return_multivector` a list of float32 `[tokens, 128]` with unit
            rows. A single text gives a single vector `[dim]`, or a single `[tokens, 128]`.

        Raises:
            InputError: An argument cannot be used; the message says what would do.
        """
        single = isinstance(texts, str)
        items: list[str] = _listed(texts, single, "texts must be one str or a list of them")
        for index, text in enumerate(items):
            if not isinstance(text, str):
                raise InputError(f"text {index} must be a str, got {type(text).__name__}; images go to encode_image")
        return self._encode(
            items,
            single,
            task,
            prompt_name,
            truncate_dim,
            max_length,
            None,
            return_multivector,
            batch_size,
            show_progress,
        )

    def encode_image(
        self,
        images: ImageSource | Image | Sequence[ImageSource | Image],
        task: str | Sequence[str] | None = None,
        *,
        truncate_dim: int | None = None,
        max_pixels: int | None = None,
        return_multivector: bool = False,
        batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Any:
        """Vectors of images.

        Args:
            images: One or several of: a path, a `PIL.Image`, bytes, a `data:` URI, bare base64, an http(s) URL.
            task: As for `encode_text`; a prompt in its name has no effect on an image.
            truncate_dim: As for `encode_text`.
            max_pixels: Largest area after resizing; None is the checkpoint's own limit. More shows finer print and
                costs more tokens: one for each `patch_size * merge_size` squared.
            return_multivector: As for `encode_text`.
            batch_size: As for `encode_text`.
            show_progress: As for `encode_text`.

        Returns:
            As for `encode_text`.

        Raises:
            ImageError: An image cannot be read; `error.index` says which.
            InputError: Another argument cannot be used.
        """
        single = isinstance(images, (str, Path, bytes, Image, PIL.Image.Image))
        sources = _listed(images, single, "images must be one image or a list of them")
        items = [source if isinstance(source, Image) else Image(source) for source in sources]
        return self._encode(
            items, single, task, None, truncate_dim, None, max_pixels, return_multivector, batch_size, show_progress
        )

    def encode(
        self,
        sentences: Input | Sequence[Input],
        task: str | Sequence[str] | None = None,
        prompt_name: str | None = None,
        *,
        truncate_dim: int | None = None,
        max_length: int | None = None,
        max_pixels: int | None = None,
        return_multivector: bool = False,
        batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Any:
        """Vectors of a mixed list: a `str` is a text, a `polylens.Image` or a `PIL.Image` is an image.

        Arguments, returns and errors are those of `encode_text` and `encode_image`.
        """
        single = isinstance(sentences, (str, Image, PIL.Image.Image))
        items: list[Input] = _listed(sentences, single, "sentences must be one input or a list of them")
        return self._encode(
            items,
            single,
            task,
            prompt_name,
            truncate_dim,
            max_length,
            max_pixels,
            return_multivector,
            batch_size,
            show_progress,
        )

    def embed(
        self,
        inputs: Sequence[Input],
        *,
        task: str | Sequence[str] | None = None,
        prompt_name: str | None = None,
        max_length: int | None = None,
        max_pixels: int | None = None,
        batch_size: int | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Embedding]:
        """Both outputs of each input from one forward pass: what an index or a server wants.

        Args:
            inputs: As for `encode`.
            task: As for `encode_text`.
            prompt_name: As for `encode_text`.
            max_length: As for `encode_text`.
            max_pixels: As for `encode_image`.
            batch_size: As for `encode_text`.
            progress: Called with the number of inputs that each batch finished.

        Returns:
            One `Embedding` an input, in input order.
        """
        for name, value in (("max_length", max_length), ("max_pixels", max_pixels), ("batch_size", batch_size)):
            if value is not None and (not isinstance(value, (int, np.integer)) or value < 1):
                raise InputError(f"{name} must be a whole number, at least 1, got {value!r}")
        roles = self._roles(task, prompt_name, len(inputs))
        results: list[Embedding | None] = [None] * len(inputs)
        for start in range(0, len(inputs), WINDOW_ITEMS):
            window = range(start, min(start + WINDOW_ITEMS, len(inputs)))
            items = [
                prepare(
                    self.processor,
                    self.modalities,
                    inputs[i],
                    i,
                    task=roles[i][0],
                    prompt_name=roles[i][1],
                    max_length=max_length,
                    max_pixels=max_pixels,
                )
                for i in window
            ]
            sizes = [item.num_tokens for item in items]
            for batch in batches(sizes, max_items=batch_size, token_budget=TOKEN_BUDGET):
                for index, (embedding,) in zip(batch, forward(self.model, [items[i] for i in batch]), strict=True):
                    results[start + index] = embedding
                progress(len(batch))
        return cast("list[Embedding]", results)

    def embed_chunks(
        self,
        chunks: Sequence[str],
        *,
        task: str | None = None,
        prompt_name: str | None = None,
        max_length: int | None = None,
    ) -> list[Embedding]:
        """Late chunking: the texts are read as one, so that each chunk's vectors know what stands around it.

        Günther et al. 2024, https://arxiv.org/abs/2409.04701. A blank is set between chunks that have none where they
        meet; the prompt stands once, before the first.

        Args:
            chunks: Parts of one text, in order.
            task: As for `encode_text`, one for all.
            prompt_name: As for `encode_text`.
            max_length: Tokens of all together; None is the model's longest context.

        Returns:
            One `Embedding` a chunk; its multi-vector has the chunk's own tokens.

        Raises:
            InputError: A chunk is empty, or together they are too long.
        """
        for index, chunk in enumerate(chunks):
            require_unicode(chunk, index)
        if not chunks:
            return []
        adapter, prompt = self.processor.role(task, prompt_name)
        item = self.processor.chunks(chunks, task=adapter, prompt_name=prompt, max_length=max_length)
        return next(forward(self.model, [item]))

    def similarity(self, queries: Any, documents: Any) -> FloatArray:
        """Scores between queries and documents.

        Args:
            queries: Dense vectors `[Q, dim]` (or one `[dim]`), or a list of multi-vectors `[tokens, 128]`.
            documents: Of the same kind.

        Returns:
            Float32 `[Q, D]`: cosine for dense vectors, MaxSim (the sum over a query's tokens of their best match) for
            multi-vectors.

        Raises:
            InputError: One side is dense and the other is not, or their widths differ.
        """
        left, right = _vectors(queries, "queries"), _vectors(documents, "documents")
        if isinstance(left, list) != isinstance(right, list):
            raise InputError("queries and documents must both be dense vectors or both be lists of multi-vectors")
        widths = {array.shape[-1] for side in (left, right) for array in (side if isinstance(side, list) else [side])}
        if len(widths) > 1:
            raise InputError(f"all vectors must have one width, got {' and '.join(map(str, sorted(widths)))}")
        if isinstance(left, list) and isinstance(right, list):
            if not left or not right:
                return np.zeros((len(left), len(right)), dtype=np.float32)
            scores = ragged_maxsim([torch.from_numpy(q) for q in left], [torch.from_numpy(d) for d in right])
            return scores.numpy()
        return (_unit(cast("FloatArray", left)) @ _unit(cast("FloatArray", right)).T).astype(np.float32)

    def _encode(
        self,
        inputs: Sequence[Input],
        single: bool,
        task: str | Sequence[str] | None,
        prompt_name: str | None,
        truncate_dim: int | None,
        max_length: int | None,
        max_pixels: int | None,
        return_multivector: bool,
        batch_size: int | None,
        show_progress: bool,
    ) -> Any:
        if truncate_dim is not None and truncate_dim not in self.matryoshka_dims:
            dims = ", ".join(map(str, self.matryoshka_dims))
            raise InputError(f"truncate_dim must be one of {dims} for this model, got {truncate_dim}")
        if return_multivector and self.multivector_dim is None:
            raise InputError("this model has no multi-vectors, one vector an input is all it gives")
        with _bar(len(inputs), show_progress) as progress:
            embeddings = self.embed(
                inputs,
                task=task,
                prompt_name=prompt_name,
                max_length=max_length,
                max_pixels=max_pixels,
                batch_size=batch_size,
                progress=progress,
            )
        if return_multivector:
            multivectors = [embedding.multivector for embedding in embeddings]
            return multivectors[0] if single else multivectors
        dense = np.stack([e.dense for e in embeddings]) if embeddings else np.zeros((0, self.dim), dtype=np.float32)
        if truncate_dim is not None:
            dense = truncate(torch.from_numpy(dense), int(truncate_dim)).numpy()
        return dense[0] if single else dense

    def _roles(
        self, task: str | Sequence[str] | None, prompt_name: str | None, count: int
    ) -> list[tuple[str | None, str]]:
        """(adapter, prompt) of each input."""
        shared = task is None or isinstance(task, str)
        names = _listed(task, shared, "task must be one name or one for each input") * (count if shared else 1)
        if len(names) != count:
            raise InputError(f"task must be one name or one for each of the {count} inputs, got {len(names)}")
        for name in names:
            if not isinstance(name, (str, type(None))):
                raise InputError(f"task must be one of {', '.join(self.tasks)}, got {name!r}")
        known = {name: self.processor.role(name, prompt_name) for name in dict.fromkeys(names or [None])}
        return [known[name] for name in names]


def _listed(values: Any, single: bool, rule: str) -> list[Any]:
    """The values as a list; `rule` is said where they are no values at all."""
    try:
        return [values] if single else list(values)
    except TypeError as error:
        raise InputError(f"{rule}, got {type(values).__name__}") from error


def _vectors(value: Any, name: str) -> FloatArray | list[FloatArray]:
    """Dense `[N, dim]` or a list of `[tokens, width]`."""
    try:
        if isinstance(value, np.ndarray) and value.ndim in (1, 2):
            return np.atleast_2d(value).astype(np.float32, copy=False)
        several = isinstance(value, (list, tuple, np.ndarray))
        rows = [np.asarray(row, dtype=np.float32) for row in value] if several else []
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must hold numbers: {error}") from error
    if several and all(row.ndim == 2 for row in rows):
        if empty := [i for i, row in enumerate(rows) if len(row) == 0]:
            raise InputError(f"{name} must have at least one token each, number {empty[0]} has none")
        return rows
    if rows and all(row.ndim == 1 for row in rows) and len({len(row) for row in rows}) == 1:
        return np.stack(rows)
    raise InputError(f"{name} must be vectors [N, dim] or a list of multi-vectors [tokens, width]")


def _unit(vectors: FloatArray) -> npt.NDArray[np.float32]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


@contextmanager
def _bar(total: int, show: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr; silence where nobody asked or where stderr is piped."""
    if not show:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("embedding", total=total)
        yield lambda done: progress.advance(bar, done)
