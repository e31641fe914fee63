"""Which errors say that the database is away."""

from __future__ import annotations

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from app.db import is_disconnect


@pytest.mark.parametrize(
    ("cause", "is_away"),
    [
        (asyncpg.CannotConnectNowError("the database system is shutting down"), True),
        (asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"), True),
        (asyncpg.UniqueViolationError("duplicate key"), False),
    ],
)
def test_what_sqlalchemy_does_not_know_for_a_lost_connection_is_one_all_the_same(
    cause: Exception, is_away: bool
) -> None:
    translated = Exception(str(cause))
    translated.__cause__ = cause
    assert is_disconnect(DBAPIError("SELECT 1", None, translated)) is is_away
