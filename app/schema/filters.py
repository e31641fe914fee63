"""The ``filter`` and ``orderBy`` inputs of lists, and what the application calls them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import strawberry
from strawberry import UNSET
from strawberry.scalars import JSON
from strawberry.utils.str_converters import to_camel_case

from app import conditions
from app.definitions import DefinitionFilter
from app.logs import LogFilter
from app.paging import OrderDirection
from app.run_filters import RunFilter, RunOrder, RunOrderField
from app.schema.arguments import given_id, run_uuid
from app.schema.connections import given, present
from app.schema.task_words import Triggers
from app.schema.vocabulary import TaskLogLevel, TaskRunStatus, describe


@strawberry.input(description="Which texts fit; everything given must hold.")
class StringFilter:
    """A condition on a text."""

    eq: str | None = strawberry.field(default=UNSET, description="Exactly this text.")
    contains: str | None = strawberry.field(default=UNSET, description="Holds this text, in upper or lower case.")
    starts_with: str | None = strawberry.field(default=UNSET, description="Begins with this text.")


@strawberry.input(description="Which tags fit; everything given must hold.")
class TagFilter:
    """A condition on tags."""

    any: list[str] | None = strawberry.field(default=UNSET, description="At least one of these tags.")
    all: list[str] | None = strawberry.field(default=UNSET, description="All of these tags.")
    none: list[str] | None = strawberry.field(default=UNSET, description="None of these tags.")


@strawberry.input(description="A range of time.")
class DateTimeRange:
    """A condition on a point in time."""

    gte: datetime | None = strawberry.field(default=UNSET, description="At this time or later.")
    lt: datetime | None = strawberry.field(default=UNSET, description="Before this time.")


@strawberry.input(description="A range of numbers.")
class FloatRange:
    """A condition on a number."""

    gte: float | None = strawberry.field(default=UNSET, description="This number or more.")
    lt: float | None = strawberry.field(default=UNSET, description="Less than this number.")


@strawberry.input(description="Which task definitions fit; everything given must hold.")
class TaskDefinitionFilter:
    """A condition on definitions."""

    ids: list[strawberry.ID] | None = strawberry.field(default=UNSET, description="Any of these ids.")
    queues: list[str] | None = strawberry.field(default=UNSET, description="Any of these queues.")
    categories: list[str] | None = strawberry.field(default=UNSET, description="Any of these categories.")
    triggers: list[Triggers] | None = strawberry.field(
        default=UNSET, description="Meant to be triggered in any of these ways."
    )
    tags: TagFilter | None = strawberry.field(default=UNSET, description="Tags that fit.")
    title: StringFilter | None = strawberry.field(default=UNSET, description="A title that fits.")


@strawberry.input(description="Which runs fit; everything given must hold, and a list means any of its values.")
class TaskRunFilter:
    """A condition on runs."""

    ids: list[strawberry.ID] | None = strawberry.field(default=UNSET, description="Any of these ids.")
    definition_ids: list[strawberry.ID] | None = strawberry.field(
        default=UNSET, description="Of any of these definitions."
    )
    statuses: list[TaskRunStatus] | None = strawberry.field(default=UNSET, description="In any of these statuses.")
    queues: list[str] | None = strawberry.field(default=UNSET, description="In any of these queues.")
    parent_id: strawberry.ID | None = strawberry.field(default=UNSET, description="The children of this run.")
    tags: TagFilter | None = strawberry.field(default=UNSET, description="Tags that fit.")
    name: StringFilter | None = strawberry.field(default=UNSET, description="A name that fits.")
    created_at: DateTimeRange | None = strawberry.field(default=UNSET, description="Triggered within this range.")
    started_at: DateTimeRange | None = strawberry.field(default=UNSET, description="First started within this range.")
    finished_at: DateTimeRange | None = strawberry.field(default=UNSET, description="Became final within this range.")
    input_contains: JSON | None = strawberry.field(
        default=UNSET, description="The input contains this JSON: of an object these keys, of a list these items."
    )
    output_contains: JSON | None = strawberry.field(
        default=UNSET, description="The output contains this JSON: of an object these keys, of a list these items."
    )
    has_errors: bool | None = strawberry.field(
        default=UNSET, description="Whether an error is recorded: of the end, or of an attempt that is being retried."
    )
    task_ids: list[strawberry.ID] | None = strawberry.field(default=UNSET, description="Of any of these saved tasks.")
    groups: list[str] | None = strawberry.field(
        default=UNSET, description="Of saved tasks that were in any of these groups."
    )
    owners: list[str] | None = strawberry.field(
        default=UNSET, description="Of saved tasks that any of these owned then, as in `USER:ada`."
    )
    schedule_ids: list[strawberry.ID] | None = strawberry.field(
        default=UNSET, description="Triggered by any of these schedules."
    )
    batch_ids: list[strawberry.ID] | None = strawberry.field(default=UNSET, description="Of any of these batches.")
    duration_ms: FloatRange | None = strawberry.field(
        default=UNSET, description="Finished after so many milliseconds; from 10,000 upwards an index finds them."
    )
    error_text: str | None = strawberry.field(
        default=UNSET,
        description="Failed with an error whose type and message (500 characters of them) hold this text.",
    )
    error_group: strawberry.ID | None = strawberry.field(default=UNSET, description="Failures of this error group.")
    search: str | None = strawberry.field(
        default=UNSET,
        description="Words; each is part of the name of the run, its task or its definition, or of the error of a "
        "failure, or is one of its tags.",
    )
    and_: list[TaskRunFilter] | None = strawberry.field(
        name="and", default=UNSET, description="All of these filters hold too."
    )
    or_: list[TaskRunFilter] | None = strawberry.field(
        name="or", default=UNSET, description="At least one of these filters holds too."
    )
    not_: TaskRunFilter | None = strawberry.field(name="not", default=UNSET, description="This filter does not hold.")


describe(
    RunOrderField,
    "What a list of runs can be ordered by.",
    {
        "CREATED_AT": "When they were triggered.",
        "STARTED_AT": "When they first started; runs that have not are left out.",
        "FINISHED_AT": "When they became final; runs that are not are left out.",
        "PRIORITY": "Their priority.",
    },
    name="TaskRunOrderField",
)
describe(
    OrderDirection,
    "Which end of an order comes first.",
    {"ASC": "The earliest or lowest first.", "DESC": "The latest or highest first."},
)


@strawberry.input(description="The order of a list of runs; runs equal in it are ordered by creation.")
class TaskRunOrder:
    """An order of runs."""

    field: RunOrderField = strawberry.field(description="What to order by.")
    direction: OrderDirection = strawberry.field(default=OrderDirection.DESC, description="Which end comes first.")


@strawberry.input(description="Which log lines of a run fit; everything given must hold.")
class TaskRunLogFilter:
    """A condition on the lines of a run that is known."""

    levels: list[TaskLogLevel] | None = strawberry.field(default=UNSET, description="Any of these levels.")
    iteration: int | None = strawberry.field(default=UNSET, description="Written in this iteration.")
    message: StringFilter | None = strawberry.field(default=UNSET, description="A message that fits.")


@strawberry.input(description="Which log lines fit: of which run, and of what kind.")
class TaskLogFilter:
    """A condition on the lines of a run that it names."""

    run_id: strawberry.ID = strawberry.field(description="The id of the run that wrote them.")
    levels: list[TaskLogLevel] | None = strawberry.field(default=UNSET, description="Any of these levels.")
    iteration: int | None = strawberry.field(default=UNSET, description="Written in this iteration.")
    message: StringFilter | None = strawberry.field(default=UNSET, description="A message that fits.")


RunsThatFit = Annotated[TaskRunFilter | None, strawberry.argument(description="Only runs that fit.")]
RunsInOrder = Annotated[
    TaskRunOrder | None, strawberry.argument(description="The order, by creation, newest first, by default.")
]


def run_filter(source: TaskRunFilter | None) -> RunFilter | None:
    """The application's filter of runs. Raises ``InvalidArgument`` for an id that is no UUID."""
    if not given(source):
        return None
    values = values_of(source)
    for name in ("ids", "task_ids", "schedule_ids", "batch_ids"):
        if name in values:
            read = run_uuid if name == "ids" else given_id
            values[name] = [read(id, "filter", to_camel_case(name)) for id in values[name]]
    if "parent_id" in values:
        values["parent_id"] = run_uuid(values["parent_id"], "filter", "parentId")
    for name in ("and_", "or_"):
        if name in values:
            values[name] = [run_filter(part) for part in values[name]]
    if "not_" in values:
        values["not_"] = run_filter(values["not_"])
    return RunFilter(**values)


