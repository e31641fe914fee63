"""The version of the tables: the one that this code needs, and the one that the database has.

Without Alembic, which takes megabytes and is for ``taskloom migrate`` alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import asyncpg

from app.db import Database, OldTables, Pipe

_MIGRATIONS = Path(__file__).parent / "migrations" / "versions"


def newest() -> str:
    """The newest version in the code: each migration is a file whose name begins with its version."""
    return max(path.name for path in _MIGRATIONS.glob("[0-9]*_*.py")).partition("_")[0]


async def current(pipe: Pipe) -> str | None:
    """The version that the database has; None when no migration ever ran there."""
    try:
        return cast("str | None", await pipe.fetchval("SELECT version_num FROM alembic_version"))
    except asyncpg.UndefinedTableError:
        return None


async def check(db: Database) -> None:
    """Raise ``OldTables`` when the database has an older version than this code.

    A newer one is fine: in a deploy the tables come first, and processes of the old version work until replaced.
    """
    async with db.autocommit(by_keys=True) as pipe:
        version = await current(pipe)
    if version is None or version < newest():
        raise OldTables
