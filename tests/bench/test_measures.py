"""The benchmark measures what it says, and reports it so that it can be read later."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest
from redis.asyncio import Redis

from tests.bench import measures, processor_time, report
from tests.bench.bed import Bed
from tests.bench.report import Figure

BURN = "import subprocess, sys, time\nif sys.argv[1:]:\n    subprocess.run([sys.executable, '-c', sys.argv[1]])\n"
BURN += "while time.process_time() < 0.3: pass\nprint('burnt', flush=True)\ntime.sleep(60)"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of the processor time of others")


@LINUX
async def test_throughput_counts_the_runs_of_a_worker_and_the_processor_time_of_everybody_concerned(bed: Bed) -> None:
    async with bed.worker() as worker:
        measured = await measures.throughput(bed, {**bed.pids, "worker": worker.pid}, "bench-nothing", 1200)
        silent = await measures.throughput(bed, {}, "bench-silent", 10)
    assert measured.rate > 0
    assert set(measured.microseconds) == {"client", "worker", "PostgreSQL", "Valkey"}
    assert measured.microseconds["worker"] > 0
    assert 0.1 < measured.processors <= (os.cpu_count() or 1) + 0.1
    assert set(silent.microseconds) == {"client"}


async def test_starts_are_as_many_as_asked_for_and_none_comes_before_its_trigger(bed: Bed) -> None:
    async with bed.worker():
        starts = await measures.starts_by_service(bed, 3)
    assert len(starts) == 3
    assert min(starts) > 0


async def test_a_measurement_finds_neither_runs_nor_rings_of_the_one_before(bed: Bed) -> None:
    await measures.bulk_triggers(bed)
    async with Redis.from_url(bed.settings.redis_url) as redis:
        assert await redis.dbsize() > 0
        await bed.clear()
        assert await redis.dbsize() == 0
    assert not await bed.look.fetchval("SELECT count(*) FROM task_runs")


def test_every_setting_that_the_figures_depend_on_is_said() -> None:
    said = " ".join(
        [
            *report.machine(["PostgreSQL 0"]),
            *report.conditions(),
            *report.backlog_conditions(),
            *report.task_conditions(),
        ]
    )
    for setting in (
        "fsync",
        "TASKLOOM_CONCURRENCY=1000",
        "PostgreSQL 0",
        "20,000 runs",
        "1,000,000 runs",
        "cores",
        "10,000 with",
    ):
        assert setting in said


@LINUX
async def test_the_processor_time_of_a_process_includes_its_children_that_live_and_those_that_have_ended() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BURN, "import time\nwhile time.process_time() < 0.3: pass",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    await process.stdout.readline()
    itself = processor_time.used({"it": process.pid})["it"]
    we = processor_time.used({"we": os.getpid()})["we"]
    process.kill()
    await process.wait()
    assert itself >= 0.55
    assert we >= itself


async def test_a_process_that_has_ended_is_left_out_instead_of_counted_as_idle() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")
    before = processor_time.used({"it": process.pid})
    await process.wait()
    assert set(processor_time.since({"it": 0.0, **before}, {"it": process.pid}, 1)) == {"client"}


def test_a_figure_is_the_median_of_its_repetitions_with_their_spread_and_its_verdict() -> None:
    less = Figure("Latency", "ms", 10, [30.0, 5.0, 7.0], more_is_better=False)
    assert less.row() == ("Latency", "7 ms", "5 to 30", "at most 10", "yes")
    more = Figure("Rate", "/s", 10_000, [1500.0, 9000.0, 2000.4])
    assert more.row() == ("Rate", "2,000 /s", "1,500 to 9,000", "at least 10,000", "no")


def test_writing_one_section_of_the_document_leaves_the_others_as_they_are() -> None:
    document = "# Benchmarks\n\nWords.\n\n## One\n\nold\n\n### Part\n\nold\n\n## Two\n\nkept\n"
    assert report.with_section(document, "One", "new") == "# Benchmarks\n\nWords.\n\n## One\n\nnew\n\n## Two\n\nkept\n"
    assert report.with_section(document, "Three", "new") == document + "\n## Three\n\nnew\n"
