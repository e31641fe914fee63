"""The SQL of unique keys that pass from one run to another."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from app.db import Pipe, Row
from app.lease_statements import by_id
from app.models import statuses
from app.states import FINAL

LOCK_CLASS = 7_461_912
"""The first half of the advisory locks on unique keys; any number that nothing else on the database uses will do."""

# In one order, so that two batches that share keys wait instead of deadlocking.
_LOCK = """
    SELECT pg_advisory_xact_lock($1, number) FROM (
        SELECT DISTINCT hashtext(k.definition_id || '/' || k.key) AS number
        FROM unnest($2::text[], $3::text[]) AS k(definition_id, key) ORDER BY number) AS numbers"""
_HOLDERS = f"""
    SELECT k.n, r.id, r.status, r.wait_for FROM unnest($1::int[], $2::text[], $3::text[]) AS k(n, definition_id, key)
    JOIN task_runs r ON r.definition_id = k.definition_id AND r.unique_key = k.key
        AND r.status NOT IN {statuses(FINAL)}
    ORDER BY r.id FOR UPDATE OF r"""
_GIVE_AWAY = "UPDATE task_runs SET unique_key = NULL WHERE id = ANY($1::uuid[])"


def give_back(ended: str) -> str:
    """The part of a statement that lets runs which are still being aborted hold their unique keys again.

    ``ended`` names the rows, with ``unique_key`` and ``wait_for``, of runs that ended before they could replace them:
    without the key, the next run would be executed beside the one that has not stopped yet.
    """
    return f"""
        UPDATE task_runs r SET unique_key = e.unique_key FROM {ended} e CROSS JOIN unnest(e.wait_for) AS replaced(id)
        WHERE {by_id("replaced.id")} AND r.status = 'ABORTING' AND e.unique_key IS NOT NULL"""


async def lock(pipe: Pipe, keys: Sequence[tuple[int, str, str]]) -> None:
    """Let nobody else replace the holders of these keys, as ``(n, definition id, key)``, before the commit."""
    await pipe.execute(_LOCK, LOCK_CLASS, [key[1] for key in keys], [key[2] for key in keys])


async def lock_holders(pipe: Pipe, keys: Sequence[tuple[int, str, str]]) -> list[Row]:
    """Lock the live runs ``(n, id, status, wait_for)`` that hold these keys, given as ``(n, definition id, key)``."""
    return await pipe.fetch(_HOLDERS, *zip(*keys, strict=True))


async def give_away(pipe: Pipe, run_ids: Sequence[UUID]) -> None:
    """Let runs that are being aborted hold their unique keys no more."""
    await pipe.execute(_GIVE_AWAY, run_ids)
