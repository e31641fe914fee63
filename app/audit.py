"""All SQL on what people did: written in the transaction that did it, so that neither is there without the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, insert, literal, select

from app.conditions import DateTimeRange, any_of, by_id, storable, time_condition
from app.db import Pipe, ReadSession, WriteSession, json_text
from app.ids import new_id
from app.models import AuditEvent
from app.paging import Keyset, Window
from app.rows import objects
from app.windows import count_up_to, windowed

TABLE = AuditEvent.metadata.tables["audit_events"]
BY_TIME = Keyset("audit events", (UUID,))

_INSERT = """
    INSERT INTO audit_events (id, principal, action, subject_kind, subject_id, details)
    VALUES ($1, $2, $3, $4, $5, $6::jsonb)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What somebody did.

    Args:
        principal: who, as ``KIND:id``.
        action: what, by the name of the mutation, as in ``"stopAllTasks"``.
        subject_kind: what sort of thing it was done to, as in ``"task"``, ``"run"``, ``"bulk action"``.
        subject_id: to which one; None for the whole system.
        details: what a reader needs to understand it later; JSON, without secrets.
    """

    principal: str
    action: str
    subject_kind: str
    subject_id: UUID | str | None = None
    details: Mapping[str, Any] | None = None


async def record(pipe: Pipe, deed: Deed) -> None:
    """Write down what was done, in the transaction of a pipe."""
    values = values_of(deed)
    if deed.details is not None:
        values["details"] = json_text(values["details"])
    await pipe.execute(_INSERT, *values.values())


async def record_in(session: WriteSession, deed: Deed) -> None:
    """Write down what was done, in the transaction of a session."""
    await cast(Any, session).exec(insert(TABLE).values(values_of(deed)))


def values_of(deed: Deed) -> dict[str, Any]:
    """The columns of a deed, with an id of its own."""
    return {
        "id": new_id(),
        "principal": deed.principal,
        "action": deed.action,
        "subject_kind": deed.subject_kind,
        "subject_id": None if deed.subject_id is None else str(deed.subject_id),
        "details": None if deed.details is None else dict(deed.details),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which deeds a list shows; everything given must hold, a list means "any of"."""

    principals: Sequence[str] | None = None
    actions: Sequence[str] | None = None
    subject_kind: str | None = None
    subject_id: str | None = None
    at: DateTimeRange | None = None


class AuditEvents:
    """Reads what was done, in one session."""

    def __init__(self, session: ReadSession) -> None:
        self._session = cast(Any, session)

    async def read(self, filter: AuditFilter, window: Window) -> list[AuditEvent]:
        """Up to one row more than the window, the newest first."""
        statement = windowed(select(TABLE).where(*_conditions(filter)), [TABLE.c.id], window, ascending=False)
        return objects(AuditEvent, await self._session.exec(statement))

    async def count(self, filter: AuditFilter, limit: int) -> int:
        """How many there are, counted no further than ``limit`` + 1."""
        found = select(literal(1)).select_from(TABLE).where(*_conditions(filter))
        return await count_up_to(self._session, found, limit)


def _conditions(filter: AuditFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if filter.principals is not None:
        found.append(any_of(TABLE.c.principal, filter.principals, "principals"))
    if filter.actions is not None:
        found.append(any_of(TABLE.c.action, filter.actions, "actions"))
    if filter.subject_kind is not None:
        found.append(TABLE.c.subject_kind == storable(filter.subject_kind))
    if filter.subject_id is not None:
        found.append(TABLE.c.subject_id == storable(filter.subject_id))
    if filter.at is not None:
        found += [*time_condition(TABLE.c.at, filter.at, "at"), *by_id(TABLE.c.id, filter.at, "at")]
    return found
