"""The indexes that searches over runs need, and that a plain successful run is in none of."""

from __future__ import annotations

from sqlalchemy import Index, text

SLOW_SECONDS = 10
DURATION = "(finished_at - started_at)"
SLOW = f"{DURATION} >= interval '{SLOW_SECONDS} seconds'"

SEARCHED = (
    # Names of their own, once a run is final: an index of trigrams is dear, and a live run would write it three times.
    Index(
        "task_runs_by_own_name",
        "name",
        postgresql_using="gin",
        postgresql_ops={"name": "gin_trgm_ops"},
        postgresql_where=text("is_named AND finished_at IS NOT NULL"),
    ),
    Index("task_runs_live_named", "id", postgresql_where=text("is_named AND finished_at IS NULL")),
    Index("task_runs_slow", text(DURATION), "id", postgresql_where=text(SLOW)),
)
