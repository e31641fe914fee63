"""``taskloom audit``: who changed what of the configuration, and who acted on many runs or tasks at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import arguments
from app.cli.asking import asked
from app.cli.pages import After, Limit, say_more
from app.cli.terminal import note, out, print_json
from app.cli.triggering import Json

if TYPE_CHECKING:
    from app.models import AuditEvent
    from app.paging import Page


def audit(
    principal: Annotated[
        list[str] | None,
        typer.Option(
            callback=arguments.principals, help="Only what this principal did, as in USER:ada, once for each."
        ),
    ] = None,
    action: Annotated[
        list[str] | None, typer.Option(help="Only this action, as in stopAllTasks, once for each.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Only what was done to the thing of this id.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only events from then on, as in 2026-03-01T09:30Z; local time without offset.")
    ] = None,
    limit: Limit = 20,
    after: After = None,
    json: Json = False,
) -> None:
    """List who changed what, the newest first."""
    from app.audit import AuditFilter
    from app.conditions import DateTimeRange
    from app.paging import PageArgs

    start = arguments.moment(since, "--since")
    filter = AuditFilter(
        principals=principal or None,
        actions=action or None,
        subject_id=subject,
        at=None if start is None else DateTimeRange(gte=start),
    )
    page = asked(lambda tasks: tasks.audit.list(filter, PageArgs(first=limit, after=after)))
    if json:
        from app.cli.documents import page_document

        print_json(page_document(page, _document))
    else:
        _show(page)


def _show(page: Page[AuditEvent]) -> None:
    from app.cli.listings import fitted, plain_table
    from app.cli.words import local_time, visible

    if not page.items:
        note("No events fit.")
        return
    table = plain_table("WHEN", "WHO", "ACTION", "KIND", "ID")
    for event in page.items:
        subject = visible(event.subject_id or "")
        table.add_row(local_time(event.at), visible(event.principal), event.action, event.subject_kind, subject)
    out.print(fitted(table, out.width, 110, "KIND"))
    say_more(page)


def _document(event: AuditEvent) -> dict[str, Any]:
    """An event as JSON, with the names that GraphQL has for its fields."""
    from app.cli.documents import principal_document, time_text

    return {
        "id": str(event.id),
        "at": time_text(event.at),
        "principal": principal_document(event.principal),
        "action": event.action,
        "subjectKind": event.subject_kind,
        "subjectId": event.subject_id,
        "details": event.details,
    }
