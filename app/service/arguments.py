"""The arguments of a trigger, checked before anything else is looked at; every refusal says what is allowed."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from app.auth import Principal, PrincipalKind
from app.errors import InvalidArgument, TaskRunNotFound
from app.ids import parse_id
from app.kinds import aware, is_storable, of_kind, one_of, whole
from app.registry import PRIORITY_LIMIT
from app.retry import MAX_ATTEMPTS, RetryDelays
from app.service.requests import Duration, Provenance, TriggerRequest, UniquePolicy
from app.settings import QUEUE, QUEUE_WORDS

YEARS_10 = timedelta(days=3653)
MAX_TIMEOUT = timedelta(days=366)
MAX_NAME = 200
MAX_MESSAGE = 1000
MAX_KEY = 255
MAX_PRINCIPAL = 1000
MAX_TAGS = 50
MAX_TAG = 100
PARENT = ("input", "parentId")


class Checked(NamedTuple):
    """What the checks work out: when the run starts and expires, its timeout in seconds, parent, and policy."""

    start_at: datetime
    expires_at: datetime | None
    timeout_seconds: float | None
    parent_id: UUID | None
    unique_policy: UniquePolicy


def check(request: TriggerRequest, now: datetime) -> Checked:
    """Check every argument of a trigger but the input. Raises ``InvalidArgument``, or ``TaskRunNotFound`` (parent)."""
    _check_numbers(request)
    _check_texts(request)
    if request.retry is not None:
        of_kind(request.retry, RetryDelays, "retry")
    of_kind(request.provenance, Provenance, "provenance")
    if request.tags != ():
        _check_tags(request.tags)
    start_at = _start(request, now)
    ttl = duration(request.ttl, "ttlSeconds", YEARS_10) if request.ttl is not None else None
    timeout = duration(request.timeout, "timeoutSeconds", MAX_TIMEOUT) if request.timeout is not None else None
    return Checked(
        start_at=start_at,
        expires_at=start_at + ttl if ttl else None,
        timeout_seconds=timeout.total_seconds() if timeout else None,
        parent_id=run_id(request.parent_id, PARENT) if request.parent_id is not None else None,
        unique_policy=_unique_policy(request) if request.unique_policy is not None else UniquePolicy.REJECT,
    )


def run_id(value: UUID | str, path: tuple[str, ...] = ("input", "id")) -> UUID:
    """A run's id from what a caller has. Raises ``TaskRunNotFound`` for what cannot be one."""
    if (id := parse_id(value)) is None:
        raise TaskRunNotFound(value, path=path)
    return id


def author(principal: Principal) -> str:
    """How a row names who asks. Raises ``InvalidArgument`` for what is no principal: no list could show such a row."""
    if not isinstance(principal, Principal):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgument(
            "'principal' must be a Principal, as in Principal(PrincipalKind.USER, 'ada'), "
            f"not {type(principal).__name__}."
        )
    of_kind(principal.kind, PrincipalKind, "kind", ("principal", "kind"))
    text(principal.id, "id", MAX_PRINCIPAL, ("principal",))
    return str(principal)


def duration(value: Duration, field: str, limit: timedelta, *, zero: bool = False) -> timedelta:
    """A length of time that is positive (or ``zero``) and within a limit. Raises ``InvalidArgument``."""
    seconds: Any = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(seconds, (int, float)):
        raise refusal(field, f"'{field}' must be a timedelta or a number of seconds, not {type(value).__name__}.")
    # Written so that NaN fails it too.
    if not (0 < seconds <= limit.total_seconds() or (zero and seconds == 0)):
        shown = seconds if math.isfinite(seconds) else str(seconds)
        raise refusal(
            field,
            f"'{field}' is {shown}, but must be {'0 or more' if zero else 'above 0'} "
            f"and at most {limit.total_seconds():.0f} seconds ({limit.days} days).",
        )
    # A time below a microsecond would be rounded to none at all, which means that there is no limit.
    return timedelta(seconds=seconds) if zero else max(timedelta(seconds=seconds), timedelta.resolution)


def text(value: str, field: str, limit: int, within: tuple[str, ...] = ("input",)) -> None:
    """Check that a text is 1 to ``limit`` characters that PostgreSQL can store. Raises ``InvalidArgument``."""
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise refusal(field, f"'{field}' must be a text, not {type(value).__name__}.", within)
    if not 1 <= len(value) <= limit:
        raise refusal(field, f"'{field}' has {len(value)} characters, but must have 1 to {limit}.", within)
    if not is_storable(value):
        raise refusal(
            field, f"'{field}' holds a NUL character or half of a surrogate pair, which cannot be stored.", within
        )


def _start(request: TriggerRequest, now: datetime) -> datetime:
    if request.start_at is None:
        if request.delay is None:
            return now
        return now + duration(request.delay, "delaySeconds", YEARS_10, zero=True)
    if request.delay is not None:
        raise refusal("delaySeconds", "Pass 'delaySeconds' or 'startAt', not both.")
    if abs(aware(request.start_at, "startAt", ("input", "startAt")) - now) > YEARS_10:
        raise refusal("startAt", f"'startAt' must be less than 10 years ({YEARS_10.days} days) away from now.")
    return request.start_at


def _check_numbers(request: TriggerRequest) -> None:
    if request.priority is not None:
        whole(request.priority, "priority", -PRIORITY_LIMIT, PRIORITY_LIMIT, ("input", "priority"))
    if request.max_attempts is not None:
        whole(request.max_attempts, "maxAttempts", 1, MAX_ATTEMPTS, ("input", "maxAttempts"))


def _check_texts(request: TriggerRequest) -> None:
    if request.name is not None:
        text(request.name, "name", MAX_NAME)
    if request.idempotency_key is not None:
        text(request.idempotency_key, "idempotencyKey", MAX_KEY)
    if request.unique_key is not None:
        text(request.unique_key, "uniqueKey", MAX_KEY)
    queue: Any = request.queue
    if queue is not None and not (isinstance(queue, str) and QUEUE.fullmatch(queue)):
        raise refusal("queue", f"'queue' must have {QUEUE_WORDS}.")


def _unique_policy(request: TriggerRequest) -> UniquePolicy:
    if request.unique_key is None:
        raise refusal("uniquePolicy", "'uniquePolicy' says what becomes of a 'uniqueKey' that is taken: give one too.")
    return one_of(request.unique_policy, UniquePolicy, "uniquePolicy", ("input", "uniquePolicy"))


def _check_tags(tags: Sequence[str]) -> None:
    if isinstance(tags, str):
        raise refusal("tags", "'tags' must be a list of texts, not one text.")
    if not isinstance(tags, Collection):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise refusal("tags", f"'tags' must be a list of texts, not {type(tags).__name__}.")
    if len(tags) > MAX_TAGS:
        raise refusal("tags", f"'tags' has {len(tags)} entries, but at most {MAX_TAGS} are allowed.")
    for tag in tags:
        text(tag, "tags", MAX_TAG)
    if len(set(tags)) != len(tags):
        raise refusal("tags", "'tags' names a tag twice.")


def refusal(field: str, message: str, within: tuple[str, ...] = ("input",)) -> InvalidArgument:
    """The refusal of an argument, by its name as in GraphQL."""
    return InvalidArgument(message, path=(*within, field))
