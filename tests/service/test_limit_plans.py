"""What the gate asks on large tables reads as many rows as it answers with, whoever waits beside."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from app import Limits
from app.backlog import depths
from app.db import Database
from app.leases import Claimant, Leases
from app.limited_runs import LimitedRuns, definitions_with_parked
from app.limits import Rate
from tests.service.test_plans import ROWS
from tests.service.test_plans import SEED as HISTORY

PARKED = 100_000
KEYS = 10_000
SEED = """
    INSERT INTO task_runs (id, definition_id, name, status, status_reason, status_changed_at, input, queue, priority,
        max_iterations, iteration, max_attempts, attempt, created_at, start_at, due_at, created_by, limit_key, parked,
        started_at)
    SELECT gen_random_uuid(), definition, 'Run', 'QUEUED', CASE WHEN level IS NOT NULL THEN 'CONCURRENCY_LIMIT' END,
        now(), '{}', 'thronged', n % 3, 1, 1, 1, 1, now(), now(), now() + n * interval '1 microsecond', 'USER:x', key,
        level, CASE WHEN started THEN now() END
    FROM (
        SELECT n, 'crowded' AS definition, 'one' AS key, 'KEY' AS level, n % 7 = 0 AS started
        FROM generate_series(1, PARKED) n
        UNION ALL SELECT n, 'crowded', 'two', 'DEFINITION', false FROM generate_series(1, PARKED / 10) n
        UNION ALL SELECT n, 'many-keys', 'key-' || n, 'KEY', false FROM generate_series(1, KEYS) n
        UNION ALL SELECT n, 'other', NULL, NULL, false FROM generate_series(1, 10) n) AS made"""
LIMITS = Limits(max_concurrency=5, rate="50/minute", key="text", max_concurrency_per_key=3, rate_per_key="20/minute")


class Undo(Exception):
    """Ends a transaction without a commit."""


class Explaining:
    """A connection that explains what it is asked, and keeps the plans."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self.plans: list[Any] = []

    async def fetch(self, query: str, *arguments: Any) -> Any:
        answer = await self._pipe.fetchval("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + query, *arguments)
        self.plans.append(json.loads(answer)[0]["Plan"])
        return await self._pipe.fetch(query, *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        return (await self.fetch(query, *arguments))[0][0]

    def nodes(self) -> list[Any]:
        """Every scan of the table of runs, of all plans."""
        return [node for plan in self.plans for node in below(plan) if node.get("Relation Name") == "task_runs"]

    def pages(self) -> int:
        """How many pages all statements together touched."""
        return sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in self.plans)


def below(node: Any) -> list[Any]:
    return [node, *(found for child in node.get("Plans", ()) for found in below(child))]


@pytest.fixture(scope="module")
async def crowd(migrated_database_url: str) -> AsyncIterator[Any]:
    """A connection to a large table, which is gone afterwards because nothing is committed."""
    db = Database(migrated_database_url, pool_size=1)
    with suppress(Undo):
        async with db.pipe() as pipe:
            await pipe.execute("SET LOCAL lock_timeout = '10s'; SET LOCAL idle_in_transaction_session_timeout = 0")
            # Not DELETE: what earlier tests left in the indexes would count in the costs of plans.
            await pipe.execute("TRUNCATE task_runs CASCADE")
            await pipe.execute(HISTORY.replace("ROWS", str(ROWS)))
            await pipe.execute(SEED.replace("PARKED", str(PARKED)).replace("KEYS", str(KEYS)))
            await pipe.execute("ANALYZE task_runs")
            yield pipe
            raise Undo
    await db.close()


@asynccontextmanager
async def explained(pipe: Any) -> AsyncIterator[Any]:
    """Explains what is asked in the block; at its end no plan may have walked through the table or sorted it."""
    explaining = Explaining(pipe)
    yield explaining
    for node in explaining.nodes():
        assert node["Node Type"] != "Seq Scan", node
        assert node.get("Rows Removed by Filter", 0) <= 500, node
        assert node["Actual Rows"] <= 1000, node


async def test_the_next_of_a_crowded_key_are_found_without_reading_the_others(crowd: Any) -> None:
    async with explained(crowd) as pipe:
        found = await LimitedRuns(pipe, "crowded", LIMITS).next_by_key({"one": (3, 2), "two": (3, 3)}, ["thronged"])
        assert [(run.key, run.first, run.priority) for run in found] == [
            *[("one", False, 2)] * 3, *[("one", True, 2)] * 2, *[("two", True, 2)] * 3,
        ]  # fmt: skip
    assert pipe.pages() < 200


async def test_the_next_of_a_definition_are_found_behind_a_crowded_key(crowd: Any) -> None:
    async with explained(crowd) as pipe:
        found = await LimitedRuns(pipe, "crowded", LIMITS).next_of_definition((5, 5), ["thronged", "quick"])
        assert {run.key for run in found} == {"two"}
    assert pipe.pages() < 200


async def test_what_is_taken_is_counted_without_reading_the_history(crowd: Any) -> None:
    async with explained(crowd) as pipe:
        runs = LimitedRuns(pipe, "crowded", LIMITS)
        tally = await runs.tally_held()
        await runs.count_starts_by_key(tally, ["one", "two", "three"])
        # Counted no further than the limit, although far more have started.
        assert (tally.started[None], tally.started["one"]) == (50, 20)
    assert pipe.pages() < 1000


async def test_keys_are_found_by_going_from_one_to_the_next(crowd: Any) -> None:
    async with explained(crowd) as pipe:
        assert await LimitedRuns(pipe, "crowded", LIMITS).parked_keys(None, 500) == ["", "one", "two"]
        keys = await LimitedRuns(pipe, "many-keys", LIMITS).parked_keys("key-1", 500)
        assert len(keys) == 500
        assert keys == sorted(keys)
        await definitions_with_parked(pipe, ["crowded", "nobody", "many-keys"])
    assert pipe.pages() < 5000


async def test_a_trigger_counts_no_further_than_the_limit(crowd: Any) -> None:
    async with explained(crowd) as pipe:
        live = await LimitedRuns(pipe, "crowded", replace(LIMITS, rate_per_key=None)).count_live(["one"])
        assert (live.tally.taken[None], live.tally.taken["one"]) == (5, 3)
        await LimitedRuns(pipe, "crowded", LIMITS).room_at("one", Rate(20, 60), 3)


async def test_ancestors_are_found_one_by_one(crowd: Any) -> None:
    child = await crowd.fetchval("SELECT id FROM task_runs WHERE parent_id IS NOT NULL LIMIT 1")
    async with explained(crowd) as pipe:
        assert await LimitedRuns(pipe, "crowded", LIMITS).live_ancestors([(0, child)]) == []
    assert pipe.pages() < 200


async def test_the_depth_of_a_queue_is_counted_no_further_than_its_limit_and_without_a_look_at_others(
    crowd: Any,
) -> None:
    async with explained(crowd) as pipe:
        assert (await depths(pipe, {"thronged": 400, "nobodys": 400}))["thronged"] == 10 + 401
    indexes = {node.get("Index Name") for node in pipe.nodes()}
    assert indexes == {"task_runs_claimable", "task_runs_held_back"}
    assert pipe.pages() < 1000


async def test_a_hundred_thousand_parked_runs_are_in_nobodys_way(crowd: Any) -> None:
    claimant = Claimant(*"ab", ("thronged",), ("crowded", "many-keys", "other"), {})  # type: ignore[arg-type]
    async with explained(crowd) as pipe:
        leases = Leases(pipe)
        assert len(await leases.due_next(claimant, "thronged", 20)) == 10
        assert len(await leases.longest_due(claimant, "thronged", -1.0, 20)) == 10
    assert pipe.pages() < 1000


async def test_the_check_on_plans_sees_a_walk_through_the_table(crowd: Any) -> None:
    with pytest.raises(AssertionError):
        async with explained(crowd) as pipe:
            await pipe.fetch("SELECT count(*) FROM task_runs WHERE input IS NULL")
