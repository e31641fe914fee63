"""The table of retention rules: for how long finished runs, and what they wrote, are kept."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Column, Double, String
from sqlmodel import Field, SQLModel

from app.models.columns import text_column, time_column


class RetentionRule(SQLModel, table=True):
    """How long finished runs are kept, in days; NULL is for ever. ``definition_id`` is ``*`` for the default.

    Logs and iterations go after ``succeeded_logs_days`` or, for every other final status, ``failed_logs_days``; the
    run itself after ``runs_days``. The newest ``keep_last`` runs of a definition, and of each task, are kept anyway.
    """

    __tablename__ = "retention_rules"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        CheckConstraint(
            "succeeded_logs_days >= 0 AND failed_logs_days >= 0 AND runs_days >= 0 AND keep_last >= 0",
            name="nothing_is_negative",
        ),
    )

    definition_id: str = Field(sa_column=Column(String(100), primary_key=True))
    succeeded_logs_days: float | None = Field(default=None, sa_column=Column(Double, nullable=True))
    failed_logs_days: float | None = Field(default=None, sa_column=Column(Double, nullable=True))
    runs_days: float | None = Field(default=None, sa_column=Column(Double, nullable=True))
    keep_last: int
    updated_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
    updated_by: str = Field(sa_column=text_column())
