"""The log of a training run: JSON lines, and the same numbers for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from polylens.atomic import write_beside


class RunLogger:
    """A run's `log.jsonl`, a line every few steps, and event files of the same numbers in `tensorboard/`.

    A run that is resumed takes the steps after its checkpoint again, so their lines are removed.

    Args:
        folder: Of the run.
        start: Steps that are completed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, RunLogger(Path(folder), 0) as logger:
        ...     logger.log(10, {"loss": 0.5})
        ...     print((Path(folder) / "log.jsonl").read_text(), end="")
        {"step": 10, "loss": 0.5}
    """

    def __init__(self, folder: Path, start: int) -> None:
        from tensorboardX import SummaryWriter

        self._path = folder / "log.jsonl"
        self._forget_after(start)
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1 if start else None)

    def log(self, step: int, values: Mapping[str, float], **words: str) -> None:
        """Writes a line, which is on disk when this method returns.

        Args:
            step: From 1; 0 is before the first step.
            values: Numbers by name.
            words: Texts for the line, such as the names of files.
        """
        with self._path.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"step": step, **words, **values}) + "\n")
        for name, value in values.items():
            self._events.add_scalar(name, value, step)  # a thread writes it within two minutes

    def __enter__(self) -> RunLogger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.close()

    def _forget_after(self, start: int) -> None:
        if not self._path.exists():
            return
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= start]
        with write_beside(self._path) as beside:
            beside.write_text("".join(kept) if start else "", encoding="utf-8")
