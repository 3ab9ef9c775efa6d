"""Processing of inputs: from queries and documents to tokens.

A query is `<s> [QueryMarker] tokens </s>`, filled up with `<mask>` to a fixed length; every one of these tokens has a
vector. A document is `<s> [DocumentMarker] tokens </s>`; its punctuation has none. Sources that agree: the tokenizers
of stanford-futuredata/ColBERT, fastembed's `late_interaction/jina_colbert.py`, and vLLM's pooling processor, which
keeps the punctuation.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from tokenizers import Tokenizer

from polylens.errors import CheckpointError, InputError
from polylens.models.files import read_tokenizer
from polylens.models.jina_colbert_v2.config import JinaColbertConfig
from polylens.models.protocol import Item

PROMPTS = ("query", "passage")


class JinaColbertProcessor:
    """The processor of one checkpoint.

    Args:
        config: The sizes of the model.
        tokenizer: The content of `tokenizer.json`.
    """

    tasks = ("retrieval",)
    max_pixels = 0

    def __init__(self, config: JinaColbertConfig, tokenizer: Tokenizer) -> None:
        self.config = config
        self.tokenizer = tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()
        ends = tokenizer.encode("").ids
        if len(ends) != 2:
            raise CheckpointError(f"tokenizer.json should put <s> before and </s> behind a text, it gives {ends}")
        self._end = ends[1]
        self._pad, self._mask = self._id("<pad>"), self._id("<mask>")
        self._markers = {"query": self._id(config.query_marker), "passage": self._id(config.document_marker)}
        self._without_vector = [self._pad]
        if config.masks_punctuation:  # the first token of each, as ColBERT's library takes it
            first = [tokenizer.encode(symbol, add_special_tokens=False).ids[0] for symbol in string.punctuation]
            self._without_vector += first

    def _id(self, token: str) -> int:
        """Returns the id of a token that the model cannot do without."""
        found = self.tokenizer.token_to_id(token)
        if found is None or found >= self.config.text.vocab_size:
            raise CheckpointError(
                f"tokenizer.json must know the token {token} below id {self.config.text.vocab_size}, it has {found}"
            )
        return found

    @classmethod
    def from_folder(cls, folder: Path, config: JinaColbertConfig) -> JinaColbertProcessor:
        """Reads `tokenizer.json`.

        Raises:
            CheckpointError: It is missing, broken, or lacks one of the marker tokens.
        """
        return cls(config, read_tokenizer(folder))

    def role(self, task: str | None, prompt_name: str | None) -> tuple[str | None, str]:
        """Translates a task and a prompt to (None, "query" or "passage"): there is one task and no adapter.

        Raises:
            InputError: There is no such task or prompt.
        """
        names = ("retrieval", *(f"retrieval.{prompt}" for prompt in PROMPTS))
        if task is not None and task not in names:
            raise InputError(f"task must be one of {', '.join(names)}, got {task!r}")
        if prompt_name is not None and prompt_name not in PROMPTS:
            raise InputError(f"prompt_name must be one of {', '.join(PROMPTS)}, got {prompt_name!r}")
        asked = (task or "").partition(".")[2]
        return None, asked or prompt_name or "query"

    def text(self, text: str, *, task: str | None, prompt_name: str, max_length: int | None) -> Item:
        """Puts the marker of a query or of a document behind `<s>`, and cuts the text before `</s>`.

        Args:
            text: The query or the document.
            task: None, as there are no adapters.
            prompt_name: "query" or "passage".
            max_length: Tokens at which a text is cut, the marks counted, at least 4; the default and upper bound is
                `query_maxlen` for a query and the longest text of the model for a document. The published
                `doc_maxlen`, 300, is what ColBERT's library cuts at while it builds an index of its own.
        """
        is_query = prompt_name == "query"
        longest = self.config.query_length if is_query else self.config.text.max_length
        limit = max(4, min(max_length or longest, longest))
        ids = self.tokenizer.encode(text).ids
        ids = [ids[0], self._markers[prompt_name], *ids[1:]]
        truncated = len(ids) > limit
        if truncated:
            ids = [*ids[: limit - 1], self._end]
        if is_query:
            ids += [self._mask] * (longest - len(ids))
            ids = [self._mask if token == self._pad else token for token in ids]
        token_ids = np.asarray(ids, dtype=np.int64)
        kept = None if is_query else ~np.isin(token_ids, self._without_vector)
        return Item(token_ids=token_ids, pool=(0, len(ids)), task=task, truncated=truncated, kept=kept)

    def chunks(
        self,
        texts: Sequence[str],  # noqa: ARG002
        *,
        task: str | None,  # noqa: ARG002
        prompt_name: str,  # noqa: ARG002
        max_length: int | None,  # noqa: ARG002
    ) -> Item:
        """Refuses: late chunking gives one dense vector per chunk, and this model was not trained for any.

        Raises:
            InputError: Always.
        """
        raise InputError("late chunking needs trained dense vectors; this model has multi-vectors only")

    def num_image_tokens(self, width: int, height: int) -> int:  # noqa: ARG002
        """Refuses: there is no vision tower.

        Raises:
            InputError: Always.
        """
        raise InputError("this model takes texts only")

    def image(self, image: PIL.Image.Image, *, task: str | None, max_pixels: int | None) -> Item:  # noqa: ARG002
        """Refuses: there is no vision tower.

        Raises:
            InputError: Always.
        """
        raise InputError("this model takes texts only")
