"""Measures Taskloom: prints a table, and with ``--write`` keeps it in ``docs/benchmarks.md``. Takes some minutes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Awaitable

import uvloop
from redis.asyncio import Redis

from app.garbage import SERVER_THRESHOLD, leave_alone_what_stays
from tests.bench import backlog, bed, figures, filled, measures, purges, report, share, task_lists
from tests.bench.bed import Bed, Process, beside
from tests.bench.report import Figure, percentile

SPEED = "Speed, latencies and memory: `make bench`"
BACKLOG = "Many queued runs: `make bench`"
TASKS = "Saved tasks and purges: `make bench`"
STATISTICS = "Statistics: `make bench`"
PARTS = ("workers", "triggers", "latencies", "backlog", "tasks", "purges", "statistics")


class Bench:
    """The figures, and how they come about: repetition after repetition, each with processes of its own."""

    def __init__(self) -> None:
        self.figures: dict[str, Figure] = {}

    async def measure(self, bed: Bed, parts: list[str]) -> None:
        """One repetition."""
        if "workers" in parts or "latencies" in parts:
            async with bed.worker() as worker:
                if "workers" in parts:
                    await self._workers(bed, worker)
                if "latencies" in parts:
                    await self._latencies(bed)
        if "triggers" in parts:
            await self._triggers(bed)

    async def _workers(self, bed: Bed, worker: Process) -> None:
        self.note("Memory of an idle worker", "MB", 80, worker.memory(), more_is_better=False)
        pids = {**bed.pids, "worker": worker.pid}
        one = await measures.throughput(bed, pids)
        self.note("Bulk trigger to all final, one worker", "runs/s", 10_000, one.rate)
        for process, microseconds in one.microseconds.items():
            self.note(f"Processor time of such a run: {process}", "µs", None, microseconds, more_is_better=False)
        computing = await measures.throughput(bed, {}, "bench-compute", measures.COMPUTING)
        async with bed.worker() as second:
            two = await measures.throughput(bed, {**pids, "second worker": second.pid})
            together = await measures.throughput(bed, {}, "bench-compute", measures.COMPUTING)
        self.note("Bulk trigger to all final, two workers", "runs/s", None, two.rate)
        self.note("Two workers to one", "times", 1.5, two.rate / one.rate)
        for name, measured in (("one worker", one), ("two workers", two)):
            self.note(f"Processors busy, {name}", f"of {os.cpu_count()}", None, measured.processors)
        self.note("Runs that compute for 1 ms to all final, one worker", "runs/s", None, computing.rate)
        self.note("Two workers to one, runs that compute for 1 ms", "times", None, together.rate / computing.rate)
        if share.is_possible():
            await self._workers_with_room(bed)

    async def _workers_with_room(self, bed: Bed) -> None:
        """What a second worker brings where every process has a processor of its own, though a slow one."""
        async with share.for_each_process(bed.pids.values()):
            one = await measures.throughput(bed, {})
            async with bed.worker():
                two = await measures.throughput(bed, {})
        each = f"each process with {share.SHARE} of a processor"
        self.note(f"Bulk trigger to all final, one worker, {each}", "runs/s", None, one.rate)
        self.note(f"Two workers to one, {each}", "times", 1.5, two.rate / one.rate)

    async def _triggers(self, bed: Bed) -> None:
        self.note("`triggerTasks` of 1,000", "runs/s", 30_000, await measures.bulk_triggers(bed))
        async with bed.server() as server:
            self.note("Memory of an idle server", "MB", 110, server.memory(), more_is_better=False)
            self.note("`triggerTask` over HTTP, 64 clients", "/s", 1500, await measures.http_triggers(bed, server.port))

    async def _latencies(self, bed: Bed) -> None:
        async with bed.server() as server:
            await self._latency("Mutation sent to first line of task code", 4, 10, measures.starts(bed, server.port))
            await self._latency("Log line written to seen by a subscriber", 30, 120, measures.lines(bed, server.port))
            await self._latency("Abort sent to seen ABORTED", 30, 150, measures.aborts(bed, server.port))

    async def measure_backlog(self, few: Bed, repetitions: int, large: int = backlog.LARGE) -> None:
        """All repetitions with many queued runs, each beside one with few, because filling takes a minute."""
        async with beside(few, "many") as many:
            await backlog.fill(many, large)
            for _ in range(repetitions):
                await self._claims(many, few, large)
                await self._pages(many, large)

    async def measure_tasks(
        self, other: Bed, parts: list[str], repetitions: int, tasks: int = filled.TASKS, runs: int = filled.RUNS
    ) -> None:
        """All repetitions on a database with many tasks and final runs of them."""
        async with beside(other, "tasks") as bed:
            await filled.fill_tasks(bed.look, tasks)
            await filled.fill_runs(bed, runs)
            for _ in range(repetitions):
                if "tasks" in parts:
                    await self._task_lists(bed, f"{tasks:,} tasks")
                if "purges" in parts:
                    await self._purges(bed)

    async def _task_lists(self, bed: Bed, of: str) -> None:
        async with bed.server() as server:
            for listing in task_lists.LISTINGS:
                for by, found in (
                    ("TaskService", await task_lists.pages_by_service(bed, listing, task_lists.PAGES)),
                    ("HTTP", await task_lists.pages_by_http(server.port, listing, task_lists.PAGES)),
                ):
                    self._percentiles(f"Page of {of}, {listing.name}, by {by}", listing.goal, found)
            for prefix in task_lists.PREFIXES:
                found = await task_lists.suggestions_by_http(server.port, prefix, task_lists.PAGES)
                self._percentiles(f"Tags and owners that begin with '{prefix}', by HTTP", task_lists.LIST_GOAL, found)

    async def _purges(self, bed: Bed) -> None:
        for name, way in purges.WAYS.items():
            rate = await purges.runs_a_second(bed, way, purges.RUNS)
            self.note(f"Old runs removed {name}, with their logs", "runs/s", purges.GOAL, rate)

    async def measure_statistics(
        self, other: Bed, repetitions: int, tasks: int = filled.TASKS, runs: int = filled.RUNS
    ) -> None:
        """Counting once, because there is nothing left to count afterwards, and all repetitions of the answers."""
        async with beside(other, "statistics") as bed:
            await filled.fill_tasks(bed.look, tasks)
            await filled.fill_runs(bed, runs, days=figures.DAYS)
            self.note(f"{runs:,} runs counted", "runs/s", None, await figures.runs_a_second_counted(bed))
            for _ in range(repetitions):
                for question in figures.QUESTIONS:
                    found = await figures.answers(bed, question, figures.ANSWERS)
                    self._percentiles(f"Statistics of {runs:,} runs, {question.name}", figures.GOAL, found)

    async def _claims(self, many: Bed, few: Bed, large: int) -> None:
        await few.clear()
        await backlog.fill(few, backlog.SMALL)
        for name, measuring in (("claimed by polling", backlog.claimed), ("claimed to final", backlog.executed)):
            small = await measuring(few, backlog.SMALL * 6 // 10)
            much = await measuring(many, backlog.SMALL * 6 // 10)
            self.note(f"Queued runs {name}, of {backlog.SMALL:,}", "runs/s", None, small)
            self.note(f"Queued runs {name}, of {large:,}", "runs/s", None, much)
            self.note(f"Queued runs {name}, many to few", "times", 0.8, much / small)

    async def _pages(self, bed: Bed, large: int) -> None:
        async with bed.server() as server:
            for listing in backlog.LISTINGS:
                for by, found in (
                    ("TaskService", await backlog.pages_by_service(bed, listing, backlog.PAGES)),
                    ("HTTP", await backlog.pages_by_http(bed, server.port, listing, backlog.PAGES)),
                ):
                    self._percentiles(f"Page of {large:,} runs, {listing.name}, by {by}", 25, found)

    def _percentiles(self, name: str, p99: float, found: list[float]) -> None:
        self.note(f"{name}, p50", "ms", None, percentile(found, 0.5), more_is_better=False)
        self.note(f"{name}, p99", "ms", p99, percentile(found, 0.99), more_is_better=False)

    async def _latency(self, name: str, p50: float, p99: float, measuring: Awaitable[list[float]]) -> None:
        found = await measuring
        self.note(f"{name}, p50", "ms", p50, percentile(found, 0.5), more_is_better=False)
        self.note(f"{name}, p99", "ms", p99, percentile(found, 0.99), more_is_better=False)

    def note(self, name: str, unit: str, goal: float | None, value: float, *, more_is_better: bool = True) -> None:
        """Take down one value of a repetition."""
        figure = self.figures.setdefault(name, Figure(name, unit, goal, [], more_is_better))
        figure.values.append(value)


async def main(parts: list[str], repetitions: int, *, write: bool) -> None:
    """Measure and report."""
    speed, many, tasks, statistics = Bench(), Bench(), Bench(), Bench()
    async with bed.made() as made:
        # As servers do, which the service is measured in the place of.
        leave_alone_what_stays(SERVER_THRESHOLD)
        machine = [*report.machine(await versions(made)), report.repeated(repetitions)]
        for _ in range(repetitions):
            await speed.measure(made, parts)
        if "backlog" in parts:
            await many.measure_backlog(made, repetitions)
        if "tasks" in parts or "purges" in parts:
            await tasks.measure_tasks(made, parts, repetitions)
        if "statistics" in parts:
            await statistics.measure_statistics(made, repetitions)
    for title, bench, said in (
        (SPEED, speed, report.conditions()),
        (BACKLOG, many, report.backlog_conditions()),
        (TASKS, tasks, report.task_conditions()),
        (STATISTICS, statistics, report.statistics_conditions()),
    ):
        rows = [figure.row() for figure in bench.figures.values()]
        if rows:
            report.show(report.HEADINGS, rows, [*machine, *said])
        if rows and write:
            report.write(title, report.HEADINGS, rows, [*machine, *said])


async def versions(made: Bed) -> list[str]:
    """The versions of the servers, for reports."""
    async with Redis.from_url(made.settings.redis_url) as redis:
        valkey = await redis.info("server")
    postgres = await made.look.fetchval("SHOW server_version")
    return [f"PostgreSQL {postgres}", f"Valkey {valkey.get('valkey_version', valkey['redis_version'])}"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--repetitions", type=int, default=3, help="medians of so many (3)")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part; may be given again")
    chosen = parser.parse_args()
    uvloop.run(main(chosen.only or list(PARTS), chosen.repetitions, write=chosen.write))
