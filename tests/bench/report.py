"""The figures as a table on the screen, and as the document that keeps them."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import measures
from tests.bench.bed import CONCURRENCY, ROOT

DOCUMENT = ROOT / "docs" / "benchmarks.md"


@dataclass
class Figure:
    """One line of the table: what, its goal, the values of the repetitions, and which of them are better."""

    name: str
    unit: str
    goal: float | None
    values: list[float]
    more_is_better: bool = True

    @property
    def median(self) -> float:
        """The middle one of the repetitions."""
        return statistics.median(self.values)

    def row(self) -> tuple[str, str, str, str, str]:
        """Its cells."""
        spread = f"{_number(min(self.values))} to {_number(max(self.values))}"
        return (self.name, f"{_number(self.median)} {self.unit}", spread, *self._verdict())

    def _verdict(self) -> tuple[str, str]:
        if self.goal is None:
            return ("", "")
        is_met = self.median >= self.goal if self.more_is_better else self.median <= self.goal
        return (f"{'at least' if self.more_is_better else 'at most'} {_number(self.goal)}", "yes" if is_met else "no")


HEADINGS = ("What", "Median", "Repetitions", "Goal", "Met")


def conditions(versions: Sequence[str]) -> list[str]:
    """Every setting that the figures depend on, and the machine."""
    m = measures
    return [
        f"Machine: {os.cpu_count()} cores ({_processor()}), {_memory_gb():.0f} GB, {platform.system()}; "
        f"load by other work when the benchmark began {os.getloadavg()[0]:.1f}. "
        "Clients, server, workers and databases share it.",
        f"Python {platform.python_version()}, {', '.join(versions)}, reached through Unix sockets.",
        "PostgreSQL with fsync, full_page_writes and synchronous_commit on and 128 MB of shared buffers; "
        "Valkey with its append-only file, synced every second. Each measurement begins with empty tables.",
        f"Workers: TASKLOOM_CONCURRENCY={CONCURRENCY}; everything else, here and in the server, is the default.",
        f"Throughput: {m.RUNS:,} runs in bulk triggers of {m.BULK:,}, from the first trigger to the last final row. "
        "Each run is claimed, leased, shown RUNNING, writes three log lines and gets its iteration row.",
        f"triggerTasks: {m.BULKS} calls of TaskService.submit_many, no worker, until the last one has been rung.",
        f"triggerTask: {m.CLIENTS} keep-alive connections of one client process for {m.HTTP_SECONDS:.0f} s, one "
        "server process, no worker.",
        f"Latencies: over HTTP, idle system, one at a time: {m.STARTS} starts, 100 lines 20 ms apart to a subscriber "
        f"over server-sent events, {m.ABORTS} aborts seen by who watches the run. Percentiles of each repetition.",
        "Memory: resident, of processes that have started and done nothing yet.",
    ]


def show(figures: Sequence[Figure], said: Sequence[str]) -> None:
    """Print the table and the conditions."""
    table = Table(*HEADINGS)
    for figure in figures:
        table.add_row(*figure.row())
    console = Console(width=120)
    console.print(table)
    for sentence in said:
        console.print(f"- {sentence}", highlight=False)


def write(figures: Sequence[Figure], said: Sequence[str]) -> None:
    """Write the document."""
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(figure.row() for figure in figures)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    listed = "\n".join(f"- {sentence}" for sentence in said)
    repetitions = max(len(figure.values) for figure in figures)
    DOCUMENT.write_text(
        f"# Benchmarks\n\nMedians of {repetitions} interleaved repetitions, measured {datetime.now(UTC):%Y-%m-%d}. "
        "`make bench` prints such a table;\n`python -m tests.bench --write` writes this page. "
        "A machine that does other work meanwhile shows less.\n\n"
        f"{table}\n\n## Conditions\n\n{listed}\n"
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
