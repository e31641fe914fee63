"""The worker process of the chaos run: the product's own, with its fencing taken off where the test asks for it."""

from __future__ import annotations

import logging
import os

from app import lease_statements, lifecycle
from app.settings import get_settings
from workers.main import run_worker

NO_FENCING = "TASKLOOM_CHAOS_NO_FENCING"
GUARD = "r.claim_no = o.claim_no AND r.write_no = o.write_no AND r.lease_owner = $1 AND"
DISOWNED_SECONDS = 8.0


def drop_fencing() -> None:
    """Let this process write about runs that it does not hold any more: the checker has to find that."""
    for name in ("SAVE", "SETTLE"):
        statement = getattr(lease_statements, name)
        assert GUARD in statement, f"{name} is fenced by other words now"
        setattr(lease_statements, name, statement.replace(GUARD, "$1::uuid IS NOT NULL AND"))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(levelname)s %(message)s")
    lifecycle.DISOWNED_SECONDS = DISOWNED_SECONDS
    if os.environ.get(NO_FENCING):
        drop_fencing()
    run_worker(get_settings())
