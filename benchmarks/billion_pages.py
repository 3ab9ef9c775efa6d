"""What an index of so many pages takes: machines, hours, bytes, money and milliseconds, from measured figures.

    python benchmarks/billion_pages.py [--pages 1000000,100000000,1000000000] [--shard 400000] [--inputs FILE]

The inputs lie in data/billion_pages.json, each with the command that gave it, and those that are assumed apart. A
search asks every shard at once and waits for the slowest: its time is drawn from the measured distribution of one
shard, as many times as there are shards, for a thousand searches. "Hedged" asks a second copy of each shard that has
not answered after the p95 of one. The last line says which part breaks first.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

INPUTS = Path(__file__).parent / "data" / "billion_pages.json"
SEARCHES = 1_000
Z95 = 1.6449  # of the normal distribution
WEEK = 7 * 86_400  # seconds in which the pages are to be embedded


@dataclass(frozen=True)
class Figures:
    """The inputs, by name."""

    values: dict[str, float]

    @classmethod
    def read(cls, path: Path) -> Figures:
        """Reads them; what is measured and what is assumed are one table from here on."""
        kinds = json.loads(path.read_text(encoding="utf-8"))
        return cls({name: float(value) for kind in kinds.values() for name, (value, _) in kind.items()})

    def __getitem__(self, name: str) -> float:
        return self.values[name]


def shard_times(figures: Figures, shard: int, size: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Milliseconds of one shard's searches: lognormal with the measured p50 and p95, longer where it has more pages."""
    return rng.lognormal(math.log(median_ms(figures, shard)), sigma_of(figures), size)


def median_ms(figures: Figures, shard: int) -> float:
    """The median of a shard's searches."""
    more = max(0.0, (shard - figures["shard_pages"]) / 1e6)
    return figures["search_p50_ms"] + figures["growth_ms_per_million_pages"] * more


def sigma_of(figures: Figures) -> float:
    """The width of the lognormal that has the measured p50 and p95."""
    return math.log(figures["search_p95_ms"] / figures["search_p50_ms"]) / Z95


def searches(figures: Figures, pages: int, shard: int, *, hedge: bool, seed: int = 0) -> tuple[float, float]:
    """p50 and p95 of a search over all shards, in milliseconds."""
    rng = np.random.default_rng(seed)
    shards = max(1, math.ceil(pages / shard))
    slowest = np.empty(SEARCHES)
    for at in range(SEARCHES):
        times = shard_times(figures, shard, (shards,), rng)
        if hedge:
            patience = median_ms(figures, shard) * math.exp(Z95 * sigma_of(figures))
            again = patience + shard_times(figures, shard, (shards,), rng)
            times = np.where(times > patience, np.minimum(times, again), times)
        slowest[at] = times.max()
    # The manifests of all shards are asked for at once, two round trips; then the shards.
    fixed = figures["round_trip_ms"] + 2 * figures["storage_round_trip_ms"]
    p50, p95 = np.percentile(slowest, [50, 95]) + fixed
    return float(p50), float(p95)


def plan(figures: Figures, pages: int, shard: int) -> dict[str, float | str]:
    """Everything about one size."""
    shard = min(shard, pages)
    shards = max(1, math.ceil(pages / shard))
    size = pages * figures["bytes_per_page"]
    embedding = pages / figures["embed_pages_per_second_two_cores"]  # seconds of two cores
    pairs = math.ceil(embedding / WEEK)
    arriving = min(pairs * figures["embed_pages_per_second_two_cores"], pages / 1.0)
    drivers = max(
        math.ceil(arriving / figures["commit_pages_per_second"]),
        math.ceil(arriving * figures["vectors_through_driver_bytes"] / figures["driver_bytes_per_second"]),
    )
    p50, p95 = searches(figures, pages, shard, hedge=False)
    _, hedged = searches(figures, pages, shard, hedge=True)
    money = 2 * embedding / 3600 * figures["core_hour"]
    keeping = size / 1e9 * (figures["storage_gb_month"] + figures["disk_gb_month"]) * figures["months"]
    serving = shards * figures["search_cores"] * figures["core_hour"] * 730 * figures["months"]
    return {
        "pages": pages,
        "shards": shards,
        "TB": round(size / 1e12, 3),
        "core hours to embed": round(2 * embedding / 3600),
        "pairs of cores for a week": pairs,
        "drivers": drivers,
        "p50 ms": round(p50),
        "p95 ms": round(p95),
        "p95 ms hedged": round(hedged),
        "memory GB": round(shards * figures["search_mb"] * max(1.0, shard / figures["shard_pages"]) / 1e3),
        "to embed, units": round(money),
        "to keep and search, units a month": round(keeping + serving),
        "breaks first": breaks_first(figures, pages, shard, drivers, p95),
    }


def breaks_first(figures: Figures, pages: int, shard: int, drivers: int, p95: float) -> str:
    """The part that no longer does at this size, in one phrase."""
    if p95 > 1_000:
        return "the slowest shard of a search: hedge, or route by topic so that fewer are asked"
    if drivers > 1:
        return "one driver's commits: one driver per shard"
    if shard * figures["bytes_per_page"] > 8e9:
        return "the reader's copy (8 GB): POLYLENS_INDEX_CACHE_GB, or smaller shards"
    if pages > 1_000_000:
        return "the lists of the index of token vectors, which grow with a shard: shards"
    return "nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", default="100000,1000000,100000000,1000000000", help="comma-separated sizes")
    parser.add_argument("--shard", type=int, default=400_000, help="pages per shard")
    parser.add_argument("--inputs", type=Path, default=INPUTS)
    options = parser.parse_args()
    figures = Figures.read(options.inputs)
    for pages in map(int, options.pages.split(",")):
        for name, value in plan(figures, pages, options.shard).items():
            print(f"{name:>34}  {value:,}" if not isinstance(value, str) else f"{name:>34}  {value}")
        print()


if __name__ == "__main__":
    main()
