"""The audit: who did what to the configuration, or to many runs or tasks at once."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import strawberry
from strawberry import UNSET
from strawberry.scalars import JSON

from app import audit
from app.schema.connections import After, Before, Connection, First, Last, Total, connection, given, page_args
from app.schema.context import Info
from app.schema.filters import DateTimeRange, values_of
from app.schema.principals import Principal, principal_of


@strawberry.type(description="One thing that somebody did.")
class AuditEvent:
    """A deed as clients see it."""

    id: UUID = strawberry.field(graphql_type=strawberry.ID, description="The id of the event.")
    at: datetime = strawberry.field(description="When it was done.")
    principal: Principal = strawberry.field(description="Who did it.")
    action: str = strawberry.field(description="What was done, by the name of the mutation, as in `stopAllTasks`.")
    subject_kind: str = strawberry.field(description="What sort of thing it was done to, as in `bulk action`.")
    subject_id: strawberry.ID | None = strawberry.field(description="To which one; null for the whole system.")
    details: JSON | None = strawberry.field(description="What helps to understand it later.")

    @classmethod
    def of(cls, row: Any) -> AuditEvent:
        """The event from its row."""
        return cls(
            id=row.id,
            at=row.at,
            principal=principal_of(row.principal),
            action=row.action,
            subject_kind=row.subject_kind,
            subject_id=row.subject_id,
            details=row.details,
        )


@strawberry.input(description="Which events fit; everything given must hold, and a list means any of its values.")
class AuditEventFilter:
    """A condition on events."""

    principals: list[str] | None = strawberry.field(
        default=UNSET, description="Done by any of these, each written `KIND:id` as in `USER:ada`."
    )
    actions: list[str] | None = strawberry.field(default=UNSET, description="Any of these actions.")
    subject_kind: str | None = strawberry.field(default=UNSET, description="Done to this sort of thing.")
    subject_id: strawberry.ID | None = strawberry.field(default=UNSET, description="Done to the one of this id.")
    at: DateTimeRange | None = strawberry.field(default=UNSET, description="Done within this range.")


def audit_filter(source: AuditEventFilter | None) -> audit.AuditFilter:
    """The application's filter of events."""
    return audit.AuditFilter(**(values_of(source) if given(source) else {}))


@strawberry.type
class AuditQueries:
    """What can be read of the audit."""

    @strawberry.field(
        description="What was done to the configuration, and to many runs or tasks at once, the newest first."
    )
    async def audit_events(
        self,
        info: Info,
        filter: Annotated[AuditEventFilter | None, strawberry.argument(description="Only events that fit.")] = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[AuditEvent]:
        """A page of events."""
        events, chosen = info.context.service.audit, audit_filter(filter)
        page = await events.list(chosen, page_args(first, after, last, before))
        total = Total(partial(events.count, chosen), info.context.loaders.counts.limit)
        return connection(page, AuditEvent.of, total)
