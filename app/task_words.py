"""What people ask lists of saved tasks for: health, everyday questions, and orders."""

from __future__ import annotations

from enum import StrEnum


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
