"""A whole library as mteb's `SearchProtocol`: documents become files, which are read, indexed and searched."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mteb.types import PromptType

from polylens.errors import InputError
from polylens.index.search import By
from polylens.integrations.mteb.models import model_meta, rows
from polylens.library.library import Library
from polylens.library.reranking import Reranking
from polylens.runtime.embedder import Embedder

MOST_PAGES = 4  # of a file, counted when hits become documents: a long text has several pages


class LibrarySearch:
    """The engine that `polylens index` and `polylens search` are, as a retriever.

    Each document is written as a file, a text as `.txt` and an image as `.png`, into a folder of its own that is
    removed afterwards; so a corpus needs room on the disk, and no memory that grows with it.

    Args:
        embedder: The model.
        by: What ranks, as for `Library.search`.
        rerank: What orders the first pages anew, as for `Library.search`.
        folder: Where the folder is made; None is where the system keeps temporary files.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        by: By = "fused",
        rerank: Reranking | None = None,
        folder: Path | None = None,
    ) -> None:
        self.embedder, self.by, self.rerank, self.folder = embedder, by, rerank, folder
        settings = {"by": by, "rerank": None if rerank is None else rerank.reranker.model_id.replace("@", "-")}
        self.mteb_model_meta = model_meta(
            embedder.model_id, "library", modalities=embedder.modalities, settings=settings
        )
        self._made: Path | None = None
        self._ids: dict[str, str] = {}

    def index(
        self, corpus: Any, *, task_metadata: Any, encode_kwargs: Mapping[str, Any], num_proc: int | None, **_: Any
    ) -> None:
        """Writes the documents as files and indexes them.

        Raises:
            InputError: A document has a text and an image.
        """
        from mteb._create_dataloaders import create_dataloader

        self.close()
        self._made = Path(tempfile.mkdtemp(prefix="polylens-mteb-", dir=self.folder))
        loader = create_dataloader(
            corpus,
            task_metadata=task_metadata,
            prompt_type=PromptType.document,
            num_proc=num_proc,
            batch_size=encode_kwargs.get("batch_size", 32),
        )
        names = iter(corpus["id"])
        for batch in loader:
            for item in rows(batch):
                if len(item) != 1:
                    raise InputError("a library indexes a text or an image per file, and this task's items have both")
                stem = f"{len(self._ids):08d}"
                file = f"{stem}.txt" if isinstance(item[0], str) else f"{stem}.png"
                self._ids[file] = next(names)
                if isinstance(item[0], str):
                    (self._made / file).write_text(item[0], encoding="utf-8")
                else:
                    item[0].save(self._made / file)  # type: ignore[union-attr]  # mteb gives PIL images
        Library(self._made, self.embedder).update()

    def search(
        self, queries: Any, *, task_metadata: Any, top_k: int, top_ranked: Any = None, **_: Any
    ) -> dict[str, dict[str, float]]:
        """The best documents of each query; where candidates are given, those alone.

        Returns:
            A score of 1 / rank, because the stages of a search have scores of different kinds.
        """
        from mteb._create_dataloaders import create_dataloader

        assert self._made is not None, "mteb indexes before it searches"
        view = Library.open(self._made, self.embedder).view()
        loader = create_dataloader(queries, task_metadata=task_metadata, prompt_type=PromptType.query)
        names = iter(queries["id"])
        found: dict[str, dict[str, float]] = {}
        most = top_k if top_ranked is None else len(self._ids)
        for batch in loader:
            for item in rows(batch):
                query = next(names)
                hits = view.search(list(item), most * MOST_PAGES, by=self.by, rerank=self.rerank)
                ranked = list(dict.fromkeys(self._ids[hit.file] for hit in hits))
                if top_ranked is not None:
                    allowed = set(top_ranked.get(query, ()))
                    ranked = [document for document in ranked if document in allowed]
                found[query] = {document: 1 / rank for rank, document in enumerate(ranked[:top_k], 1)}
        self.close()
        return found

    def close(self) -> None:
        """Removes the folder."""
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)
        self._made, self._ids = None, {}
