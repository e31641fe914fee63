"""Statements that are planned once look up each run by its primary key, however empty the tables are at that time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from app import runs, states
from app.db import Database
from app.ids import new_id
from app.leases import Claimant, Leases, Write
from app.runs import INSERTED
from tests.service.test_limit_plans import below

HERE = Claimant(new_id(), "here", ("default",), ("some", "others"))
WRITES = [Write(new_id(), 1, 0), Write(new_id(), 1, 0, move=states.succeed("null"))]
ROW = dict.fromkeys(INSERTED) | {"id": new_id(), "priority": 0, "is_named": False, "created_at": datetime.now(UTC)}


class Heard:
    """Stands for a connection, and hears what would be asked."""

    def __init__(self) -> None:
        self.query = ""
        self.number = 0

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        self.query, self.number = query, len(arguments)
        return []


async def claim(pipe: Any) -> None:
    await Leases(pipe).claim_rung(HERE, [new_id()], [0])


async def save(pipe: Any) -> None:
    await Leases(pipe).save(HERE.owner, WRITES[:1])


async def settle(pipe: Any) -> None:
    await Leases(pipe).settle(HERE.owner, WRITES[1:], 5)


async def trigger(pipe: Any) -> None:
    await runs.insert(pipe, [tuple(ROW.values())])


async def trigger_children(pipe: Any) -> None:
    await runs.insert(pipe, [tuple((ROW | {"parent_id": new_id()}).values())])


@pytest.mark.parametrize("ask", [claim, save, settle, trigger, trigger_children])
async def test_a_plan_that_is_made_once_finds_runs_by_their_primary_key(
    migrated_database_url: str, ask: Callable[[Any], Awaitable[None]]
) -> None:
    heard = Heard()
    await ask(heard)
    db = Database(migrated_database_url, pool_size=1)
    try:
        async with db.autocommit(by_key=True) as pipe:
            await pipe.execute(f"PREPARE kept AS {heard.query}")
            nothing = ", ".join(["NULL"] * heard.number)
            plan = await pipe.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE kept({nothing})")
    finally:
        await db.close()
    nodes = below(json.loads(plan)[0]["Plan"])
    reads = [node for node in nodes if node.get("Relation Name") == "task_runs" and "Scan" in node["Node Type"]]
    assert {node["Node Type"] for node in nodes}.isdisjoint({"Hash Join", "Merge Join", "Seq Scan"})
    assert all(node["Index Name"] == "task_runs_pkey" and "id = " in node.get("Index Cond", "") for node in reads)
    assert bool(reads) == (ask is not trigger)
