"""The enums of saved tasks, with a description for every value."""

from __future__ import annotations

from app.models import SavedSearchKind
from app.registry import Triggers
from app.schema.vocabulary import describe
from app.service.saved_writing import TaskChange
from app.task_words import CALLED, TaskHealth, TaskOrderField, TaskQuickFilter

__all__ = ["CALLED", "SavedSearchKind", "TaskChange", "TaskHealth", "TaskOrderField", "TaskQuickFilter", "Triggers"]

describe(
    TaskHealth,
    "How a saved task is.",
    {
        "OK": "Its last run that tells something succeeded, or none has told anything yet; an abort tells nothing.",
        "FAILING": "Its last run that tells something failed, was lost or expired.",
        "NEVER_RUN": "It has never been executed.",
        "DISABLED": "It is disabled.",
    },
)
describe(
    TaskQuickFilter,
    "Questions that people ask of a list of tasks every day.",
    {
        "RUNNING": "A worker executes a run of it at this moment.",
        "FAILED_TODAY": "A run of it failed, was lost or expired since midnight in `timeZone`.",
        "NEVER_RAN": "It has never been executed.",
        "MINE": "Whoever asks owns it.",
        "SLOW": "Its last successful run took more than twice as long as the twenty before on average, and at least "
        "a second longer.",
    },
)
describe(
    TaskOrderField,
    "What a list of tasks can be ordered by.",
    {
        "NAME": "Their names.",
        "CREATED_AT": "When they were created.",
        "UPDATED_AT": "When they were last changed.",
        "LAST_RUN_AT": "When their last run was triggered; tasks that never ran are left out.",
        "RELEVANCE": "How well they fit `search`; only together with it.",
    },
)
describe(
    TaskChange,
    "What made a revision of a task.",
    {
        "CREATED": "The task was created.",
        "UPDATED": "Its fields were changed.",
        "ENABLED": "It was enabled.",
        "DISABLED": "It was disabled.",
        "DUPLICATED": "It was made as a copy of another task.",
        "RESTORED": "It was made again what it had been at an earlier version.",
        "DELETED": "It was deleted.",
        "IMPORTED": "An import made it, or replaced what it was.",
    },
)
describe(
    Triggers,
    "What a definition is meant to be triggered by.",
    {
        "ON_DEMAND": "By people and programs.",
        "SCHEDULED": "By schedules alone; a task of it is executed by hand only by force.",
        "BOTH": "By both.",
    },
    name="TaskTriggers",
)
describe(
    SavedSearchKind,
    "What a saved search looks for.",
    {"TASKS": "Saved tasks: its filter is a `TaskFilter`.", "RUNS": "Runs: its filter is a `TaskRunFilter`."},
)
