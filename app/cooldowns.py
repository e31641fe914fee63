"""All SQL on cooldowns: until when a definition, or one of its saved tasks, may not be triggered again."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from app.db import Pipe, Row

# In one order everywhere, so that two batches that share subjects wait for each other instead of deadlocking.
_TAKE = """
    INSERT INTO cooldowns (subject, until, run_id)
    SELECT subject, now() + make_interval(secs => seconds), run_id
    FROM unnest($1::text[], $2::float8[], $3::uuid[]) AS new(subject, seconds, run_id) ORDER BY subject
    ON CONFLICT (subject) DO UPDATE SET until = excluded.until, run_id = excluded.run_id
    WHERE cooldowns.until <= now()"""
_READ = "SELECT subject, until, run_id FROM cooldowns WHERE subject = ANY($1::text[])"
_GIVE_BACK = "DELETE FROM cooldowns WHERE run_id = ANY($1::uuid[])"


async def take(pipe: Pipe, asked: Sequence[tuple[str, float, UUID]]) -> list[Row]:
    """Begin cooldowns, given as subject, seconds and run, where none is active; returns how all of them stand.

    The rows are locked until the transaction ends, so that of two at once only one begins. The clock is the database's.
    """
    subjects, seconds, run_ids = zip(*asked, strict=True)
    await pipe.execute(_TAKE, subjects, seconds, run_ids)
    return await pipe.fetch(_READ, subjects)


async def give_back(pipe: Pipe, run_ids: Sequence[UUID]) -> None:
    """Take back what was begun for runs that were not stored after all."""
    await pipe.execute(_GIVE_BACK, run_ids)
