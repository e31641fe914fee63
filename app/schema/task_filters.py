"""The ``filter`` and ``orderBy`` inputs of lists of saved tasks, and what the application calls them."""

from __future__ import annotations

from collections.abc import Sequence

import strawberry
from strawberry import UNSET

from app import task_filters
from app.errors import InvalidArgument
from app.paging import OrderDirection
from app.schema.arguments import given_id
from app.schema.connections import given
from app.schema.filters import DateTimeRange, StringFilter, TagFilter, values_of
from app.schema.task_words import TaskHealth, TaskOrderField, TaskQuickFilter, Triggers
from app.schema.vocabulary import TaskRunStatus
from app.service.saved_reading import TaskQuestion

WHOLE = ("search", "quick")
"""What a filter asks as a whole, and none of the filters that it is put together from."""


@strawberry.input(description="Which tasks fit; everything given must hold, and a list means any of its values.")
class TaskFilter:
    """A condition on saved tasks."""

    ids: list[strawberry.ID] | None = strawberry.field(default=UNSET, description="Any of these ids.")
    definition_ids: list[strawberry.ID] | None = strawberry.field(
        default=UNSET, description="Of any of these definitions, by their ids."
    )
    categories: list[str] | None = strawberry.field(
        default=UNSET, description="Their definition declares any of these categories."
    )
    triggers: list[Triggers] | None = strawberry.field(
        default=UNSET, description="Their definition declares that it is executed so: any of these."
    )
    groups: list[str] | None = strawberry.field(default=UNSET, description="In any of these groups.")
    owners: list[str] | None = strawberry.field(default=UNSET, description="Owned by any of these, as `USER:ada`.")
    tags: TagFilter | None = strawberry.field(default=UNSET, description="Tags that fit.")
    name: StringFilter | None = strawberry.field(default=UNSET, description="A name that fits.")
    enabled: bool | None = strawberry.field(default=UNSET, description="Whether they are enabled.")
    health: list[TaskHealth] | None = strawberry.field(default=UNSET, description="Any of these.")
    last_run_statuses: list[TaskRunStatus] | None = strawberry.field(
        default=UNSET, description="Their last run stands in any of these; follows the runs by a second or two."
    )
    entity_type: str | None = strawberry.field(default=UNSET, description="About this sort of thing.")
    entity_id: str | None = strawberry.field(default=UNSET, description="About the thing of this id.")
    created_at: DateTimeRange | None = strawberry.field(default=UNSET, description="Created within this range.")
    updated_at: DateTimeRange | None = strawberry.field(default=UNSET, description="Last changed within this range.")
    search: str | None = strawberry.field(
        default=UNSET,
        description="Found by these words, as by the argument `search` of `tasks`; not below and, or, not.",
    )
    quick: TaskQuickFilter | None = strawberry.field(
        default=UNSET, description="One of the everyday questions, as the argument `quick`; not below and, or, not."
    )
    and_: list[TaskFilter] | None = strawberry.field(
        name="and", default=UNSET, description="All of these filters hold too."
    )
    or_: list[TaskFilter] | None = strawberry.field(
        name="or", default=UNSET, description="At least one of these filters holds too."
    )
    not_: TaskFilter | None = strawberry.field(name="not", default=UNSET, description="This filter does not hold.")


@strawberry.input(description="The order of a list of tasks; tasks equal in it are ordered by creation.")
class TaskOrder:
    """An order of tasks."""

    field: TaskOrderField = strawberry.field(description="What to order by.")
    direction: OrderDirection = strawberry.field(default=OrderDirection.ASC, description="Which end comes first.")


def task_question(
    source: TaskFilter | None,
    search: str | None = UNSET,
    quick: TaskQuickFilter | None = UNSET,
    time_zone: str = "UTC",
) -> TaskQuestion:
    """The application's question for tasks. Raises ``InvalidArgument`` for what is said in the filter and beside it."""
    asked = {"search": given(search), "quick": given(quick)}
    for name in asked:
        if given(source) and given(inside := getattr(source, name)) is not None:
            if asked[name] is not None:
                raise InvalidArgument(f"'{name}' stands in the filter and beside it: say it once.", path=(name,))
            asked[name] = inside
    return TaskQuestion(filter=_task_filter(source, WHOLE), time_zone=time_zone, **asked)


def _task_filter(source: TaskFilter | None, whole: Sequence[str] = ()) -> task_filters.TaskFilter | None:
    """The application's filter of tasks. Raises ``InvalidArgument`` for an id that is no UUID."""
    if not given(source):
        return None
    values = {name: value for name, value in values_of(source).items() if name not in whole}
    for name in WHOLE:
        if name in values:
            raise InvalidArgument(
                f"'{name}' asks of the whole filter: put it beside and, or and not.", path=("filter",)
            )
    if "ids" in values:
        values["ids"] = [given_id(id, "filter", "ids") for id in values["ids"]]
    if "enabled" in values:
        values["is_enabled"] = values.pop("enabled")
    for name in ("and_", "or_"):
        if name in values:
            values[name] = [_task_filter(part) for part in values[name]]
    if "not_" in values:
        values["not_"] = _task_filter(values["not_"])
    return task_filters.TaskFilter(**values)


def task_order(source: TaskOrder | None) -> task_filters.TaskOrder | None:
    """The application's order of tasks; None where none was asked for."""
    return task_filters.TaskOrder(source.field, source.direction) if source else None
