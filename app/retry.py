"""Retry: how often and after which delay a failed attempt is tried again, and the pure decision about one failure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import orjson

from app import states
from app.states import Move, Reason, RunError

LONGEST_DELAY = 366 * 86400.0
LARGEST_FACTOR = 1000
MAX_ATTEMPTS = 1000


@dataclass(frozen=True, slots=True)
class Retry:
    """A retry policy: exponential backoff with a cap and full jitter, per class of error.

    ``max_attempts`` counts the first try (1 means no retry). The delay before attempt n+1 is
    ``min(cap, first_delay * factor ** (n - 1))`` seconds; with ``jitter`` it is drawn evenly from its upper half, so
    that runs that failed together do not come back together and yet never at once ("equal jitter", Marc Brooker,
    "Exponential Backoff and Jitter", 2015).
    Errors outside ``on``, or of a class in ``never``, end the run at once. A group of errors, as an
    ``asyncio.TaskGroup`` raises it, is tried again when all errors within it are (or ``on`` names the group's own
    class), and ends the run when one of them is in ``never``.

    >>> Retry(max_attempts=3, first_delay=1, factor=2, jitter=False).delay_after(2)
    2.0
    """

    max_attempts: int = 1
    first_delay: float = 1.0
    factor: float = 2.0
    cap: float = 300.0
    jitter: bool = True
    on: tuple[type[BaseException], ...] = (Exception,)
    never: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if type(self.max_attempts) is not int or not 1 <= self.max_attempts <= MAX_ATTEMPTS:
            raise ValueError(
                f"max_attempts is {self.max_attempts!r}, but counts the first try: it is 1 to {MAX_ATTEMPTS}"
            )
        if not all(_is_within(seconds, LONGEST_DELAY) for seconds in (self.first_delay, self.cap)):
            raise ValueError(
                f"first_delay is {self.first_delay!r} and cap is {self.cap!r}, but each must be 0 seconds to 366 days, "
                "as a number"
            )
        if not _is_within(self.factor, LARGEST_FACTOR):
            raise ValueError(f"factor is {self.factor!r}, but must be 0 to {LARGEST_FACTOR}")
        if not isinstance(self.jitter, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"jitter is {self.jitter!r}, but must be True or False")
        for name, classes in (("on", self.on), ("never", self.never)):
            if not _are_exceptions(classes):
                raise ValueError(
                    f"{name} is {classes!r}, but must be a tuple of exceptions, as in (OSError, ValueError)"
                )

    def delay_after(self, attempt: int) -> float:
        """Seconds to wait after the failure of attempt number ``attempt`` (1 for the first), drawn anew each time."""
        # The exponent is bounded because a float power overflows long before a run has that many attempts.
        delay = min(self.cap, self.first_delay * self.factor ** min(attempt - 1, 64))
        return random.uniform(delay / 2, delay) if self.jitter else delay

    def with_delays(self, delays: str | None) -> Retry:
        """This policy with the delays that a run keeps, a ``RetryDelays`` as JSON; which errors it covers stays.

        >>> Retry(first_delay=1).with_delays('{"first_delay": 5}').first_delay
        5
        """
        return replace(self, **orjson.loads(delays)) if delays else self

    def covers(self, error: BaseException) -> bool:
        """Whether this kind of error is worth another attempt; one that asks for it is, and decides for no other."""
        others = [one for one in errors_in(error) if not isinstance(one, RetryLater)]
        if any(isinstance(one, self.never) for one in others):
            return False
        single = (one for one in others if not isinstance(one, BaseExceptionGroup))
        return isinstance(error, self.on) or all(isinstance(one, self.on) for one in single)


def _is_within(number: object, most: float) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and 0 <= number <= most


def _are_exceptions(classes: object) -> bool:
    """Whether it is what ``isinstance`` takes: it would break on a list when the first error comes."""
    if isinstance(classes, tuple):
        return all(map(_are_exceptions, cast("tuple[object, ...]", classes)))
    return isinstance(classes, type) and issubclass(classes, BaseException)


def errors_in(error: BaseException) -> Iterator[BaseException]:
    """The error, and where it is a group of errors, all that are within it."""
    pending = [error]
    while pending:
        error = pending.pop()
        yield error
        if isinstance(error, BaseExceptionGroup):
            pending.extend(cast("BaseExceptionGroup[BaseException]", error).exceptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDelays:
    """The delays of a saved task's own retry policy, in seconds; which errors are retried stays the definition's.

    Args:
        first_delay: before the second attempt, 0 to 366 days.
        factor: by what each further delay is longer than the one before, 1 to 100.
        cap: the longest delay, 0 to 366 days.
        jitter: whether each delay is drawn from its upper half, so that runs do not come back together.
    """

    first_delay: float = 1.0
    factor: float = 2.0
    cap: float = 300.0
    jitter: bool = True

    def stored(self) -> dict[str, float | bool]:
        """The delays as runs and tasks store them."""
        return {"first_delay": self.first_delay, "factor": self.factor, "cap": self.cap, "jitter": self.jitter}


class RetryLater(Exception):
    """Raise it in task code to give up this attempt and be tried again after ``delay`` seconds.

    It counts as an attempt, whatever the policy says about classes of errors; after the last one the run fails. In a
    group with others, those decide whether it is tried again; of several delays the longest counts.
    """

    def __init__(self, delay: float, message: str = "The task asked to be tried again later.") -> None:
        super().__init__(message)
        if not 0 <= delay <= LONGEST_DELAY:
            raise ValueError(f"delay is {delay}, but must be between 0 seconds and 366 days")
        self.delay = delay


def decide_retry(
    policy: Retry, attempt: int, max_attempts: int, cause: BaseException, error: RunError, reason: Reason = Reason.ERROR
) -> Move:
    """What follows the failure of an attempt: a retry after a delay, or the end of the run. Pure but for the jitter.

    ``reason`` is why the attempt failed (ERROR, TIMEOUT); the last allowed attempt ends with MAX_ATTEMPTS instead of
    ERROR when there was more than one.
    """
    delays = [one.delay for one in errors_in(cause) if isinstance(one, RetryLater)]
    if not policy.covers(cause):
        return states.fail(error, reason)
    if attempt >= max_attempts:
        spent = reason is Reason.ERROR and (max_attempts > 1 or bool(delays))
        return states.fail(error, Reason.MAX_ATTEMPTS if spent else reason)
    if delays:
        return states.retry(error, max(delays), Reason.RETRY_LATER)
    return states.retry(error, policy.delay_after(attempt))
