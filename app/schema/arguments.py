"""Ids as the application takes them, refused by name when they cannot be read."""

from __future__ import annotations

from uuid import UUID

from app.errors import InvalidArgument
from app.ids import parse_id


def run_uuid(text: str, *path: str) -> UUID:
    """The UUID that names a run. Raises ``InvalidArgument`` for text that is none, since a query cannot mean it."""
    found = parse_id(text)
    if found is None:
        raise InvalidArgument(
            f"'{text[:100]}' is not the id of a run: a UUID, as in '0197c3a5-6f2e-7b6a-9a55-3f7b1d2c4e10'.", path=path
        )
    return found


def given_id(text: str, *path: str) -> UUID:
    """The UUID that a client's text names. Raises ``InvalidArgument`` for text that is none."""
    found = parse_id(text)
    if found is None:
        raise InvalidArgument(
            f"'{text[:100]}' is no id: a UUID, as in '0197c3a5-6f2e-7b6a-9a55-3f7b1d2c4e10'.", path=path
        )
    return found
