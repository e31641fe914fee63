"""What a saved task is made of, as callers say it, and the checks that lead from there to its columns."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import count
from typing import Any

import orjson

from app import clock
from app.auth import is_principal
from app.errors import InvalidArgument, TaskDefinitionNotFound
from app.retry import RetryDelays
from app.service import arguments, inputs
from app.service.known import KnownDefinitions
from app.service.requests import UNSET, Duration, TriggerRequest, Unset, in_seconds

MAX_DESCRIPTION = 10_000
MAX_GROUP = 200
MAX_ENTITY = 255
MAX_URL = 2_000
MAX_DELAY = 366 * 86400.0
MAX_FACTOR = 100.0
_URL = re.compile(r"https?://\S+|/\S*")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFields:
    """A saved task as people write it.

    Args:
        name: 1 to 200 characters, unique within the group.
        definition_id: what it executes.
        description: up to 10,000 characters.
        input: what it is executed with; has to fit the definition's schema. None means ``{}``.
        tags: up to 50 different words, which its runs get too.
        group: the group it belongs to, up to 200 characters.
        owner: a principal as ``KIND:id``; by default whoever creates it.
        is_enabled: a task that is not is executed only by force.
        priority, queue, timeout, max_attempts: as for a trigger; None is the definition's.
        retry: the delays between attempts; None is the definition's.
        entity_type, entity_id, entity_url: the thing of the real world that it is about.
    """

    name: str
    definition_id: str
    description: str | None = None
    input: Any = None
    tags: Sequence[str] = ()
    group: str | None = None
    owner: str | None = None
    is_enabled: bool = True
    priority: int | None = None
    queue: str | None = None
    timeout: Duration | None = None
    max_attempts: int | None = None
    retry: RetryDelays | None = None
    entity_type: str | None = None
    entity_id: str | None = None
    entity_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChanges:
    """What is to change of a saved task; the fields of ``TaskFields``, each left as it is unless given."""

    name: str | Unset = UNSET
    definition_id: str | Unset = UNSET
    description: str | Unset | None = UNSET
    input: Any | Unset = UNSET
    tags: Sequence[str] | Unset = UNSET
    group: str | Unset | None = UNSET
    owner: str | Unset = UNSET
    is_enabled: bool | Unset = UNSET
    priority: int | Unset | None = UNSET
    queue: str | Unset | None = UNSET
    timeout: Duration | Unset | None = UNSET
    max_attempts: int | Unset | None = UNSET
    retry: RetryDelays | Unset | None = UNSET
    entity_type: str | Unset | None = UNSET
    entity_id: str | Unset | None = UNSET
    entity_url: str | Unset | None = UNSET

    def given(self) -> dict[str, Any]:
        """The fields that were given."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not UNSET}


def from_columns(columns: Mapping[str, Any]) -> TaskFields:
    """A task as people write it, from its columns."""
    names = {"group": "group_name", "timeout": "timeout_seconds"}
    values: dict[str, Any] = {
        field.name: columns.get(names.get(field.name, field.name)) for field in fields(TaskFields)
    }
    values["retry"] = RetryDelays(**values["retry"]) if values["retry"] else None
    return TaskFields(**values)


async def columns_of(
    task: TaskFields, definitions: KnownDefinitions, max_input_bytes: int, *, allow_private: bool
) -> dict[str, Any]:
    """The columns of a task whose every field is allowed.

    Raises:
        InvalidArgument, TaskDefinitionNotFound, InvalidTaskInput, ServiceUnavailable.
    """
    _check(task)
    known = (await definitions.find([task.definition_id])).get(task.definition_id)
    if known is None or (known.is_private and not allow_private):
        raise TaskDefinitionNotFound(task.definition_id)
    text = inputs.encode(task.input)
    inputs.check_size(text, max_input_bytes)
    known.parse(text)
    return {
        "name": task.name,
        "description": task.description,
        "definition_id": task.definition_id,
        "input": orjson.loads(text),
        "tags": list(task.tags),
        "group_name": task.group,
        "owner": task.owner,
        "is_enabled": task.is_enabled,
        "priority": task.priority,
        "queue": task.queue,
        "timeout_seconds": in_seconds(task.timeout),
        "max_attempts": task.max_attempts,
        "retry": task.retry.stored() if task.retry else None,
        "entity_type": task.entity_type,
        "entity_id": task.entity_id,
        "entity_url": task.entity_url,
    }


def _check(task: TaskFields) -> None:
    arguments.text(task.name, "name", arguments.MAX_NAME)
    # What a task shares with a trigger follows the same rules.
    request = TriggerRequest(
        definition_id=task.definition_id,
        priority=task.priority,
        tags=task.tags,
        queue=task.queue,
        timeout=task.timeout,
        max_attempts=task.max_attempts,
    )
    arguments.check(request, clock.now())
    texts = (
        ("description", task.description, MAX_DESCRIPTION),
        ("group", task.group, MAX_GROUP),
        ("entityType", task.entity_type, MAX_ENTITY),
        ("entityId", task.entity_id, MAX_ENTITY),
        ("entityUrl", task.entity_url, MAX_URL),
    )
    for field, value, limit in texts:
        if value is not None:
            arguments.text(value, field, limit)
    if task.entity_url is not None and not _URL.fullmatch(task.entity_url):
        raise arguments.refusal("entityUrl", "'entityUrl' must begin with http://, https:// or / and hold no spaces.")
    if task.owner is not None:
        check_owner(task.owner)
    if task.retry is not None:
        _check_retry(task.retry)


def names_after(name: str, word: str) -> Iterator[str]:
    """The names that a task may have whose own is taken, the first choice first: "Name (copy)", "Name (copy 2)"."""
    for number in count(1):
        ending = f" ({word})" if number == 1 else f" ({word} {number})"
        yield name[: arguments.MAX_NAME - len(ending)] + ending


def check_shared(given: Mapping[str, Any], path: tuple[str, ...]) -> None:
    """Check what several tasks are to have in common, by the names of ``TaskFields``.

    Raises ``InvalidArgument`` with the place of what is wrong, which begins with ``path``.
    """
    try:
        _check(TaskFields(name="any", definition_id="any", **given))
    except InvalidArgument as wrong:
        raise InvalidArgument(wrong.message, path=(*path, *(wrong.path or ())[1:])) from None


def check_owner(owner: str) -> None:
    """Check that a text names a principal. Raises ``InvalidArgument``."""
    arguments.text(owner, "owner", MAX_ENTITY)
    if not is_principal(owner):
        raise arguments.refusal("owner", "'owner' must name a principal as KIND:id, as in USER:ada or SERVICE:billing.")


def _check_retry(retry: RetryDelays) -> None:
    limits = (
        ("firstDelaySeconds", retry.first_delay, 0.0, MAX_DELAY),
        ("factor", retry.factor, 1.0, MAX_FACTOR),
        ("longestDelaySeconds", retry.cap, 0.0, MAX_DELAY),
    )
    for field, value, low, high in limits:
        # Written so that NaN fails it too.
        if not low <= value <= high:
            shown = value if math.isfinite(value) else str(value)
            raise InvalidArgument(
                f"'{field}' is {shown}, but must be {low:g} to {high:g}.", path=("input", "retry", field)
            )
