"""Ids: runs are UUIDv7 (ordered by time of creation), definitions are kebab-case slugs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import uuid_utils
from asyncpg.pgproto import pgproto

SLUG = re.compile(r"^[a-z0-9]+(?:-[a-z0-9]+)*$")
MAX_SLUG_LENGTH = 100
_MILLISECOND = timedelta(milliseconds=1)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_BELOW_TIME = 80
"""How many bits of a UUIDv7 come below its time, which is in milliseconds."""


def new_id(correction: timedelta = timedelta()) -> UUID:
    """A fresh UUIDv7 (RFC 9562): ids made later by the same process compare greater.

    ``correction`` is what has to be added to this machine's time, where that is wrong.
    """
    id = uuid_utils.uuid7()
    if correction:
        id = uuid_utils.UUID(int=id.int + (correction // _MILLISECOND << _BELOW_TIME))
    # The driver's own kind of UUID, which is what rows come with: made, written and compared several times as fast.
    return pgproto.UUID(id.bytes)


def first_id(moment: datetime, slack: timedelta = timedelta(0)) -> UUID:
    """The lowest UUIDv7 that could be made at a time."""
    milliseconds = (moment - _BEGINNING + slack) // _MILLISECOND
    return UUID(int=min(max(milliseconds, 0), 2**48 - 1) << _BELOW_TIME)


def parse_id(text: UUID | str) -> UUID | None:
    """The UUID a client's text names, or None when it is neither one nor a text in its usual 36-character form."""
    if isinstance(text, UUID):
        return text
    if not isinstance(text, str) or len(text) != 36:  # pyright: ignore[reportUnnecessaryIsInstance]
        return None
    try:
        return UUID(text)
    except ValueError:
        return None


def is_slug(text: str) -> bool:
    """Whether the text is a kebab-case slug of at most 100 characters, as in ``checksum-tree``."""
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        return False
    return len(text) <= MAX_SLUG_LENGTH and SLUG.match(text) is not None
