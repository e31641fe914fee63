"""``taskloom doctor`` where PostgreSQL does not let it in, does not tell everything, or stops answering meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from app import doctor
from app.db import plain_url
from app.diagnosis import Finding, Health
from app.settings import Settings
from app.vital_signs import OldTransaction
from tests.cli.forked import ForkedCommand
from tests.cli.test_doctor import old_transactions
from tests.operations.outages import as_role
from tests.workbench import connected, until

WAITER = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def examined(settings: Settings) -> dict[str, Finding]:
    """What each check found."""
    return {finding.check: finding for finding in await doctor.examine(settings)}


@asynccontextmanager
async def role(settings: Settings, *rights: str) -> AsyncIterator[Settings]:
    """Settings by which a role of its own connects, which may nothing but these."""
    async with connected(settings) as owner:
        await owner.execute("CREATE ROLE dora LOGIN")
        try:
            for right in rights:
                await owner.execute(f"GRANT {right} TO dora")
            yield settings.model_copy(update={"database_url": as_role(settings.database_url, "dora", "")})
        finally:
            await owner.execute("DROP OWNED BY dora; DROP ROLE dora")


@asynccontextmanager
async def open_transaction(url: str) -> AsyncIterator[int]:
    """A transaction that holds back vacuum in its database; the number of its process."""
    connection: Any = await asyncpg.connect(plain_url(url))
    try:
        async with connection.transaction(isolation="repeatable_read"):
            yield await connection.fetchval("SELECT pg_backend_pid()")
    finally:
        await connection.close()


async def test_a_database_that_refuses_the_connection_is_not_said_to_be_silent(settings: Settings) -> None:
    name = urlsplit(settings.database_url).path[1:]
    gone = ForkedCommand(settings, DATABASE_URL=settings.database_url.replace(name, "gone"))
    answer = await gone("doctor", "--json")
    database, redis = answer.json["checks"]
    assert (answer.code, database["check"], database["health"]) == (1, "database", "ILL")
    assert database["finding"] == 'refuses the connection: database "gone" does not exist'
    assert "DATABASE_URL" in database["cure"]
    assert (redis["check"], redis["health"]) == ("redis", "WELL")


async def test_a_check_that_takes_too_long_is_named_and_the_others_are_made(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PATIENCE_SECONDS", 1.0)
    async with connected(settings) as other, other.transaction():
        await other.execute("LOCK TABLE task_definitions")
        found = await examined(settings)
    assert (found["definitions"].health, found["definitions"].finding) == (Health.UNKNOWN, "took longer than 1 s")
    unknown = [finding.check for finding in found.values() if finding.health is Health.UNKNOWN]
    assert (unknown, found["database"].health) == (["definitions"], Health.WELL)
    assert list(found)[-3:] == ["transactions", "vacuum", "statistics"]


async def test_a_check_that_postgresql_does_not_allow_is_named_and_the_others_are_made(settings: Settings) -> None:
    async with role(settings, "SELECT ON alembic_version, task_runs", "pg_read_all_stats") as restricted:
        found = await examined(restricted)
    assert found["workers"].health is Health.UNKNOWN
    assert found["workers"].finding == "PostgreSQL does not tell: permission denied for table workers"
    assert found["database"].health is found["transactions"].health is Health.WELL


async def test_a_database_that_goes_away_meanwhile_is_ill_and_what_was_found_before_stays(settings: Settings) -> None:
    async with connected(settings) as other, connected(settings) as look, other.transaction():
        await other.execute("LOCK TABLE task_definitions")
        examining = asyncio.create_task(doctor.examine(settings))
        pid = await until(lambda: look.fetchval(WAITER))
        await look.execute("SELECT pg_terminate_backend($1)", pid)
        found = await examining
    assert [finding.check for finding in found[:4]] == ["database", "migrations", "redis", "clock"]
    assert (found[0].health, found[0].finding[:17]) == (Health.ILL, "does not answer: ")
    assert [finding.check for finding in found].count("database") == 1
    assert found[-1].check == "leases"


async def test_transactions_of_other_roles_that_cannot_be_seen_are_not_called_well(settings: Settings) -> None:
    async with open_transaction(settings.database_url) as pid:
        async with role(settings, "pg_read_all_data") as blind:
            finding = (await examined(blind))["transactions"]
        async with role(settings, "pg_read_all_data", "pg_read_all_stats") as seeing:
            seen = (await examined(seeing))["transactions"]
    assert finding.health is Health.UNKNOWN
    assert f"pid {pid} of postgres" in finding.finding
    assert "GRANT pg_read_all_stats" in (finding.cure or "")
    assert seen.health is Health.WELL


async def test_a_long_transaction_that_is_seen_is_ill_also_beside_some_that_are_not() -> None:
    hidden, long = OldTransaction("pid 8 of somebody, active", None), OldTransaction("pid 7", 7200)
    assert doctor.judge_transactions([long, hidden]).finding == "vacuum is held back by pid 7 (120 min)"
    assert doctor.judge_transactions([OldTransaction("pid 7", 100), hidden]).health is Health.UNKNOWN


async def test_a_transaction_of_another_database_holds_nothing_back_here(
    settings: Settings, fresh_database_url: str
) -> None:
    async with open_transaction(fresh_database_url) as theirs, open_transaction(settings.database_url) as ours:
        whats = [transaction.what for transaction in await old_transactions(settings)]
    assert any(f"pid {ours} of " in what for what in whats)
    assert not any(f"pid {theirs} of " in what for what in whats)
