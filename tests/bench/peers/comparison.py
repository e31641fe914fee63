"""The contestants side by side, on the screen and in the document."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bench.bed import CONCURRENCY
from tests.bench.peers.contest import Result
from tests.bench.report import number, percentile

HEADINGS = ("Queue", "Jobs/s", "Ours to it", "Start p50", "Start p99", "CPU of a job (µs)", "Keeps durably")
TITLE = "Peers: `make bench-peers`"


@dataclass
class Line:
    """One contestant: what is said of it, its results, or the reason why it has none."""

    name: str
    settings: str
    keeps: str
    jobs: int
    results: list[Result] = field(default_factory=list)
    trouble: str = ""

    @property
    def rate(self) -> float | None:
        """Its median of jobs a second."""
        return statistics.median(result.rate for result in self.results) if self.results else None

    def row(self, ours: float | None) -> tuple[str, ...]:
        """Its cells; ``ours`` is the rate that it is compared with."""
        if not self.results or self.rate is None:
            return (self.name, "not measured", "", "", "", "", self.keeps)
        starts = [self._start(share) for share in (0.5, 0.99)]
        ratio = f"{ours / self.rate:.1f}" if ours else ""
        return (self.name, number(self.rate), ratio, *starts, self._processor_time(), self.keeps)

    @property
    def sentence(self) -> str:
        """How it was set up, and why it was not measured, or less often than the others."""
        trouble = f" After {len(self.results)} repetitions {self.trouble}." if self.trouble else ""
        return f"{self.name}: {self.settings}; {self.jobs:,} jobs.{trouble}"

    def _start(self, share: float) -> str:
        each = [percentile(result.starts, share) for result in self.results if result.starts]
        return f"{number(statistics.median(each))} ms" if each else ""

    def _processor_time(self) -> str:
        names = self.results[0].microseconds
        medians = {name: statistics.median(result.microseconds[name] for result in self.results) for name in names}
        return ", ".join(f"{name} {number(value)}" for name, value in medians.items())


def conditions(machine: Sequence[str], repetitions: int, starts: int) -> list[str]:
    """What the figures depend on."""
    return [
        *machine,
        f"Medians of {repetitions} interleaved repetitions, each with a worker process of its own and emptied servers.",
        "Jobs/s: from the first job enqueued by one client process to the last one executed, by one worker process "
        "that is idle before; the peer's job writes 8 bytes to a file. Ours is counted to the last final row, and "
        "enqueues by TaskService.submit_many of 1,000.",
        f"Start: from the call that enqueues one job to its first line, {starts} times on an idle system with pauses "
        "of 20 to 520 ms; percentiles of each repetition.",
        "Each peer has settings chosen here for throughput, but for arq default; other versions and settings may do "
        "better.",
        f"Ours: TASKLOOM_CONCURRENCY={CONCURRENCY}, everything else is the default; two cores are shared by all.",
    ]


def rows(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """The table: each contestant is compared with the first."""
    return [line.row(lines[0].rate) for line in lines]
