"""Ids: runs are UUIDv7 (ordered by time of creation), definitions are kebab-case slugs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import uuid_utils
from asyncpg.pgproto import pgproto

SLUG = re.compile(r"^[a-z0-9]+(?:-[a-z0-9]+)*$")
MAX_SLUG_LENGTH = 100


def new_id(at: datetime | None = None) -> UUID:
    """A fresh UUIDv7 (RFC 9562): ids made later compare greater, to the millisecond.

    ``at`` is the time that it tells, where that is not this machine's.
    """
    if at is not None:
        since = at - datetime(1970, 1, 1, tzinfo=UTC)
        nanoseconds = (since // timedelta(microseconds=1)) * 1000
        return pgproto.UUID(uuid_utils.uuid7(nanoseconds=nanoseconds).bytes)
    # The driver's own kind of UUID, which is what rows come with: made, written and compared several times as fast.
    return pgproto.UUID(uuid_utils.uuid7().bytes)


def parse_id(text: str) -> UUID | None:
    """The UUID a client's text names, or None when the text is not a UUID in its usual 36-character form."""
    if len(text) != 36:
        return None
    try:
        return UUID(text)
    except ValueError:
        return None


def is_slug(text: str) -> bool:
    """Whether the text is a kebab-case slug of at most 100 characters, as in ``checksum-tree``."""
    return len(text) <= MAX_SLUG_LENGTH and SLUG.match(text) is not None
