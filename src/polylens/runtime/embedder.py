"""`polylens.load` and the `Embedder` that it returns: texts and images in, vectors out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack, cast, overload

import numpy as np
import PIL.Image
import torch

from polylens.checkpoints.calibration import read_calibration
from polylens.checkpoints.fetch import resolve
from polylens.checkpoints.loading import load_model, read_header
from polylens.errors import InputError
from polylens.models.description import Header
from polylens.models.protocol import Modality, Model
from polylens.nn.pooling import truncate
from polylens.runtime.batching import batches, token_budget
from polylens.runtime.devices import choose_device, choose_dtype
from polylens.runtime.engines.choice import choose_engine, make_engine, model_id, model_stem
from polylens.runtime.engines.fastest import fastest_engine
from polylens.runtime.engines.protocol import Engine
from polylens.runtime.engines.torch import TorchEngine
from polylens.runtime.memory import bound_compiled_products, trim_heap
from polylens.runtime.options import EncodeOptions, ImageOptions, MixedOptions, Tasks, TextOptions, as_list
from polylens.runtime.prefetch import num_threads
from polylens.runtime.prepare import Input, Prepared, prepare, prepared_ahead, require_unicode, windows
from polylens.runtime.progress import progress_bar
from polylens.runtime.similarity import similarity
from polylens.types import Embedding, FloatArray, Image, ImageSource

WINDOW_ITEMS = 256  # inputs that are batched together, those of similar size with each other,
WINDOW_BYTES = 64 * 2**20  # or fewer where they take as much as this, so that photographs do not fill the memory
TRIM_TOKENS = 4_096  # tokens of a window after which it pays to give back what the heap does not use

Vectors = FloatArray | list[FloatArray]
"""Dense vectors or one multi-vector as an array, several multi-vectors as a list of arrays."""
OneImage = ImageSource | Image


def load(
    name: str | Path = "nano",
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    modalities: Sequence[Modality] | None = None,
    engine: str | None = None,
    quantization: str | None = None,
) -> Embedder:
    """Loads a model.

    Args:
        name: A name from the catalog ("nano", "jinaai/jina-embeddings-v4", "jinaai/jina-clip-v2"), or a folder in the
            official layout.
        device: Where the model runs; None is a CUDA GPU where there is one, otherwise the CPU.
        dtype: "bfloat16", "float32" or "float16"; None is bfloat16 where the processor computes in it, otherwise
            float32.
        revision: Revision of the hub's repository, instead of the catalog's.
        local_files_only: True never asks the hub.
        modalities: ("text",) or ("image",) loads one of the two towers of jina-clip-v2; None loads both.
        engine: "torch", or "openvino" for the families that it runs and with the extra `openvino`; None is the one that
            `polylens bench` found to be the fastest here, or torch, and is logged as `polylens.engines`.
        quantization: With the engine openvino, "int8" computes most products in 8-bit integers, and "int4" also holds
            the weights of a decoder in 4 bits. Vectors change, so it is a part of `model_id`, and is never chosen by
            itself.

    Raises:
        ModelNotFoundError: Neither the catalog nor the disk has this name.
        HubUnavailableError: The weights are not on this machine and cannot be fetched.
        CheckpointError: The files of the checkpoint are broken or do not belong together.
        InputError: The model cannot run on this device, in this dtype or by this engine, has no such modality, or gives
            no vectors.

    Example:
        >>> import polylens
        >>> polylens.load("nano").encode_text(["a harbour", "ein Hafen"]).shape  # doctest: +SKIP
        (2, 256)
    """
    bound_compiled_products()
    folder = resolve(name, revision=revision, local_files_only=local_files_only)
    target = choose_device(device)
    header = read_header(folder, modalities=modalities)  # before the weights: what is cheap to refuse comes first
    _ = header.processor  # a reranker is refused before its weights are asked for
    held_in = choose_dtype(dtype, target, float16_overflows=header.family.overflows_in_float16)
    if engine is None and quantization is None:
        engine = fastest_engine(header, device=target, dtype=held_in)
    chosen = choose_engine(engine, quantization, family=header.family, device=target, dtype=held_in)
    model = load_model(header, device=target, dtype=held_in)
    runs = make_engine(chosen, model, header, quantization=quantization)
    return Embedder(header, model, model_id(model_stem(name), header, quantization), runs)


class Embedder:
    """A loaded model.

    Args:
        header: The checkpoint without its weights.
        model: The network with its weights.
        model_id: As from `engines.choice.model_id`.
        engine: What runs the network; None is the torch engine.

    Attributes:
        family: What the model says about itself; see `polylens.models.description`.
        model_id: Name and fingerprint of the weights, and quantization; vectors of different ids cannot be compared.
        dim: Width of the dense vectors.
        tasks: Names of the tasks.
        matryoshka_dims: Values that `truncate_dim` may have.
        multivector_dim: Width of each vector of a multi-vector; None for a model without late interaction.
        modalities: "text", "image" or both.
        max_pixels: Largest area to which an image is resized, unless a call says otherwise.
        calibration: What the scores of a search mean, from `polylens eval match`; None where that was not run.
        sight: Where its token vectors belong in images and queries; None for a model without heat maps.
    """

    def __init__(self, header: Header, model: Model, model_id: str, engine: Engine | None = None) -> None:
        self.model = model
        self.family = header.family
        self.engine: Engine = TorchEngine(model) if engine is None else engine
        self.processor = header.processor
        self.sight = header.sight
        self.model_id = model_id
        self.dim = header.dim
        self.tasks = header.processor.tasks
        self.matryoshka_dims = header.matryoshka_dims
        self.multivector_dim = header.multivector_dim
        self.modalities = header.modalities
        self.max_pixels = header.processor.max_pixels
        self.calibration = read_calibration(header)

    # fmt: off
    @overload  # A str is a sequence of str, too: that is the overlap, and a type checker takes the first that fits.
    def encode_text(self, texts: str | Sequence[str], task: Tasks = ..., prompt_name: str | None = ..., *,
                    return_multivector: Literal[False] = ..., **options: Unpack[TextOptions]) -> FloatArray: ...
    @overload
    def encode_text(self, texts: str, task: Tasks = ..., prompt_name: str | None = ..., *,  # type: ignore[overload-overlap]
                    return_multivector: Literal[True], **options: Unpack[TextOptions]) -> FloatArray: ...
    @overload
    def encode_text(self, texts: Sequence[str], task: Tasks = ..., prompt_name: str | None = ..., *,
                    return_multivector: Literal[True], **options: Unpack[TextOptions]) -> list[FloatArray]: ...
    @overload
    def encode_text(self, texts: str | Sequence[str], task: Tasks = ..., prompt_name: str | None = ..., *,
                    return_multivector: bool, **options: Unpack[TextOptions]) -> Vectors: ...
    # fmt: on
    def encode_text(
        self,
        texts: str | Sequence[str],
        task: Tasks = None,
        prompt_name: str | None = None,
        *,
        truncate_dim: int | None = None,
        max_length: int | None = None,
        return_multivector: bool = False,
        batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Vectors:
        """Encodes texts. A text is always a text: one that looks like a path or a URL is never opened.

        Args:
            texts: One or several.
            task: "retrieval", "text-matching" or "code", or a name of the HTTP API ("retrieval.query", ...), which
                includes its prompt; one for all or one per text. None is the model's default: retrieval for
                jina-embeddings-v4; no instruction and, for jina-embeddings-v3, no adapter for the others.
            prompt_name: "query" (the default) or "passage"; text-matching always takes the query's.
            truncate_dim: One of `matryoshka_dims`: cuts the dense vectors and normalises them again.
            max_length: Tokens, prompt included; a longer text is cut on the right. None is the model's limit, which
                is 512 for jina-clip-v2, as published.
            return_multivector: True returns one vector per token instead of one dense vector per text.
            batch_size: Largest number of inputs per forward pass; None batches by tokens.
            show_progress: True shows a progress bar on stderr where that is a terminal.

        Returns:
            Float32 `[N, dim]` with unit rows; with `return_multivector` a list of float32 `[tokens, 128]` with unit
            rows. A single text gives a single vector `[dim]`, or a single `[tokens, 128]`.

        Raises:
            InputError: An argument cannot be used; the message says which values can.
        """
        options = EncodeOptions(
            task=task,
            prompt_name=prompt_name,
            truncate_dim=truncate_dim,
            max_length=max_length,
            return_multivector=return_multivector,
            batch_size=batch_size,
            show_progress=show_progress,
        )
        single = isinstance(texts, str)
        items = as_list(texts, single, "texts must be one str or a list of them")
        for index, text in enumerate(items):
            if not isinstance(text, str):
                raise InputError(f"text {index} must be a str, got {type(text).__name__}; images go to encode_image")
        return self._encode(items, single, options)

    # fmt: off
    @overload
    def encode_image(self, images: OneImage | Sequence[OneImage], task: Tasks = ..., *,
                     return_multivector: Literal[False] = ..., **options: Unpack[ImageOptions]) -> FloatArray: ...
    @overload
    def encode_image(self, images: OneImage, task: Tasks = ..., *,  # type: ignore[overload-overlap]
                     return_multivector: Literal[True], **options: Unpack[ImageOptions]) -> FloatArray: ...
    @overload
    def encode_image(self, images: Sequence[OneImage], task: Tasks = ..., *,
                     return_multivector: Literal[True], **options: Unpack[ImageOptions]) -> list[FloatArray]: ...
    @overload
    def encode_image(self, images: OneImage | Sequence[OneImage], task: Tasks = ..., *,
                     return_multivector: bool, **options: Unpack[ImageOptions]) -> Vectors: ...
    # fmt: on
    def encode_image(
        self,
        images: OneImage | Sequence[OneImage],
        task: Tasks = None,
        *,
        truncate_dim: int | None = None,
        max_pixels: int | None = None,
        return_multivector: bool = False,
        batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Vectors:
        """Encodes images.

        Args:
            images: One or several of: a path, a `PIL.Image`, bytes, a `data:` URI, bare base64, an http(s) URL.
            task: As for `encode_text`; a prompt in its name has no effect on an image.
            truncate_dim: As for `encode_text`.
            max_pixels: Largest area after resizing; None is the checkpoint's own limit. A higher limit shows finer
                print and costs more tokens: one for each `patch_size * merge_size` squared.
            return_multivector: As for `encode_text`.
            batch_size: As for `encode_text`.
            show_progress: As for `encode_text`.

        Returns:
            As for `encode_text`.

        Raises:
            ImageError: An image cannot be read; `error.index` says which.
            InputError: Another argument cannot be used.
        """
        options = EncodeOptions(
            task=task,
            truncate_dim=truncate_dim,
            max_pixels=max_pixels,
            return_multivector=return_multivector,
            batch_size=batch_size,
            show_progress=show_progress,
        )
        single = isinstance(images, (str, Path, bytes, Image, PIL.Image.Image))
        sources = as_list(images, single, "images must be one image or a list of them")
        items = [source if isinstance(source, Image) else Image(source) for source in sources]
        return self._encode(items, single, options)

    # fmt: off
    @overload
    def encode(self, sentences: Input | Sequence[Input], task: Tasks = ..., prompt_name: str | None = ..., *,
               return_multivector: Literal[False] = ..., **options: Unpack[MixedOptions]) -> FloatArray: ...
    @overload
    def encode(self, sentences: Input, task: Tasks = ..., prompt_name: str | None = ..., *,  # type: ignore[overload-overlap]
               return_multivector: Literal[True], **options: Unpack[MixedOptions]) -> FloatArray: ...
    @overload
    def encode(self, sentences: Sequence[Input], task: Tasks = ..., prompt_name: str | None = ..., *,
               return_multivector: Literal[True], **options: Unpack[MixedOptions]) -> list[FloatArray]: ...
    @overload
    def encode(self, sentences: Input | Sequence[Input], task: Tasks = ..., prompt_name: str | None = ..., *,
               return_multivector: bool, **options: Unpack[MixedOptions]) -> Vectors: ...
    # fmt: on
    def encode(
        self,
        sentences: Input | Sequence[Input],
        task: Tasks = None,
        prompt_name: str | None = None,
        *,
        truncate_dim: int | None = None,
        max_length: int | None = None,
        max_pixels: int | None = None,
        return_multivector: bool = False,
        batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Vectors:
        """Encodes a mixed list: a `str` is a text, a `polylens.Image` or a `PIL.Image` is an image.

        Arguments, return values and errors are those of `encode_text` and `encode_image`.
        """
        options = EncodeOptions(
            task=task,
            prompt_name=prompt_name,
            truncate_dim=truncate_dim,
            max_length=max_length,
            max_pixels=max_pixels,
            return_multivector=return_multivector,
            batch_size=batch_size,
            show_progress=show_progress,
        )
        single = isinstance(sentences, (str, Image, PIL.Image.Image))
        items = as_list(sentences, single, "sentences must be one input or a list of them")
        return self._encode(items, single, options)

    @property
    def preparation_threads(self) -> int:
        """Number of threads that prepare inputs while the model runs."""
        _, weight = next(iter(self.model.named_parameters()))
        return num_threads(on_processor=weight.device.type == "cpu")

    def prepare(self, value: Input, *, task: str | None = None, prompt_name: str | None = None) -> Prepared:
        """Prepares one input for `embed`, in any thread: decodes, resizes and tokenises it.

        Args:
            value: As for `encode`.
            task: As for `encode_text`.
            prompt_name: As for `encode_text`.

        Raises:
            InputError: The input cannot be read, or the model does not take it.
        """
        adapter, prompt = self.processor.role(task, prompt_name)
        return prepare(
            self.processor,
            self.modalities,
            value,
            0,
            task=adapter,
            prompt_name=prompt,
            max_length=None,
            max_pixels=None,
        )

    def embed(
        self,
        inputs: Sequence[Input | Prepared],
        *,
        task: Tasks = None,
        prompt_name: str | None = None,
        max_length: int | None = None,
        max_pixels: int | None = None,
        batch_size: int | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Embedding]:
        """Encodes inputs and returns both outputs of each from one forward pass, as an index or a server needs them.

        Args:
            inputs: As for `encode`, or from `prepare`; for these, task, prompt and limits are settled already.
            task: As for `encode_text`.
            prompt_name: As for `encode_text`.
            max_length: As for `encode_text`.
            max_pixels: As for `encode_image`.
            batch_size: As for `encode_text`.
            progress: Called with the number of inputs that each batch finished.

        Returns:
            One `Embedding` per input, in input order.
        """
        options = EncodeOptions(
            task=task,
            prompt_name=prompt_name,
            max_length=max_length,
            max_pixels=max_pixels,
            batch_size=batch_size,
        )
        return self._embed(inputs, options, progress)

    def embed_chunks(
        self,
        chunks: Sequence[str],
        *,
        task: str | None = None,
        prompt_name: str | None = None,
        max_length: int | None = None,
    ) -> list[Embedding]:
        """Late chunking: encodes the chunks as one text, so that each chunk's vectors know its context.

        Günther et al. 2024, https://arxiv.org/abs/2409.04701. Chunks that do not meet at a blank are joined by one; the
        prompt precedes the first chunk only.

        Args:
            chunks: Parts of one text, in order.
            task: As for `encode_text`, one for all.
            prompt_name: As for `encode_text`.
            max_length: Tokens of all chunks together; None is the model's longest context.

        Returns:
            One `Embedding` per chunk; its multi-vector has the chunk's own tokens.

        Raises:
            InputError: A chunk is empty, or the chunks are too long together.
        """
        for index, chunk in enumerate(chunks):
            require_unicode(chunk, f"text {index}")
        if not chunks:
            return []
        adapter, prompt = self.processor.role(task, prompt_name)
        item = self.processor.chunks(chunks, task=adapter, prompt_name=prompt, max_length=max_length)
        return next(self.engine.run([item]))

    def similarity(self, queries: Any, documents: Any) -> FloatArray:
        """Scores every query against every document.

        Args:
            queries: Dense vectors `[Q, dim]` (or one `[dim]`), or a list of multi-vectors `[tokens, 128]`.
            documents: Vectors of the same kind.

        Returns:
            Float32 `[Q, D]`: the cosine of dense vectors; MaxSim of multi-vectors, which is the sum over a query's
            tokens of their best match.

        Raises:
            InputError: One side is dense and the other is not, or their widths differ.
        """
        return similarity(queries, documents)

    def _encode(self, inputs: Sequence[Input], single: bool, options: EncodeOptions) -> Vectors:
        options.require_outputs(self.matryoshka_dims, self.multivector_dim)
        with progress_bar(len(inputs), options.show_progress) as progress:
            embeddings = self._embed(inputs, options, progress)
        if options.return_multivector:
            multivectors = [embedding.multivector for embedding in embeddings]
            return multivectors[0] if single else multivectors
        dense = np.stack([e.dense for e in embeddings]) if embeddings else np.zeros((0, self.dim), dtype=np.float32)
        if options.truncate_dim is not None:
            dense = truncate(torch.from_numpy(dense), int(options.truncate_dim)).numpy()
        return cast("FloatArray", dense[0]) if single else dense

    def _embed(
        self, inputs: Sequence[Input | Prepared], options: EncodeOptions, progress: Callable[[int], None]
    ) -> list[Embedding]:
        """Runs the inputs window by window, each in batches of similar size, and prepares others meanwhile."""
        roles = options.roles(self.processor, len(inputs))
        results: list[Embedding | None] = [None] * len(inputs)
        start = 0
        budget = token_budget(next(iter(self.model.named_parameters()))[1].device)
        with prepared_ahead(
            self.processor,
            self.modalities,
            inputs,
            roles,
            max_length=options.max_length,
            max_pixels=options.max_pixels,
            threads=self.preparation_threads,
        ) as ready:
            for items in windows(ready, WINDOW_ITEMS, WINDOW_BYTES):
                sizes = [item.num_tokens for item in items]
                for batch in batches(sizes, max_items=options.batch_size, token_budget=budget):
                    for index, (embedding,) in zip(batch, self.engine.run([items[i] for i in batch]), strict=True):
                        results[start + index] = embedding
                    progress(len(batch))
                start += len(items)
                if sum(sizes) >= TRIM_TOKENS:
                    trim_heap()
        return cast("list[Embedding]", results)
