"""Histograms of durations on a logarithmic scale: each bin ends a tenth above where it begins.

A percentile is read as the middle of its bin, so it is wrong by 5 % at the most; histograms are added up bin by bin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, sqrt

RATIO = 1.1
NOTHING = -1
"""The bin of everything below a microsecond."""
ERROR = 0.05
"""How far a percentile may be from the exact one, as a part of it."""


def bin_sql(milliseconds: str) -> str:
    """SQL for the bin of a duration in milliseconds; NULL for NULL."""
    return (
        f"CASE WHEN {milliseconds} < 0.001 THEN {NOTHING} "
        f"ELSE floor(ln({milliseconds} * 1000) / ln({RATIO}::float8)) END::smallint"
    )


def milliseconds_of(bin: int) -> float:
    """The middle of a bin, in milliseconds."""
    return 0.0 if bin == NOTHING else RATIO**bin * sqrt(RATIO) / 1000


def percentiles(counts: Mapping[int, int], parts: Sequence[float]) -> list[float | None]:
    """For each of some rising parts (0.5 is the median): what so many of the durations do not exceed, in milliseconds.

    ``counts`` holds the number of durations by bin. Without any, each percentile is None.
    """
    total = sum(counts.values())
    bins = iter(sorted(counts.items()))
    found: list[float | None] = []
    bin, passed = NOTHING, 0
    for part in parts:
        while passed < max(1, ceil(part * total)) and total:
            bin, number = next(bins)
            passed += number
        found.append(milliseconds_of(bin) if total else None)
    return found
