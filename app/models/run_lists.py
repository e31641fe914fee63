"""The indexes that lists of runs need: their orders and filters. Ids are UUIDv7, so that "by id" is "by creation"."""

from __future__ import annotations

from sqlalchemy import Index, text


def _by(column: str, name: str = "", where: str = "") -> Index:
    """An index of the runs by a column that never changes, or once, in which each version of a row has an entry.

    Each change of a run is a new version. Pages that are filled by half take the entries that follow; full ones are
    cleared and split over and over, and end up larger. So it is with the primary key (migration 0018).
    """
    return Index(
        f"task_runs_by_{name or column}",
        column,
        "id",
        postgresql_where=text(where or f"{column} IS NOT NULL"),
        postgresql_with={"fillfactor": 50},
    )


LISTED = (
    # The conditions of these two are always true. They keep the planner from them where a run is looked up by its id:
    # while the table is small, it finds all indexes that hold an id equally good (decision 0027).
    _by("definition_id", name="definition"),
    Index("task_runs_by_status", "status", "id", postgresql_where=text("status IS NOT NULL")),
    # What most runs share is not worth an entry at each change of a run: their list is the one of all runs.
    _by("queue", name="other_queue", where="queue <> 'default'"),
    _by("priority", name="other_priority", where="priority <> 0"),
    _by("started_at", name="start"),
    Index("task_runs_by_finish", "finished_at", "id", postgresql_where=text("finished_at IS NOT NULL")),
    _by("parent_id", name="parent"),
    _by("task_id", name="task"),
    _by("group_name", name="group"),
    _by("owner"),
    _by("schedule_id", name="schedule"),
    _by("batch_id", name="batch"),
    Index("task_runs_with_error", "id", postgresql_where=text("error IS NOT NULL")),
    Index("task_runs_pinned", "id", postgresql_where=text("is_pinned")),
    Index("task_runs_by_tag", "tags", postgresql_using="gin", postgresql_where=text("tags <> '{}'")),
)
