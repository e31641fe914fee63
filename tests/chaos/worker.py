"""The worker process of the chaos run: the product's own, with a part of it taken off where the test asks for it."""

from __future__ import annotations

import logging
import os

from app import lease_statements, lifecycle
from app.settings import get_settings
from workers.main import run_worker

WITHOUT = "TASKLOOM_CHAOS_WITHOUT"
"""Names the parts to take off, divided by commas."""
GUARD = "r.claim_no = o.claim_no AND r.write_no = o.write_no AND r.lease_owner = $1 AND"
CLOSED = "to_error::jsonb\n    FROM moved"
DISOWNED_SECONDS = 8.0


def drop_fencing() -> None:
    """Let this process write about runs that it does not hold any more: the checker has to find that."""
    for name in ("SAVE", "SETTLE"):
        _replace(name, GUARD, "$1::uuid IS NOT NULL AND")


def drop_attempts() -> None:
    """Let this process settle runs without a word about the attempt: the checker has to find that in every run."""
    _replace("SETTLE", CLOSED, f"{CLOSED} WHERE false")


def _replace(name: str, part: str, by: str) -> None:
    statement = getattr(lease_statements, name)
    assert part in statement, f"{name} says this by other words now: {part}"
    setattr(lease_statements, name, statement.replace(part, by))


PARTS = {"fencing": drop_fencing, "attempts": drop_attempts}

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(levelname)s %(message)s")
    lifecycle.DISOWNED_SECONDS = DISOWNED_SECONDS
    for part in filter(None, os.environ.get(WITHOUT, "").split(",")):
        PARTS[part]()
    run_worker(get_settings())
