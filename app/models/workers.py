"""The workers' own rows."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, Uuid, text
from sqlmodel import Field, SQLModel

from app.models.columns import tags_column, text_column, time_column


class Worker(SQLModel, table=True):
    """One worker process and its lease: all runs that it holds live and die with ``lease_expires_at``."""

    __tablename__ = "workers"  # pyright: ignore[reportAssignmentType]

    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    host: str = Field(sa_column=text_column())
    pid: int
    queues: list[str] = Field(sa_column=tags_column())
    definition_ids: list[str] = Field(sa_column=tags_column())
    capacity: int
    running: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    is_draining: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    started_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
    last_seen_at: datetime = Field(sa_column=time_column(nullable=False, default=True))
    lease_expires_at: datetime = Field(sa_column=time_column(nullable=False))
