"""Saved tasks and their revisions as JSON, with the names that GraphQL has for their fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.cli.documents import Document, time_text
from app.task_words import CALLED

if TYPE_CHECKING:
    from app.models import Task, TaskRevision


def task_document(task: Task) -> Document:
    """A task."""
    from app.task_filters import health_of

    row: Any = task
    return {
        "id": str(task.id),
        "name": task.name,
        "description": task.description,
        "definitionId": task.definition_id,
        "input": task.input,
        "tags": task.tags,
        "group": task.group_name,
        "owner": task.owner,
        "enabled": task.is_enabled,
        "priority": task.priority,
        "queue": task.queue,
        "timeoutSeconds": task.timeout_seconds,
        "maxAttempts": task.max_attempts,
        "entityType": task.entity_type,
        "entityId": task.entity_id,
        "entityUrl": task.entity_url,
        "health": str(health_of(task)),
        "lastStatus": row.last_status,
        "lastRunAt": time_text(row.last_run_at),
        "version": task.version,
        "createdAt": time_text(task.created_at),
        "createdBy": task.created_by,
        "updatedAt": time_text(task.updated_at),
        "updatedBy": task.updated_by,
    }


def revision_document(revision: TaskRevision, earlier: TaskRevision | None) -> Document:
    """A revision with what is different from the one before, which may be None for the first."""
    from app.service.saved_reading import differences

    changes = differences(earlier.fields if earlier else None, revision.fields)
    return {
        "version": revision.version,
        "change": revision.change,
        "changedAt": time_text(revision.changed_at),
        "changedBy": revision.changed_by,
        "changes": [
            {"field": CALLED.get(each.field, each.field), "before": each.before, "after": each.after}
            for each in changes
        ],
    }
