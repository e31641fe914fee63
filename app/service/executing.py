"""Executing a saved task: what it says, and what this one execution says otherwise, become a trigger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from app.models import Task
from app.retry import RetryDelays
from app.service.requests import UNSET, Duration, Provenance, TriggerRequest, UniquePolicy, Unset


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What one execution does otherwise than the task says.

    Args:
        input: merged into the task's input as a JSON merge patch (RFC 7386): objects are merged member by member,
            null removes a member, anything else takes the place of what was there.
        replace_input: take ``input`` as it is instead.
        tags: words that the run gets besides the task's.
        name, priority, queue, timeout, max_attempts: instead of the task's.
        delay, start_at, ttl, idempotency_key, unique_key, unique_policy: as for a trigger.
    """

    input: Any | Unset = UNSET
    replace_input: bool = False
    name: str | None = None
    priority: int | None = None
    tags: Sequence[str] = ()
    queue: str | None = None
    timeout: Duration | None = None
    max_attempts: int | None = None
    delay: Duration | None = None
    start_at: datetime | None = None
    ttl: Duration | None = None
    idempotency_key: str | None = None
    unique_key: str | None = None
    unique_policy: UniquePolicy | str | None = None


AS_IT_IS = Overrides()


def request_for(task: Task, overrides: Overrides, **provenance: Any) -> TriggerRequest:
    """The trigger that executes a task; ``provenance`` is what is known besides the task, as in ``batch_id``."""
    tags = list(overrides.tags)
    return TriggerRequest(
        definition_id=task.definition_id,
        input=_input(task.input, overrides),
        name=overrides.name or task.name,
        priority=task.priority if overrides.priority is None else overrides.priority,
        # A tag of both is one tag; one that is given twice is refused by the trigger.
        tags=[tag for tag in task.tags if tag not in tags] + tags,
        queue=overrides.queue or task.queue,
        timeout=task.timeout_seconds if overrides.timeout is None else overrides.timeout,
        max_attempts=task.max_attempts if overrides.max_attempts is None else overrides.max_attempts,
        delay=overrides.delay,
        start_at=overrides.start_at,
        ttl=overrides.ttl,
        idempotency_key=overrides.idempotency_key,
        unique_key=overrides.unique_key,
        unique_policy=overrides.unique_policy,
        retry=RetryDelays(**task.retry) if task.retry else None,
        provenance=Provenance(
            task_id=task.id,
            task_version=task.version,
            group=task.group_name,
            owner=task.owner,
            is_named=overrides.name not in (None, task.name),
            **provenance,
        ),
    )


def _input(saved: Any, overrides: Overrides) -> Any:
    if overrides.input is UNSET:
        return saved
    return overrides.input if overrides.replace_input else merged(saved, overrides.input)


def merged(target: Any, patch: Any) -> Any:
    """A JSON value with a merge patch applied (RFC 7386, "MergePatch"); neither of the two is changed.

    >>> merged({"a": 1, "b": 2}, {"b": None, "c": 3})
    {'a': 1, 'c': 3}
    """
    if not isinstance(patch, Mapping):
        return patch
    result: dict[str, Any] = dict(cast("dict[str, Any]", target)) if isinstance(target, Mapping) else {}
    for name, value in cast("Mapping[str, Any]", patch).items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
