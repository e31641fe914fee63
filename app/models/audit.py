"""The table of what people did: changes of the configuration, and actions on many runs or tasks at once."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, Index, Uuid
from sqlmodel import Field, SQLModel

from app.models.columns import Json, json_column, text_column, time_column


class AuditEvent(SQLModel, table=True):
    """One thing that a principal did: an action, as in ``stopAllTasks``, on a subject, as in a task of an id.

    Ids are UUIDv7, so that "by id" is "by time". ``details`` says what a reader needs to understand it later.
    """

    __tablename__ = "audit_events"  # pyright: ignore[reportAssignmentType]
    __table_args__ = (
        Index("audit_events_by_principal", "principal", "id"),
        Index("audit_events_by_action", "action", "id"),
        Index("audit_events_by_subject", "subject_kind", "subject_id", "id"),
    )

    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    at: datetime = Field(sa_column=time_column(nullable=False, default=True))
    principal: str = Field(sa_column=text_column())
    action: str = Field(sa_column=text_column())
    subject_kind: str = Field(sa_column=text_column())
    subject_id: str | None = Field(default=None, sa_column=text_column(nullable=True))
    details: Json | None = Field(default=None, sa_column=json_column())
