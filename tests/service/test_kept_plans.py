"""Plans that are made once: whatever was in the table at that moment, they look up each run by its primary key."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from app import runs, states
from app.db import Database
from app.leases import Claimant, Leases, Write
from tests.service.test_plans import SEED

CLAIMANT = Claimant(uuid4(), "host:1", ("default",), ("def-1", "def-2"))
CHILD = tuple(uuid4() if name == "parent_id" else None for name in runs.INSERTED)
RUN = (None,) * len(runs.INSERTED)
ASKED: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "claim": lambda pipe: Leases(pipe).claim_rung(CLAIMANT, [], []),
    "save": lambda pipe: Leases(pipe).save(CLAIMANT.owner, [Write(uuid4(), 1, 0, state="1")]),
    "settle": lambda pipe: Leases(pipe).settle(CLAIMANT.owner, [Write(uuid4(), 1, 0, move=states.succeed(None))], 3),
    "insert one": lambda pipe: runs.insert(pipe, [RUN]),
    "insert one that is new": lambda pipe: runs.insert(pipe, [RUN], are_new=True),
    "insert": lambda pipe: runs.insert(pipe, [RUN, RUN]),
    "insert new ones": lambda pipe: runs.insert(pipe, [RUN, RUN], are_new=True),
    "insert children": lambda pipe: runs.insert(pipe, [CHILD]),
}
LOOKUPS = {**{name: 0 for name in ASKED if name.startswith("insert")}, "insert children": 1}
ROWS = 20_000
SCENES = {
    "empty": ["TRUNCATE task_runs"],
    "empty and analysed": ["TRUNCATE task_runs", "ANALYZE task_runs"],
    "few rows": ["TRUNCATE task_runs", "LARGE", "DELETE FROM task_runs WHERE status <> 'RUNNING'", "ANALYZE task_runs"],
    "large": ["TRUNCATE task_runs", "LARGE", "ANALYZE task_runs"],
    "emptied": ["LARGE", "DELETE FROM task_runs", "VACUUM ANALYZE task_runs"],
}


class Preparing:
    """A connection that prepares what it is asked, and explains the plan that it keeps."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._numbers = count(1)
        self.plan = ""

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Explain a statement, for whatever arguments."""
        name = f"kept_{next(self._numbers)}"
        await self._connection.execute(f"PREPARE {name} AS {query}")
        nothing = ", ".join(["NULL"] * len(arguments))
        rows = await self._connection.fetch(f"EXPLAIN EXECUTE {name}({nothing})")
        self.plan = "\n".join(row[0] for row in rows)
        return []


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
async def test_what_every_run_needs_finds_it_by_its_primary_key(db: Database, scene: list[str]) -> None:
    async with db.autocommit() as pipe:
        for statement in scene:
            await pipe.execute(SEED.replace("ROWS", str(ROWS)) if statement == "LARGE" else statement)
    async with db.autocommit(by_keys=True) as pipe:
        preparing = Preparing(pipe)
        for name, asked in ASKED.items():
            await asked(preparing)
            scans = re.findall(r"^.*(?<!Update)(?<!Insert) on task_runs.*$", preparing.plan, re.MULTILINE)
            lookups = re.findall(
                r"Index Scan using task_runs_pkey on task_runs.*\n *Index Cond: \(id = ", preparing.plan
            )
            assert len(lookups) == len(scans) == LOOKUPS.get(name, 2), preparing.plan
