"""Rows as JSON documents for programs; their keys are those of the GraphQL schema."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic.alias_generators import to_camel

from app import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.logs import IterationRow
    from app.models import TaskDefinition, TaskLog, TaskRun
    from app.paging import Page

Document = dict[str, Any]


def time_text(value: datetime | None) -> str | None:
    """A point in time as the API gives it."""
    return value and clock.text_of(value)


def run_document(run: TaskRun) -> Document:
    """A run."""
    return {
        "id": str(run.id),
        "definitionId": run.definition_id,
        "name": run.name,
        "status": run.status,
        "statusReason": run.status_reason,
        "statusChangedAt": time_text(run.status_changed_at),
        "input": run.input,
        "output": run.output,
        "error": error_document(run.error),
        "errorGroup": {"id": run.error_group} if run.error_group else None,
        "progress": _progress(run),
        "queue": run.queue,
        "priority": run.priority,
        "tags": run.tags,
        "iteration": run.iteration,
        "maxIterations": run.max_iterations,
        "attempt": run.attempt,
        "maxAttempts": run.max_attempts,
        "interruptions": run.interruptions,
        "timeoutSeconds": run.timeout_seconds,
        "createdAt": time_text(run.created_at),
        "startAt": time_text(run.start_at),
        "expiresAt": time_text(run.expires_at),
        "startedAt": time_text(run.started_at),
        "finishedAt": time_text(run.finished_at),
        "durationMs": duration_ms(run),
        "createdBy": principal_document(run.created_by),
        "idempotencyKey": run.idempotency_key,
        "uniqueKey": run.unique_key,
        "limitKey": run.limit_key or None,
        "worker": run.worker,
        "abort": _abort(run),
        "logCounts": {
            "debug": run.log_debug,
            "info": run.log_info,
            "warning": run.log_warning,
            "error": run.log_error,
        },
        "isPinned": run.is_pinned,
        "parent": {"id": str(run.parent_id)} if run.parent_id else None,
        "rerunOf": {"id": str(run.rerun_of)} if run.rerun_of else None,
    }


def duration_ms(run: TaskRun) -> float | None:
    """The time from a run's first start to its end, or to now, in milliseconds; None before the start."""
    return clock.elapsed_ms(run.started_at, run.finished_at)


def error_document(stored: Document | None) -> Document | None:
    """An error of a run or of one of its attempts."""
    return stored and {key: stored.get(key) for key in ("type", "message", "traceback")}


def _progress(run: TaskRun) -> Document | None:
    stored = run.progress
    if stored is None:
        return None
    updated_at = stored.get("updated_at")
    reported = datetime.fromisoformat(updated_at) if updated_at else run.status_changed_at
    return {
        **{key: stored.get(key) for key in ("current", "total", "percent", "message")},
        "updatedAt": time_text(reported),
    }


def _abort(run: TaskRun) -> Document | None:
    if run.abort_requested_at is None:
        return None
    return {
        "requestedAt": time_text(run.abort_requested_at),
        "requestedBy": principal_document(run.abort_requested_by or ""),
        "message": run.abort_message,
        "isForced": run.abort_forced,
    }


def principal_document(text: str) -> Document:
    """A principal, from what is stored of one."""
    from app.auth import Principal

    principal = Principal.parse(text)
    return {"id": principal.id, "kind": principal.kind, "name": principal.name}


def log_document(line: TaskLog) -> Document:
    """A line of a run's log."""
    return {
        "runId": str(line.run_id),
        "sequence": line.sequence,
        "iteration": line.iteration,
        "attempt": line.attempt,
        "level": line.level,
        "message": line.message,
        "data": line.data,
        "createdAt": time_text(line.created_at),
    }


def iteration_document(row: IterationRow) -> Document:
    """One attempt at one iteration."""
    return {
        "number": row.number,
        "attempt": row.attempt,
        "worker": row.worker,
        "startedAt": time_text(row.started_at),
        "finishedAt": time_text(row.finished_at),
        "outcome": row.outcome,
        "error": error_document(row.error),
    }


def definition_document(row: TaskDefinition, *, available: bool) -> Document:
    """A task definition."""
    return {
        "id": row.id,
        "title": row.title,
        "description": row.description,
        "inputSchema": row.input_schema,
        "outputSchema": row.output_schema,
        "version": row.version,
        "queue": row.queue,
        "priority": row.priority,
        "tags": row.tags,
        "maxIterations": row.max_iterations,
        "maxAttempts": row.max_attempts,
        "timeoutSeconds": row.timeout_seconds,
        "limits": _limits(row.limits),
        "isAvailable": available,
    }


def _limits(published: Document | None) -> Document | None:
    """Limits as they are published, in the words of the schema."""
    return published and {to_camel(name): value for name, value in published.items()}


def page_document(page: Page[Any], document_of: Callable[[Any], Document]) -> Document:
    """A page of a list, as a GraphQL connection without its edges."""
    return {
        "nodes": [document_of(item) for item in page.items],
        "pageInfo": {
            "hasNextPage": page.has_next,
            "hasPreviousPage": page.has_previous,
            "startCursor": page.cursors[0] if page.cursors else None,
            "endCursor": page.cursors[-1] if page.cursors else None,
        },
    }