def run_order(source: TaskRunOrder | None) -> RunOrder:
    """The application's order of runs; newest first by default."""
    return RunOrder(field=source.field, direction=source.direction) if source else RunOrder()


def log_filter(source: TaskLogFilter | TaskRunLogFilter | None) -> LogFilter:
    """The application's filter of log lines, of whichever run."""
    values = values_of(source) if source else {}
    values.pop("run_id", None)
    if "levels" in values:
        values["levels"] = tuple(values["levels"])
    return LogFilter(**values)


def definition_filter(source: TaskDefinitionFilter | None) -> DefinitionFilter | None:
    """The application's filter of definitions."""
    if not given(source):
        return None
    return DefinitionFilter(**values_of(source))


def values_of(source: object) -> dict[str, Any]:
    """What was given of a filter, with the conditions in it as the application's own types."""
    return {name: _condition(value) for name, value in present(source).items()}


def _condition(value: Any) -> Any:
    if isinstance(value, StringFilter):
        return conditions.StringFilter(**present(value))
    if isinstance(value, TagFilter):
        return conditions.TagFilter(**present(value))
    if isinstance(value, FloatRange):
        return conditions.FloatRange(**present(value))
    if isinstance(value, DateTimeRange):
        return conditions.DateTimeRange(**present(value))
    return value
