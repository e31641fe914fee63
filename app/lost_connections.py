"""Connections of SQLAlchemy's pool that are gone: replaced when they are taken from it, before anybody meets an error.

That a connection has ended is told by the driver, which hears of it at once. SQLAlchemy's own ``pool_pre_ping`` asks
PostgreSQL before each use instead, which takes as long as many a statement.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine

QUIET_SECONDS = 5.0
"""After so long without use PostgreSQL is asked all the same: a firewall or a failover may end a connection and say
nothing."""
_USED_AT = "taskloom.used_at"


def replace_lost_connections(engine: AsyncEngine) -> None:
    """Have the engine's pool open a connection anew instead of giving out one that is gone."""
    event.listen(engine.sync_engine, "checkin", _note_use)
    event.listen(engine.sync_engine, "checkout", _require_presence)


def _note_use(_connection: Any, record: Any) -> None:
    record.info[_USED_AT] = time.monotonic()


def _require_presence(connection: Any, record: Any, _fairy: Any) -> None:
    """Raise ``DisconnectionError``, which has the pool open another one, where the connection is gone."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError
    if _USED_AT in record.info and time.monotonic() - record.info[_USED_AT] >= QUIET_SECONDS:
        try:
            connection.ping()
        except Exception as error:
            raise DisconnectionError from error
