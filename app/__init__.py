"""Taskloom: trigger, watch and abort background tasks written in Python.

``TaskService`` is the whole product without HTTP; the names below are loaded at their first use.
"""

from __future__ import annotations

import importlib

# And not from typing: to load that takes as long as Python needs to start, and no Ctrl-C can be kept back before.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from app.audit import AuditFilter
    from app.auth import Principal, PrincipalKind
    from app.conditions import DateTimeRange, FloatRange, StringFilter, TagFilter
    from app.definitions import DefinitionFilter
    from app.error_groups import ErrorGroupFilter, ErrorGroupOrder, ErrorGroupOrderField
    from app.errors import (
        BatchNotAbortable,
        BatchNotFound,
        BulkActionNotAbortable,
        BulkActionNotFound,
        CodeNotLoaded,
        ConfirmationRequired,
        ErrorGroupNotFound,
        FellBehind,
        IdempotencyConflict,
        InvalidArgument,
        InvalidTaskInput,
        LimitReached,
        ParentAborted,
        QueryTooSlow,
        QueueFull,
        ScheduleConflict,
        ScheduleNotFound,
        ServiceClosed,
        ServiceUnavailable,
        TaskDefinitionNotFound,
        TaskError,
        TaskRunNotAbortable,
        TaskRunNotFinal,
        TaskRunNotFound,
        TriggerRefused,
        UniqueConflict,
    )
    from app.interchange import TextFormat
    from app.limits import Limits, WhenFull
    from app.logs import LogFilter
    from app.models import BulkActionKind, CatchUpPolicy, OverlapPolicy, Schedule, ScheduleStatus, TaskLogLevel, TaskRun
    from app.paging import OrderDirection, Page, PageArgs
    from app.periods import StatisticsInterval
    from app.registry import Triggers
    from app.rollup_reading import StatisticsDimension, StatisticsRank
    from app.run_filters import RunFilter, RunOrder, RunOrderField
    from app.schedules import ScheduleFilter
    from app.service import RerunFrom, TaskService, Triggered, TriggerRequest, UniquePolicy
    from app.service.bulk import BulkPreview, RunSelection, TaskBulkChanges, TaskSelection
    from app.service.executing import Overrides
    from app.service.saved_reading import TaskQuestion
    from app.service.scheduling import ScheduleChanges
    from app.service.statistics_reading import StatisticsQuery
    from app.service.task_fields import TaskChanges, TaskFields
    from app.service.transfer import Imported, ImportPlan, OnConflict
    from app.settings import Settings
    from app.states import TaskRunStatus, TaskRunStatusReason
    from app.task_errors import (
        CooldownActive,
        ImportImpossible,
        SavedSearchNameTaken,
        SavedSearchNotFound,
        TaskConflict,
        TaskDisabled,
        TaskNameTaken,
        TaskNotFound,
        TaskRevisionNotFound,
    )
    from app.task_filters import TaskFilter, TaskOrder
    from app.task_words import TaskHealth, TaskOrderField, TaskQuickFilter
    from app.ticks import Timing

