"""What an exported task and its schedules are made of: their shape as a document, and the way to columns and back.

Names are those of GraphQL. A value that is left out is as in ``createTask`` and ``createSchedule``. Nothing in a
document means something in one place only: no ids, no runs, no times of change.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from app import clock
from app.errors import InvalidArgument
from app.models import CatchUpPolicy, OverlapPolicy
from app.retry import RetryDelays
from app.service.schedule_fields import MAX_PER_TASK
from app.service.task_fields import TaskFields
from app.task_words import CALLED
from app.tasks import CHANGEABLE
from app.ticks import Timing

VERSION = 1
"""The version of the document that is written, and the only one that is read."""
_WHOLE = 2.0**53


def _time(value: object) -> datetime:
    if isinstance(value, str) and (moment := clock.parse(value)):
        return moment
    raise ValueError("is no point in time with an offset, as in '2026-01-31T12:00:00Z'")


Moment = Annotated[datetime, BeforeValidator(_time)]


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", alias_generator=to_camel, validate_by_name=False)


class RetryEntry(_Entry):
    """The delays of a task's own retry policy."""

    first_delay_seconds: float = 1.0
    factor: float = 2.0
    longest_delay_seconds: float = 300.0
    jitter: bool = True


class IntervalEntry(_Entry):
    """A fixed interval, with one of its ticks."""

    seconds: float
    anchor_at: Moment | None = None


class ScheduleEntry(_Entry):
    """A schedule: one of ``cron``, ``every`` and ``at``, and what is said besides. A paused one stays so."""

    name: str | None = None
    cron: str | None = None
    every: IntervalEntry | None = None
    at: Moment | None = None
    time_zone: str = "UTC"
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    jitter_seconds: float = 0.0
    overlap: Annotated[OverlapPolicy, Field(strict=False)] = OverlapPolicy.SKIP
    catch_up: Annotated[CatchUpPolicy, Field(strict=False)] = CatchUpPolicy.LAST
    catch_up_seconds: float = 86400.0
    max_failures: int | None = None
    input: Any = None
    owner: str | None = None
    paused: bool = False
    pause_message: str | None = None

    def timing(self) -> Timing:
        """When it ticks. Raises ``InvalidArgument`` for lengths of time that are longer than any."""
        return Timing(
            cron=self.cron,
            every=None if self.every is None else _length(self.every.seconds, "every"),
            anchor=None if self.every is None else self.every.anchor_at,
            at=self.at,
            time_zone=self.time_zone,
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            jitter=_length(self.jitter_seconds, "jitterSeconds"),
        )


class TaskEntry(_Entry):
    """A saved task with its schedules."""

    name: str
    group: str | None = None
    definition_id: str
    description: str | None = None
    input: Any = None
    tags: list[str] = []
    owner: str | None = None
    enabled: bool = True
    priority: int | None = None
    queue: str | None = None
    timeout_seconds: float | None = None
    max_attempts: int | None = None
    retry: RetryEntry | None = None
    entity_type: str | None = None
    entity_id: str | None = None
    entity_url: str | None = None
    schedules: list[ScheduleEntry] = Field(default=[], max_length=MAX_PER_TASK)

    def fields(self, owner: str) -> TaskFields:
        """The task as ``createTask`` takes it; it belongs to ``owner`` unless it says to whom."""
        renamed = {"enabled": "is_enabled", "timeout_seconds": "timeout"}
        values = {
            renamed.get(name, name): getattr(self, name) for name in type(self).model_fields if name != "schedules"
        }
        values["owner"] = self.owner or owner
        values["retry"] = None if self.retry is None else RetryDelays(
            first_delay=self.retry.first_delay_seconds, factor=self.retry.factor,
            cap=self.retry.longest_delay_seconds, jitter=self.retry.jitter,
        )  # fmt: skip
        return TaskFields(**values)


def _length(seconds: float, field: str) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise InvalidArgument(f"'{field}' is longer than any time can be.", path=("input", field)) from None


# From rows to documents.

_SCHEDULE_COLUMNS = (
    "time_zone", "starts_at", "ends_at", "jitter_seconds", "overlap", "catch_up", "catch_up_seconds", "max_failures",
    "input", "owner",
)  # fmt: skip


def task_document(columns: Mapping[str, Any], schedules: list[dict[str, Any]]) -> dict[str, Any]:
    """A task as a document, from its columns and its schedules' documents; what is not set is left out."""
    values = {CALLED.get(name, name): columns[name] for name in CHANGEABLE}
    if (retry := columns["retry"]) is not None:
        names = {"firstDelaySeconds": "first_delay", "factor": "factor", "longestDelaySeconds": "cap"}
        values["retry"] = {name: retry[stored] for name, stored in names.items()} | {"jitter": retry["jitter"]}
    # An empty list is what is left out; an input that is one is not.
    lists = {"tags": values.pop("tags"), "schedules": sorted(schedules, key=repr)}
    return _plain(values | {name: items for name, items in lists.items() if items})


def schedule_document(columns: Mapping[str, Any]) -> dict[str, Any]:
    """A schedule as a document, from its columns. Why it is paused counts only in words."""
    timing: dict[str, Any] = {"cron": columns["cron"], "at": columns["once_at"]}
    if columns["every_seconds"] is not None:
        timing["every"] = {"seconds": columns["every_seconds"], "anchorAt": columns["anchor_at"]}
    rest = {to_camel(name): columns[name] for name in _SCHEDULE_COLUMNS}
    if columns["status"] == "PAUSED":
        rest |= {"paused": True, "pauseMessage": columns["pause_message"]}
    return _plain({"name": columns["name"], **timing, **rest})


def _plain(value: Any) -> Any:
    """A value as JSON has it: times as text, whole numbers without a point, members of nested objects in order."""
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {name: _ordered(name, member) for name, member in members.items() if member is not None}
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[Any]", value)]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE:
        return int(value)
    return str(value) if isinstance(value, str) else value


def _ordered(name: str, member: Any) -> Any:
    return in_order(member) if name == "input" else _plain(member)


def in_order(value: Any) -> Any:
    """A JSON value whose objects have their members by name, because the database has an order of its own."""
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {name: in_order(members[name]) for name in sorted(members)}
    return [in_order(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value
