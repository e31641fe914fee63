"""Retry: delays and the decision about one failure."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.retry import Retry, RetryLater, decide_retry
from app.states import Reason, RunError, Status

ERROR = RunError("ValueError", "no")


def test_delays_grow_by_the_factor_up_to_the_cap() -> None:
    policy = Retry(max_attempts=9, first_delay=1, factor=3, cap=20, jitter=False)
    assert [policy.delay_after(attempt) for attempt in (1, 2, 3, 4, 5)] == [1, 3, 9, 20, 20]


@given(attempt=st.integers(1, 10_000), first=st.floats(0, 1e6), factor=st.floats(0, 1e3), cap=st.floats(0, 1e6))
def test_jitter_never_leaves_the_upper_half_of_the_delay(attempt: int, first: float, factor: float, cap: float) -> None:
    plain = Retry(first_delay=first, factor=factor, cap=cap, jitter=False).delay_after(attempt)
    assert plain / 2 <= Retry(first_delay=first, factor=factor, cap=cap).delay_after(attempt) <= plain <= cap


def test_a_failure_is_final_unless_the_definition_asks_for_retries() -> None:
    move = decide_retry(Retry(), 1, 1, ValueError("no"), ERROR)
    assert (move.landing.status, move.landing.reason) == (Status.FAILED, Reason.ERROR)


def test_a_failed_attempt_is_retried_while_attempts_are_left() -> None:
    policy = Retry(max_attempts=3, first_delay=2, jitter=False)
    move = decide_retry(policy, 2, 3, ValueError("no"), ERROR)
    assert (move.landing.status, move.landing.reason, move.delay) == (Status.WAITING, Reason.RETRY, 4)


def test_the_last_attempt_ends_the_run_and_says_that_it_was_the_last() -> None:
    move = decide_retry(Retry(max_attempts=3), 3, 3, ValueError("no"), ERROR)
    assert (move.landing.status, move.landing.reason) == (Status.FAILED, Reason.MAX_ATTEMPTS)


def test_the_run_may_have_another_limit_than_its_definition() -> None:
    assert decide_retry(Retry(max_attempts=1), 1, 2, ValueError("no"), ERROR).next_attempt


@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(1)])
def test_errors_outside_the_policy_end_the_run_at_once(error: BaseException) -> None:
    policy = Retry(max_attempts=3, on=(ValueError, LookupError), never=(KeyError,))
    assert decide_retry(policy, 1, 3, error, ERROR).landing.status is Status.FAILED


@pytest.mark.parametrize(
    ("within", "is_retried"),
    [
        ([ConnectionError()], True),
        ([ConnectionError(), ExceptionGroup("inner", [TimeoutError()])], True),
        ([ConnectionError(), ValueError()], False),
        ([ConnectionError(), ExceptionGroup("inner", [PermissionError()])], False),
        ([ConnectionError(), KeyboardInterrupt()], False),
    ],
    ids=str,
)
def test_a_group_of_errors_is_retried_when_all_within_it_are_and_not_when_one_of_them_never_is(
    within: list[BaseException], is_retried: bool
) -> None:
    policy = Retry(max_attempts=3, on=(OSError,), never=(PermissionError,))
    group = BaseExceptionGroup("of a TaskGroup", within)
    assert (decide_retry(policy, 1, 3, group, ERROR).landing.status is Status.WAITING) is is_retried


def test_a_policy_may_name_groups_and_what_never_is_retried_counts_in_them_all_the_same() -> None:
    policy = Retry(max_attempts=3, on=(ExceptionGroup,), never=(KeyError,))
    assert policy.covers(ExceptionGroup("any", [ValueError()]))
    assert not policy.covers(ExceptionGroup("any", [ValueError(), KeyError()]))
    assert not policy.covers(ValueError())


def test_who_asks_for_later_within_a_group_is_heard_unless_another_error_ends_the_run() -> None:
    policy = Retry(max_attempts=3, on=(ConnectionError,))
    both = ExceptionGroup("both", [RetryLater(7), RetryLater(9), ConnectionError()])
    move = decide_retry(policy, 1, 3, both, ERROR)
    assert (move.landing.reason, move.delay) == (Reason.RETRY_LATER, 9)
    other = ExceptionGroup("other", [RetryLater(7), ValueError()])
    assert decide_retry(policy, 1, 3, other, ERROR).landing.status is Status.FAILED


def test_an_attempt_that_asks_for_later_is_retried_after_its_own_delay_whatever_the_policy_covers() -> None:
    move = decide_retry(Retry(on=()), 1, 2, RetryLater(7), ERROR)
    assert (move.landing.reason, move.delay) == (Reason.RETRY_LATER, 7)


def test_asking_for_later_at_the_last_attempt_fails() -> None:
    assert decide_retry(Retry(), 1, 1, RetryLater(7), ERROR).landing.reason is Reason.MAX_ATTEMPTS


def test_a_timeout_keeps_its_own_reason_at_the_end() -> None:
    move = decide_retry(Retry(max_attempts=2), 2, 2, TimeoutError(), ERROR, Reason.TIMEOUT)
    assert move.landing.reason is Reason.TIMEOUT


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_attempts": 0}, "it is 1 to 1000"),
        ({"max_attempts": "3"}, "max_attempts is '3', but"),
        ({"cap": timedelta(hours=1)}, "each must be 0 seconds to 366 days, as a number"),
        ({"factor": "2"}, "factor is '2', but must be 0 to 1000"),
        ({"jitter": "no"}, "jitter is 'no', but must be True or False"),
        ({"first_delay": -1}, "first_delay is -1 and cap is 300.0, but each must be 0 seconds to 366 days"),
        ({"first_delay": float("inf")}, "first_delay is inf and cap is 300.0, but each must be"),
        ({"cap": -1}, "cap is -1, but each must be"),
        ({"cap": float("nan")}, "cap is nan, but each must be"),
        ({"factor": -0.1}, "factor is -0.1, but must be 0 to 1000"),
        ({"factor": 1e10}, "factor is 10000000000.0, but must be 0 to 1000"),
        ({"on": [OSError]}, "on is [<class 'OSError'>], but must be a tuple of exceptions"),
        ({"never": ("OSError",)}, "never is ('OSError',), but must be a tuple of exceptions"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_where_it_is_written(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        Retry(**values)


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf")])
def test_asking_for_a_delay_that_makes_no_sense_is_refused(delay: float) -> None:
    with pytest.raises(ValueError, match="between 0 seconds"):
        RetryLater(delay)


def test_a_policy_may_name_one_class_or_tuples_within_tuples_as_isinstance_does() -> None:
    policy = Retry(on=((OSError, KeyError), ValueError), never=PermissionError)  # pyright: ignore[reportArgumentType]
    assert policy.covers(KeyError())
    assert not policy.covers(PermissionError())
