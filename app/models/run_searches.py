"""The indexes that searches over runs need, and that a plain successful run is in none of."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import Index, literal_column, text

from app.models.columns import statuses
from app.states import FAILURES

SLOW_SECONDS = 10
DURATION = "(finished_at - started_at)"
LASTED = f"extract(epoch FROM {DURATION})::float8 AS lasted"
"""How long a run took from its first start to its end, in seconds; NULL unless it had both."""
SLOW = f"{DURATION} >= interval '{SLOW_SECONDS} seconds'"
GROUPED = "error_group IS NOT NULL"
UNGROUPED = f"error_group IS NULL AND status IN {statuses(FAILURES)}"
# As PostgreSQL writes it back, so that the migrations can be compared with it.
ERROR_TEXT = """"left"(((error ->> 'type'::text) || ': '::text) || (error ->> 'message'::text), 500)"""
"""What is searched of an error."""

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
    Index("task_runs_by_origin", "rerun_of", "id", postgresql_where=text("rerun_of IS NOT NULL")),
    # Failures: those that have no group yet, and then, written by housekeeping and not by who settles, all others.
    Index("task_runs_ungrouped", "id", postgresql_where=text(UNGROUPED)),
    Index("task_runs_by_error_group", "error_group", "id", postgresql_where=text(GROUPED)),
    Index(
        "task_runs_by_error_text",
        cast(Any, literal_column(ERROR_TEXT)).label("error_text"),
        postgresql_using="gin",
        postgresql_ops={"error_text": "gin_trgm_ops"},
        postgresql_where=text(GROUPED),
    ),
    Index("task_runs_slow", text(DURATION), "id", postgresql_where=text(SLOW)),
)
