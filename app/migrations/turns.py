"""Changes of a table that everybody uses: nobody is kept waiting behind one that has to wait itself."""

from __future__ import annotations

import time

from alembic import op
from sqlalchemy.exc import DBAPIError

TRIES = 60
PAUSE_SECONDS = 1.0
LOCK_NOT_AVAILABLE = "55P03"


def in_turns(statements: str) -> None:
    """Execute statements, each ended by a semicolon, in one transaction that waits two seconds at most for a lock.

    Somebody may read a table for long, as a backup does. Whoever came after us waits behind us, and is let through
    before the next try. To be called where Alembic commits by itself; raises ``DBAPIError`` after three minutes.
    """
    for left in reversed(range(TRIES)):
        try:
            op.execute(f"DO $$ BEGIN SET LOCAL lock_timeout = '2s'; {statements} END $$")
            break
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE or not left:
                raise
            time.sleep(PAUSE_SECONDS)
