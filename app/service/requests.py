"""What callers of the service hand in and get back about triggers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from functools import cached_property
from typing import Any, Final, Protocol
from uuid import UUID

from app.kinds import declared
from app.models import TaskRun
from app.retry import RetryDelays

Duration = timedelta | float
"""A length of time: a ``timedelta``, or seconds."""


def in_seconds(length: Duration | None) -> float | None:
    """A length of time in seconds; None stays None, which is no length at all and not one of zero.

    Raises ``InvalidArgument`` for what is no length of time.
    """
    declared(length, Duration | None, "timeout")
    return length.total_seconds() if isinstance(length, timedelta) else length


class Unset(Enum):
    """The type of ``UNSET``."""

    UNSET = "UNSET"


UNSET: Final = Unset.UNSET
"""Stands for an argument that was not given, where None is a value of its own."""


class RerunFrom(StrEnum):
    """Where a rerun begins: at the START, or from the LAST_STATE that the final run had saved."""

    START = "START"
    LAST_STATE = "LAST_STATE"


class UniquePolicy(StrEnum):
    """What becomes of a trigger while a live run holds its unique key.

    REJECT refuses it, RETURN_EXISTING gives that run, REPLACE aborts that run, children included, and takes over the
    key; the new run starts when the one that it replaces has stopped.
    """

    REJECT = "REJECT"
    RETURN_EXISTING = "RETURN_EXISTING"
    REPLACE = "REPLACE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a run was triggered from, besides its definition: a saved task, a schedule's tick, a batch.

    ``group`` and ``owner`` are the task's; ``on_behalf_of`` is the principal in whose name a schedule acts. With
    ``is_named`` the run has another name than its task.
    """

    task_id: UUID | None = None
    task_version: int | None = None
    group: str | None = None
    owner: str | None = None
    schedule_id: UUID | None = None
    tick_at: datetime | None = None
    on_behalf_of: str | None = None
    batch_id: UUID | None = None
    is_named: bool = False


NOWHERE = Provenance()


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerRequest:
    """One trigger of a definition. Everything but its id has a default, most of them the definition's own.

    Args:
        definition_id: which definition, as in ``"checksum-tree"``.
        input: a JSON value (or a Pydantic model) that fits the definition's input schema; None means ``{}``.
        name: what people see, 1 to 200 characters; by default the definition's title.
        delay: how long from now the run may start at the earliest; not together with ``start_at``. Up to 10 years.
        start_at: when the run may start at the earliest, with a timezone, less than 10 years from now.
        priority: -1000 to 1000, higher runs earlier.
        tags: up to 50 different words of 1 to 100 characters.
        queue: which workers execute it: lower-case letters, digits, ``.``, ``_`` and ``-``, up to 63.
        parent_id: the run that this one belongs to; aborting the parent aborts it too.
        timeout: the longest time for one attempt at one iteration, up to 366 days.
        max_attempts: 1 to 1000, the first try included.
        ttl: a run that has not started this long after its start time expires. Up to 10 years.
        idempotency_key: 1 to 255 characters; a second trigger of the definition with this key and the same input
            gives the first one's run, and is refused with another input.
        unique_key: 1 to 255 characters; at most one live run of the definition holds this key.
        unique_policy: what becomes of the trigger while another live run does: ``UniquePolicy.REJECT`` by default.
        provenance: what it is triggered from, where that is more than its definition.
        retry: the delays between its attempts; by default the definition's.

    Durations are a ``timedelta`` or seconds.
    """

    definition_id: str
    input: Any = None
    name: str | None = None
    delay: Duration | None = None
    start_at: datetime | None = None
    priority: int | None = None
    tags: Sequence[str] = ()
    queue: str | None = None
    parent_id: UUID | str | None = None
    timeout: Duration | None = None
    max_attempts: int | None = None
    ttl: Duration | None = None
    idempotency_key: str | None = None
    unique_key: str | None = None
    unique_policy: UniquePolicy | str | None = None
    provenance: Provenance = NOWHERE
    retry: RetryDelays | None = None


class Source(Protocol):
    """What knows a run as it is stored."""

    def row(self) -> TaskRun:
        """The run."""
        ...


class Triggered:
    """The run that a trigger led to; ``deduplicated`` when an earlier trigger had made it, found by one of the keys."""

    # Not a function that makes the run: one object more for each of thousands, which Python's collector looks through.
    def __init__(self, source: Source, *, deduplicated: bool) -> None:
        self._source = source
        self.deduplicated = deduplicated

    @cached_property
    def run(self) -> TaskRun:
        """The run, made when somebody looks at it: most of those who trigger thousands never do."""
        return self._source.row()
