"""The figures as a table on the screen, and as the document that keeps them."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import backlog, figures, filled, measures, purges, share, task_lists
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
        spread = f"{number(min(self.values))} to {number(max(self.values))}"
        return (self.name, f"{number(self.median)} {self.unit}", spread, *self._verdict())

    def _verdict(self) -> tuple[str, str]:
        if self.goal is None:
            return ("", "")
        is_met = self.median >= self.goal if self.more_is_better else self.median <= self.goal
        return (f"{'at least' if self.more_is_better else 'at most'} {number(self.goal)}", "yes" if is_met else "no")


HEADINGS = ("What", "Median", "Repetitions", "Goal", "Met")


def machine(versions: Sequence[str]) -> list[str]:
    """What all figures depend on: the machine, the versions, and the settings of the servers."""
    return [
        f"Machine: {os.cpu_count()} cores ({_processor()}), {_memory_gb():.0f} GB, {platform.system()}; "
        f"load by other work when the benchmark began {os.getloadavg()[0]:.1f}. "
        "Clients, server, workers and databases share it.",
        f"Python {platform.python_version()}, {', '.join(versions)}, reached through Unix sockets.",
        "PostgreSQL with fsync, full_page_writes and synchronous_commit on and 128 MB of shared buffers; "
        "Valkey with its append-only file, synced every second.",
    ]


def repeated(repetitions: int) -> str:
    """What the figures are, of so many repetitions."""
    return f"Medians of {repetitions} interleaved repetitions; percentiles are those of each repetition."


def conditions() -> list[str]:
    """What the figures of speed, latencies and memory depend on."""
    m = measures
    return [
        "Each measurement begins with empty tables.",
        f"Workers: TASKLOOM_CONCURRENCY={CONCURRENCY}; everything else, here and in the server, is the default.",
        f"Throughput: {m.RUNS:,} runs in bulk triggers of {m.BULK:,}, from the first trigger to the last final row. "
        "Each run is claimed, leased, shown RUNNING, writes three log lines and gets its iteration row. "
        f"Runs that compute: {m.COMPUTING:,}, each with a millisecond of processor time in Python.",
        "Processor time: user and system time of a process and its children, divided by the runs; the client is the "
        "process that triggers and looks on.",
        "Processors busy: the processor time of all these processes, divided by the time that passed. What a second "
        "worker can bring at most is what the first one leaves.",
        f"Each process with {share.SHARE} of a processor: client, workers, Valkey and each of PostgreSQL's processes, "
        f"bounded by control groups in periods of {share.PERIOD / 1000:.0f} ms, as on a machine with a processor for "
        "each, all of them slower. Left out where the system lets us make no groups.",
        f"triggerTasks: {m.BULKS} calls of TaskService.submit_many, no worker, until the last one has been rung.",
        f"triggerTask: {m.CLIENTS} keep-alive connections of one client process for {m.HTTP_SECONDS:.0f} s, one "
        "server process, no worker.",
        f"Latencies: over HTTP, idle system, one at a time: {m.STARTS} starts, 100 lines 20 ms apart to a subscriber "
        f"over server-sent events, {m.ABORTS} aborts seen by who watches the run.",
        "Memory: resident, of processes that have started and done nothing yet.",
    ]


def backlog_conditions() -> list[str]:
    """What the figures of many queued runs depend on."""
    b = backlog
    return [
        f"Queued: {b.LARGE:,} runs, due and rung, and {b.SMALL:,} in another database, measured in turns. Nine of ten "
        "are of one definition, independently nine of ten in one queue; five priorities; statistics up to date.",
        f"Claimed by polling: Leases.claim_next of {b.CLAIM} at a time, without a worker. Claimed to final: one worker "
        f"process with TASKLOOM_CONCURRENCY={CONCURRENCY}, three log lines a run, by the times in the rows.",
        f"Pages: of 50 runs, {b.PAGES} each, one at a time on an idle system; over HTTP with 16 fields of a run.",
    ]


def task_conditions() -> list[str]:
    """What the figures of saved tasks and purges depend on."""
    return [
        f"Tasks: {filled.TASKS:,} with descriptions, tags, groups and {filled.OWNERS} owners, two of ten with a "
        f"schedule, and {filled.RUNS:,} final runs of the last {filled.DAYS} days; statistics up to date.",
        f"Pages: of 50 tasks, {task_lists.PAGES} each, one at a time on an idle system, with health, last run and time "
        "of the next one; over HTTP with 16 fields of a task.",
        f"Purges: {purges.RUNS:,} more runs that are {purges.DAYS_AGO} to {purges.DAYS_AGO + purges.DAYS} days old, "
        f"each with {purges.LINES} log lines and an iteration, in batches of {purges.BATCH:,}, without a worker.",
    ]


def statistics_conditions() -> list[str]:
    """What the figures of statistics depend on."""
    return [
        f"{filled.RUNS:,} final runs of the last {figures.DAYS} days, of {filled.TASKS:,} tasks with "
        f"{filled.DEFINITIONS} definitions, {filled.GROUPS} groups and {filled.OWNERS} owners: hardly any task runs "
        "twice in a quarter of an hour, which is the dearest case to count.",
        f"Answers: {figures.ANSWERS} of each by TaskService, one at a time, days of {figures.ZONE}; each with the time "
        "before, except rankings and slowest runs.",
    ]


def show(headings: Sequence[str], rows: Sequence[Sequence[str]], said: Sequence[str]) -> None:
    """Print a table, and below it what its figures depend on."""
    table = Table(*headings)
    for row in rows:
        table.add_row(*row)
    console = Console(width=160)
    console.print(table)
    for sentence in said:
        console.print(f"- {sentence}", highlight=False, markup=False)


def write(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], said: Sequence[str]) -> None:
    """Put a section into the document, in the place of the earlier one of that title."""
    cells = (headings, ["---"] * len(headings), *rows)
    table = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in cells)
    listed = "\n".join(f"- {sentence}" for sentence in said)
    text = f"Measured {datetime.now(UTC):%Y-%m-%d}.\n\n{table}\n\n{listed}"
    DOCUMENT.write_text(with_section(DOCUMENT.read_text(), title, text))


def with_section(document: str, title: str, text: str) -> str:
    """A Markdown document with this text below the heading ``## title``; a new section comes last."""
    parts = re.split(r"^(?=## )", document, flags=re.MULTILINE)
    section = f"## {title}\n\n{text}\n"
    there = [n for n, part in enumerate(parts) if part.startswith(f"## {title}\n")]
    for n in there:
        parts[n] = section
    return "\n\n".join(part.strip() for part in (parts if there else [*parts, section])) + "\n"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def number(value: float) -> str:
    """A figure as reports show it: three digits, or all of a large one."""
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
