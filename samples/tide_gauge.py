"""Reads the radar tide gauge on the serial line and writes water levels to a CSV file."""

import csv
import time
from datetime import UTC, datetime
from pathlib import Path

WELL_DEPTH = 9.42  # metres from the radar down to the brass bolt, surveyed in 2019
SPEED_OF_LIGHT = 299_702_547.0  # metres per second in air


def water_level(echo_delay: float) -> float:
    """Metres of water above the brass bolt, from the delay of the radar echo in seconds."""
    distance = echo_delay * SPEED_OF_LIGHT / 2
    return WELL_DEPTH - distance


def median_level(delays: list[float]) -> float:
    """The median of many echoes: a wave crest or a swimming gull does not disturb it."""
    levels = sorted(water_level(delay) for delay in delays)
    return levels[len(levels) // 2]


def record(port, path: Path, seconds_between: float = 60.0) -> None:
    """Append one median level a minute until interrupted."""
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        while True:
            delays = [port.read_echo() for _ in range(25)]
            writer.writerow([datetime.now(UTC).isoformat(), f"{median_level(delays):.3f}"])
            file.flush()
            time.sleep(seconds_between)
