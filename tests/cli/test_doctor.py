"""``taskloom doctor``: each thing that may be wrong, found in a real installation or judged from a sign."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from app import TaskRunStatus, TaskService, diagnosis, doctor
from app.db import Database, plain_url
from app.dev.valkey import EmbeddedValkey
from app.diagnosis import Finding, Health, judge_depths
from app.ids import new_id
from app.registry import Registry, registry
from app.settings import Settings
from app.vital_signs import LiveWorker, OldTransaction, Published, StuckRun, TableWaste, VitalSigns
from tests.cli import definitions
from tests.cli.command import Command
from tests.cli.definitions import reached
from tests.cli.forked import ForkedCommand
from tests.workbench import hanging, until_status, working
from workers.worker import TaskloomWorker

CHECKS = [
    "database", "migrations", "redis", "clock", "workers", "queues", "backpressure", "rings", "leases",
    "definitions", "waits", "transactions", "vacuum", "statistics",
]  # fmt: skip


async def healths(settings: Settings) -> dict[str, Health]:
    return {finding.check: finding.health for finding in await doctor.examine(settings)}


def worker_sign(**changes: object) -> LiveWorker:
    values = {
        "name": "m:1", "queues": ("default",), "definition_ids": frozenset({"a"}), "running": 0, "capacity": 10,
        "is_draining": False, "silent_seconds": 1.0,
    }  # fmt: skip
    return LiveWorker(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
async def nothing_left_over(settings: Settings) -> None:
    """A database without what tests before this one left: runs of their definitions, and dead rows."""
    connection = await asyncpg.connect(plain_url(settings.database_url))
    await connection.execute("TRUNCATE task_runs, task_iterations, task_logs")
    # What was counted before is otherwise told for up to a second more.
    await connection.execute("SELECT pg_stat_force_next_flush()")
    await connection.close()


@pytest.fixture
async def worker_of_its_own(settings: Settings, nothing_left_over: None) -> AsyncIterator[TaskloomWorker]:
    """A worker that serves all that it publishes; other tests of this process have definitions for other queues."""
    served = Registry()
    for definition in registry:
        if definition.module == definitions.__name__:
            served.add(definition)
    async with working(settings, served) as worker:
        yield worker


async def test_a_well_installation_is_well_for_people_and_for_programs(
    taskloom: Command, worker_of_its_own: TaskloomWorker
) -> None:
    told, asked = await asyncio.gather(taskloom("doctor"), taskloom("doctor", "--json"))
    assert told.code == asked.code == 0
    assert [line.split()[:2] for line in told.out.splitlines()] == [["✓", check] for check in CHECKS]
    assert asked.json["isWell"]
    assert [row["check"] for row in asked.json["checks"]] == CHECKS


def test_the_page_on_operations_names_every_check() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    (named,) = re.findall(r"`taskloom doctor` asks ([^.]+)\.", page)
    assert re.split(r",\s+|\s+and\s+", named.lower()) == CHECKS


async def test_an_installation_without_workers_is_ill_and_the_cure_is_named(taskloom: Command) -> None:
    answer = await taskloom("doctor")
    assert answer.code == 1
    assert "✗  workers" in answer.out
    assert "Start one with `taskloom worker`." in answer.out


async def test_servers_that_are_away_are_findings_and_no_crash() -> None:
    away = ForkedCommand(DATABASE_URL="postgresql://127.0.0.1:1/x", REDIS_URL="redis://127.0.0.1:1/0")
    answer = await away("doctor", "--json")
    assert answer.code == 1
    assert {row["check"]: row["health"] for row in answer.json["checks"]} == {"database": "ILL", "redis": "ILL"}
    assert all(row["cure"] for row in answer.json["checks"])


async def test_a_database_without_tables_needs_migrations(settings: Settings, fresh_database_url: str) -> None:
    found = await doctor.examine(settings.model_copy(update={"database_url": fresh_database_url}))
    (finding,) = [finding for finding in found if finding.check == "migrations"]
    assert (finding.health, finding.cure) == (Health.ILL, "Run `taskloom migrate`.")


async def test_a_run_that_waits_without_a_ring_is_found(
    settings: Settings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trigger_and_tell(settings)
    monkeypatch.setattr(doctor, "RING_SECONDS", 0.0)
    assert (await healths(settings))["rings"] is Health.WELL
    async with Redis.from_url(redis_url) as redis:
        await redis.flushall()
    assert (await healths(settings))["rings"] is Health.DOUBTFUL


async def trigger_and_tell(settings: Settings) -> None:
    """A run that is due and was rung for."""
    async with TaskService.connect(settings=settings) as tasks:
        await publish(settings)
        await tasks.trigger("cli-fail")
        await tasks.finish_telling()


async def test_a_redis_that_hangs_does_not_answer_and_all_else_is_looked_at(
    settings: Settings, embedded_valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trigger_and_tell(settings)
    monkeypatch.setattr(doctor, "RING_SECONDS", 0.0)
    with hanging(embedded_valkey):
        found = {finding.check: finding for finding in await doctor.examine(settings)}
    assert (found["redis"].health, found["redis"].finding) == (Health.ILL, "does not answer: no answer within 3 s")
    assert (found["rings"].health, found["rings"].finding) == (Health.UNKNOWN, "1 run queued; Redis was not asked")
    assert found["database"].health is Health.WELL
    assert "statistics" in found


async def test_a_redis_that_answers_and_refuses_rings_or_news_is_ill_and_says_why(settings: Settings) -> None:
    async with Redis.from_url(settings.redis_url) as redis:
        for refusing, again, says in (
            ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "command not allowed when used memory"),
            ("ACL SETUSER default -bzpopmin", "ACL SETUSER default +@all", "bzpopmin"),
            ("ACL SETUSER default resetchannels", "ACL SETUSER default allchannels", "channel"),
        ):
            await redis.execute_command(*refusing.split())
            found = {finding.check: finding for finding in await doctor.examine(settings)}
            await redis.execute_command(*again.split())
            assert found["redis"].health is Health.ILL
            assert says in found["redis"].finding
        found = {finding.check: finding for finding in await doctor.examine(settings)}
        assert found["redis"].health is Health.WELL
        assert await redis.keys("*") == []


async def test_a_run_that_a_dead_worker_holds_is_found(
    settings: Settings, tasks: TaskService, worker: TaskloomWorker
) -> None:
    run = await tasks.trigger("cli-wait", input={"name": "stuck"})
    await reached["stuck"].wait()
    run = await tasks.get(run.id)
    db = Database(settings.database_url, pool_size=1)
    try:
        async with db.autocommit() as pipe:
            await pipe.execute("UPDATE workers SET lease_expires_at = now() - interval '2 minutes'")
        found = {finding.check: finding for finding in await doctor.examine(settings)}
    finally:
        await db.close()
    assert found["leases"].health is Health.ILL
    assert f"{run.id} ({run.worker}; cli-wait in queue default)" in found["leases"].finding
    assert found["workers"].health is Health.ILL
    assert found["definitions"].health is Health.DOUBTFUL
    await tasks.abort(run.id)


async def test_runs_that_wait_for_each_other_are_found_and_how_they_end_is_told(
    settings: Settings, tasks: TaskService, worker: TaskloomWorker, taskloom: Command
) -> None:
    run = await tasks.trigger("cli-circle", input={"name": "a"}, unique_key="a")
    await until_status(tasks, run.id, TaskRunStatus.WAITING)
    [child] = await tasks.children(run.id)
    await until_status(tasks, child.id, TaskRunStatus.WAITING)
    found = {finding.check: finding for finding in await doctor.examine(settings)}
    assert found["waits"].health is Health.ILL
    assert found["waits"].finding.startswith("2 runs wait for each other and never go on: ")
    assert {str(run.id), str(child.id)} == set(re.findall(r"[0-9a-f-]{36}", found["waits"].finding))
    shown = await taskloom("runs", "show", str(child.id))
    assert re.search(rf"waits for +{run.id}", shown.out)
    await tasks.abort(run.id)


def test_clocks_may_differ_a_little_then_a_warning_then_a_failure() -> None:
    assert diagnosis.judge_clock(0.5).health is Health.WELL
    assert diagnosis.judge_clock(-5).finding == "5.0 s ahead of the database's"
    assert diagnosis.judge_clock(-5).health is Health.DOUBTFUL
    assert diagnosis.judge_clock(timedelta(hours=1).total_seconds()).health is Health.ILL


def test_versions_of_the_tables_older_and_newer_than_the_code_are_told_apart() -> None:
    assert diagnosis.judge_migrations("0002", "0002").health is Health.WELL
    assert diagnosis.judge_migrations("0001", "0002").cure == "Run `taskloom migrate`."
    assert "older than the database" in (diagnosis.judge_migrations("0003", "0002").cure or "")


def test_an_old_postgresql_is_refused() -> None:
    assert diagnosis.judge_version("14.9 (Debian)").health is Health.ILL
    assert diagnosis.judge_version("18.1 (Debian 18.1-1)") == Finding("database", Health.WELL, "PostgreSQL 18.1")


def test_workers_that_drain_or_are_full_are_said() -> None:
    assert diagnosis.judge_workers([worker_sign(is_draining=True)]).health is Health.ILL
    assert diagnosis.judge_workers([worker_sign(running=10)]).health is Health.DOUBTFUL
    told = diagnosis.judge_workers([worker_sign(running=10, is_draining=True), worker_sign()])
    assert told.health is Health.WELL
    assert told.finding.startswith("1 alive, 0 of 10 slots in use")
    assert "m:1 (seen 1 s ago)" in diagnosis.judge_workers([worker_sign()]).finding


def test_a_dead_worker_s_runs_are_ill_only_when_nobody_takes_them_over_in_time() -> None:
    run = StuckRun(new_id(), "m:1", 5, "a", "default")
    assert diagnosis.judge_leases([run]).health is Health.DOUBTFUL


def test_a_definition_without_a_worker_is_ill_only_when_runs_wait_for_it() -> None:
    rows = [Published("a", "default", 3), Published("b", "slow", 0)]
    assert diagnosis.judge_definitions(rows, [worker_sign()]).finding == "1 of 2 without a live worker: b (queue slow)"
    assert diagnosis.judge_definitions(rows, [worker_sign()]).health is Health.DOUBTFUL
    assert diagnosis.judge_definitions(rows, []).health is Health.ILL


async def test_runs_for_which_no_worker_has_both_queue_and_code_are_ill_and_who_looks_or_waits_is_told(
    settings: Settings, tasks: TaskService, worker: TaskloomWorker, taskloom: Command
) -> None:
    run = await tasks.trigger("cli-fail", queue="elsewhere")
    async with working(settings, Registry(), queues=("elsewhere",)):
        found = {finding.check: finding for finding in await doctor.examine(settings)}
        told = await asyncio.gather(
            taskloom("runs", "show", str(run.id)),
            taskloom("trigger", "cli-fail", "--queue", "elsewhere", "--ttl", "0.5s", "--wait"),
        )
    for answer in told:
        assert answer.sentence.startswith("No live worker serves the queue 'elsewhere' and has the code of 'cli-fail'")
        assert "`taskloom worker --queue elsewhere`" in answer.sentence
    assert found["queues"].health is Health.WELL
    assert found["definitions"].health is Health.ILL
    assert "without a live worker: cli-fail (queue elsewhere, 1 run waits)" in found["definitions"].finding


def test_definitions_are_counted_as_lists_show_them_without_the_private_ones() -> None:
    rows = [Published("a", "default", 0), Published("hidden", "default", 0, is_private=True)]
    worker = worker_sign(definition_ids=frozenset({"a", "hidden"}))
    assert diagnosis.judge_definitions(rows, [worker]).finding == "1 published, each with a live worker"
    assert diagnosis.judge_definitions([], []).finding == "none is published yet"
    assert "1 of 2 without a live worker: hidden" in diagnosis.judge_definitions(rows, [worker_sign()]).finding


async def test_a_queue_with_runs_and_without_a_worker_is_ill_and_the_setting_that_cures_it_is_named(
    settings: Settings, tasks: TaskService, worker: TaskloomWorker, taskloom: Command
) -> None:
    await tasks.trigger("cli-fail", queue="nobodys")
    answer = await taskloom("doctor", "--json")
    assert answer.code == 1
    (found,) = [row for row in answer.json["checks"] if row["check"] == "queues"]
    assert found["health"] == "ILL"
    assert found["finding"].startswith("1 queue with runs and without a worker: nobodys (1 run,")
    assert found["cure"].endswith("TASKLOOM_QUEUES=nobodys")


async def test_a_queue_that_is_nearly_full_is_doubtful_and_the_setting_is_named(
    settings: Settings, tasks: TaskService
) -> None:
    await publish(settings)
    for _ in range(4):
        await tasks.trigger("cli-fail", queue="mail")
    limits = (("mail", 5), ("default", 0))
    found = {line.check: line for line in await doctor.examine(settings.model_copy(update={"queue_limits": limits}))}
    assert found["backpressure"] == Finding(
        "backpressure",
        Health.DOUBTFUL,
        "nearly full or full: mail (4 of 5 runs)",
        "Past the limit triggers are refused: start workers for it, or raise TASKLOOM_QUEUE_LIMITS.",
    )
    assert judge_depths({"mail": 3, "default": 9}, {"mail": 5, "default": 0}).health is Health.WELL


async def test_a_transaction_that_is_held_open_is_found_by_its_process(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.diagnosis.TRANSACTION_WARNING_SECONDS", 0.0)
    monkeypatch.setattr("app.diagnosis.TRANSACTION_FAILURE_SECONDS", 0.0)
    connection = await asyncpg.connect(plain_url(settings.database_url))
    try:
        async with connection.transaction(isolation="repeatable_read"):
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            old = await old_transactions(settings)
    finally:
        await connection.close()
    assert any(f"pid {pid} of " in transaction.what for transaction in old)
    assert diagnosis.judge_transactions(old).health is Health.ILL


async def test_autovacuum_that_is_off_for_a_table_is_found(settings: Settings) -> None:
    db = Database(settings.database_url, pool_size=1)
    try:
        async with db.autocommit() as pipe:
            await pipe.execute("ALTER TABLE task_runs SET (autovacuum_enabled = false)")
        try:
            found = {finding.check: finding for finding in await doctor.examine(settings)}
        finally:
            async with db.autocommit() as pipe:
                await pipe.execute("ALTER TABLE task_runs RESET (autovacuum_enabled)")
    finally:
        await db.close()
    assert (found["vacuum"].health, found["vacuum"].finding) == (Health.ILL, "autovacuum is off for task_runs")


def test_transactions_that_hold_back_vacuum_are_doubtful_first_and_then_ill() -> None:
    assert (
        diagnosis.judge_transactions([OldTransaction("pid 7 of psql, idle in transaction", 100)]).health is Health.WELL
    )
    assert diagnosis.judge_transactions([OldTransaction("pid 7", 400)]).health is Health.DOUBTFUL
    ill = diagnosis.judge_transactions([OldTransaction("pid 7", 7200)])
    assert (ill.health, ill.finding) == (Health.ILL, "vacuum is held back by pid 7 (120 min)")


def test_dead_rows_are_doubtful_when_they_are_many_beside_the_live_ones() -> None:
    assert diagnosis.judge_waste([TableWaste("task_runs", 1_000_000, 200_000, True)], True).health is Health.WELL
    assert diagnosis.judge_waste([TableWaste("task_runs", 200_000, 150_000, True)], True).health is Health.DOUBTFUL
    assert diagnosis.judge_waste([], False).finding == "autovacuum is off for every table"


def test_a_redis_that_evicts_or_is_a_cluster_is_said() -> None:
    well = {"redis_version": "8.0", "maxmemory": 0, "maxmemory_policy": "allkeys-lru", "cluster_enabled": 0}
    assert diagnosis.judge_redis(well) == Finding("redis", Health.WELL, "Redis 8.0")
    evicting = diagnosis.judge_redis({**well, "maxmemory": 1000})
    assert (evicting.health, evicting.cure) == (Health.DOUBTFUL, "Set `maxmemory-policy noeviction`.")
    assert diagnosis.judge_redis({**well, "cluster_enabled": 1}).health is Health.ILL


async def old_transactions(settings: Settings) -> list[OldTransaction]:
    """Every transaction that is open now, however young."""
    db = Database(settings.database_url, pool_size=1)
    try:
        async with db.autocommit() as pipe:
            return await VitalSigns(pipe).old_transactions(seconds=0)
    finally:
        await db.close()


async def publish(settings: Settings) -> None:
    from app import definitions
    from app.registry import registry

    db = Database(settings.database_url, pool_size=1)
    try:
        await definitions.publish(db, registry)
    finally:
        await db.close()