__all__ = [
    "AuditFilter",
    "BatchNotAbortable",
    "BatchNotFound",
    "BulkActionKind",
    "BulkActionNotAbortable",
    "BulkActionNotFound",
    "BulkPreview",
    "CatchUpPolicy",
    "CodeNotLoaded",
    "ConfirmationRequired",
    "CooldownActive",
    "DateTimeRange",
    "DefinitionFilter",
    "ErrorGroupFilter",
    "ErrorGroupNotFound",
    "ErrorGroupOrder",
    "ErrorGroupOrderField",
    "FellBehind",
    "FloatRange",
    "IdempotencyConflict",
    "ImportImpossible",
    "ImportPlan",
    "Imported",
    "InvalidArgument",
    "InvalidTaskInput",
    "LimitReached",
    "Limits",
    "LogFilter",
    "OnConflict",
    "OrderDirection",
    "OverlapPolicy",
    "Overrides",
    "Page",
    "PageArgs",
    "ParentAborted",
    "Principal",
    "PrincipalKind",
    "QueryTooSlow",
    "QueueFull",
    "RerunFrom",
    "RunFilter",
    "RunOrder",
    "RunOrderField",
    "RunSelection",
    "SavedSearchNameTaken",
    "SavedSearchNotFound",
    "Schedule",
    "ScheduleChanges",
    "ScheduleConflict",
    "ScheduleFilter",
    "ScheduleNotFound",
    "ScheduleStatus",
    "ServiceClosed",
    "ServiceUnavailable",
    "Settings",
    "StatisticsDimension",
    "StatisticsInterval",
    "StatisticsQuery",
    "StatisticsRank",
    "StringFilter",
    "TagFilter",
    "TaskBulkChanges",
    "TaskChanges",
    "TaskConflict",
    "TaskDefinitionNotFound",
    "TaskDisabled",
    "TaskError",
    "TaskFields",
    "TaskFilter",
    "TaskHealth",
    "TaskLogLevel",
    "TaskNameTaken",
    "TaskNotFound",
    "TaskOrder",
    "TaskOrderField",
    "TaskQuestion",
    "TaskQuickFilter",
    "TaskRevisionNotFound",
    "TaskRun",
    "TaskRunNotAbortable",
    "TaskRunNotFinal",
    "TaskRunNotFound",
    "TaskRunStatus",
    "TaskRunStatusReason",
    "TaskSelection",
    "TaskService",
    "TextFormat",
    "Timing",
    "TriggerRefused",
    "TriggerRequest",
    "Triggered",
    "Triggers",
    "UniqueConflict",
    "UniquePolicy",
    "WhenFull",
]

_HOMES = {
    "app.task_words": (
        "TaskHealth",
        "TaskOrderField",
        "TaskQuickFilter",
    ),
    "app.task_filters": (
        "TaskFilter",
        "TaskOrder",
    ),
    "app.service.saved_reading": ("TaskQuestion",),
    "app.service.task_fields": (
        "TaskChanges",
        "TaskFields",
    ),
    "app.service.executing": ("Overrides",),
    "app.registry": ("Triggers",),
    "app.auth": ("Principal", "PrincipalKind"),
    "app.conditions": ("DateTimeRange", "FloatRange", "StringFilter", "TagFilter"),
    "app.error_groups": ("ErrorGroupFilter", "ErrorGroupOrder", "ErrorGroupOrderField"),
    "app.definitions": ("DefinitionFilter",),
    "app.interchange": ("TextFormat",),
    "app.limits": ("Limits", "WhenFull"),
    "app.logs": ("LogFilter",),
    "app.audit": ("AuditFilter",),
    "app.models": (
        "BulkActionKind",
        "CatchUpPolicy",
        "OverlapPolicy",
        "Schedule",
        "ScheduleStatus",
        "TaskLogLevel",
        "TaskRun",
    ),
    "app.paging": ("OrderDirection", "Page", "PageArgs"),
    "app.periods": ("StatisticsInterval",),
    "app.rollup_reading": ("StatisticsDimension", "StatisticsRank"),
    "app.service.statistics_reading": ("StatisticsQuery",),
    "app.run_filters": ("RunFilter", "RunOrder", "RunOrderField"),
    "app.schedules": ("ScheduleFilter",),
    "app.service.scheduling": ("ScheduleChanges",),
    "app.service.transfer": ("ImportPlan", "Imported", "OnConflict"),
    "app.task_errors": (
        "CooldownActive",
        "ImportImpossible",
        "SavedSearchNameTaken",
        "SavedSearchNotFound",
        "TaskConflict",
        "TaskDisabled",
        "TaskNameTaken",
        "TaskNotFound",
        "TaskRevisionNotFound",
    ),
    "app.ticks": ("Timing",),
    "app.service": ("RerunFrom", "TaskService", "TriggerRequest", "UniquePolicy", "Triggered"),
    "app.service.bulk": ("BulkPreview", "RunSelection", "TaskBulkChanges", "TaskSelection"),
    "app.settings": ("Settings",),
    "app.states": ("TaskRunStatus", "TaskRunStatusReason"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a name at its first use, so that ``import app`` by itself stays cheap."""
    if name not in __all__:
        raise AttributeError(f"module 'app' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME_OF.get(name, "app.errors")), name)
    globals()[name] = value
    return value
