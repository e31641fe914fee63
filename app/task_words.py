"""Saved tasks in the words of clients: health, everyday questions, orders, and what their fields are called."""

from __future__ import annotations

from enum import StrEnum

CALLED = {
    "definition_id": "definitionId",
    "group_name": "group",
    "is_enabled": "enabled",
    "timeout_seconds": "timeoutSeconds",
    "max_attempts": "maxAttempts",
    "entity_type": "entityType",
    "entity_id": "entityId",
    "entity_url": "entityUrl",
}
"""What clients call the columns of a task that are not named like their field."""


class TaskHealth(StrEnum):
    """How a saved task is."""

    OK = "OK"
    FAILING = "FAILING"
    NEVER_RUN = "NEVER_RUN"
    DISABLED = "DISABLED"


class TaskQuickFilter(StrEnum):
    """Questions that people ask of a list of tasks every day."""

    RUNNING = "RUNNING"
    FAILED_TODAY = "FAILED_TODAY"
    NEVER_RAN = "NEVER_RAN"
    MINE = "MINE"
    SLOW = "SLOW"


class TaskOrderField(StrEnum):
    """What tasks can be ordered by."""

    NAME = "NAME"
    CREATED_AT = "CREATED_AT"
    UPDATED_AT = "UPDATED_AT"
    LAST_RUN_AT = "LAST_RUN_AT"
    RELEVANCE = "RELEVANCE"
