"""What a run says of itself: lines and event files, and what becomes of them when it is taken up again."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event

from polylens.train.run_logger import RunLogger


def events(folder: Path) -> list[tuple[int, str, float]]:
    """Scalars of all event files in the order written, read by the format's own rule: length, its checksum, data, its
    checksum (TFRecord)."""
    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            data = data[16 + length :]
    return found


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_lines_and_events_say_the_same(tmp_path: Path) -> None:
    with RunLogger(tmp_path, 0) as logger:
        logger.log(0, {"recall": 0.25})
        logger.log(10, {"loss": 0.5, "rate": 2.0}, source="pairs.jsonl")
    assert lines(tmp_path) == [
        {"step": 0, "recall": 0.25},
        {"step": 10, "source": "pairs.jsonl", "loss": 0.5, "rate": 2.0},
    ]
    assert events(tmp_path) == [(0, "recall", 0.25), (10, "loss", 0.5), (10, "rate", 2.0)]


def test_a_line_is_on_disk_at_once(tmp_path: Path) -> None:
    with RunLogger(tmp_path, 0) as logger:
        logger.log(10, {"loss": 0.5})
        assert lines(tmp_path) == [{"step": 10, "loss": 0.5}]


def test_steps_that_will_be_made_again_go(tmp_path: Path) -> None:
    with RunLogger(tmp_path, 0) as logger:
        for step in (10, 20, 30):
            logger.log(step, {"loss": step / 10})
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 40, "lo')  # killed in the middle of a line
    with RunLogger(tmp_path, 20) as logger:
        logger.log(30, {"loss": 7.0})
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(10, 1.0), (20, 2.0), (30, 7.0)]


def test_a_run_begun_anew_begins_its_log_anew(tmp_path: Path) -> None:
    with RunLogger(tmp_path, 0) as logger:
        logger.log(0, {"recall": 0.1})
    with RunLogger(tmp_path, 0) as logger:
        logger.log(0, {"recall": 0.2})
    assert lines(tmp_path) == [{"step": 0, "recall": 0.2}]
