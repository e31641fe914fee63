"""Limits: what may be declared, what divides runs, and which runs fit."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fitting import Candidate, Fitted, fit, taken_up
from app.limits import Full, Limits, Measure, Scope, Tally, WhenFull
from app.registry import DefinitionError
from workers import task

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_concurrency": 0}, "max_concurrency=0, but must be a whole number from 1 to 10,000"),
        ({"max_concurrency": 10_001}, "max_concurrency=10001, but"),
        ({"max_concurrency": 1.5}, "max_concurrency=1.5, but"),
        ({"max_concurrency": True}, "max_concurrency=True, but"),
        ({"key": "a", "max_concurrency_per_key": -1}, "max_concurrency_per_key=-1, but"),
        ({"rate": "60"}, "rate='60', but must be like '60/minute'"),
        ({"rate": "0/minute"}, "rate='0/minute', but"),
        ({"rate": "60/fortnight"}, "rate='60/fortnight', but"),
        ({"rate": "10001/day"}, "1 to 10,000 starts"),
        ({"rate": 60}, "rate=60, but"),
        ({"key": "a", "rate_per_key": "x"}, "rate_per_key='x', but"),
        ({"max_concurrency_per_key": 1}, "a limit per key, but no key"),
        ({"key": "a", "max_concurrency": 1}, "a key, but no limit per key"),
        ({"key": "a..b", "max_concurrency_per_key": 1}, "the key 'a..b', which is no JMESPath expression"),
        ({"key": "", "max_concurrency_per_key": 1}, "no JMESPath expression of 1 to 1000 characters"),
        ({"key": "(" * 999, "max_concurrency_per_key": 1}, "which is no JMESPath expression"),
        ({}, "limits nothing"),
        ({"max_concurrency": 1, "when_full": "REJECT"}, "when_full='REJECT', but must be WhenFull.QUEUE, WhenFull.R"),
        ({"rate": "1/day", "when_full": WhenFull.ABORT_OLDEST}, "ABORT_OLDEST with a rate only"),
    ],
)
def test_limits_that_cannot_work_are_refused_where_they_are_declared(changes: dict[str, Any], words: str) -> None:
    async def function(ctx: Any) -> None: ...

    with pytest.raises(DefinitionError) as refusal:
        task(id="test-bad-limits", limits=Limits(**changes))(function)
    assert str(refusal.value).startswith("test-bad-limits: limits ")
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("expression", "value", "key"),
    [
        ("tenant", {"tenant": "acme"}, "acme"),
        ("repository.owner", {"repository": {"owner": "acme"}}, "acme"),
        ("tenant", {"tenant": 7}, "7"),
        ("[tenant, region]", {"tenant": "a", "region": "b"}, '["a","b"]'),
        ("tenant", {"other": 1}, "null"),
        ("tenant", {"tenant": None}, "null"),
        ("tenant", None, "null"),
        ("tenant", {"tenant": "null"}, "null"),
        ("[type(tenant), tenant]", {"tenant": "null"}, '["string","null"]'),
        ("[type(tenant), tenant]", {}, '["null",null]'),
        ("length(tenant)", {"tenant": 7}, "null"),
        ("@", {"b": 1, "a": 2}, '{"a":2,"b":1}'),
        ("tenant", {"tenant": ""}, ""),
        ("to_number(tenant)", {"tenant": "99999999999999999999999"}, "99999999999999999999999"),
        ("[sum(sizes), tenant]", {"sizes": [2**63] * 2, "tenant": "ü"}, '[18446744073709551616,"ü"]'),
        ("to_number(tenant)", {"tenant": "1e999"}, "null"),
        (None, {"tenant": "acme"}, ""),
    ],
)
def test_the_key_is_what_the_expression_finds_and_null_where_it_finds_nothing(
    expression: str | None, value: Any, key: str
) -> None:
    assert Limits(key=expression).key_of(value) == key


def test_a_long_key_is_cut_and_still_tells_keys_apart() -> None:
    one, two = (Limits(key="@").key_of("x" * 100_000 + end) for end in "ab")
    assert one != two
    assert len(one) < 200


def test_limits_come_back_as_they_were_published() -> None:
    limits = Limits(max_concurrency=3, key="a", rate_per_key="5/hour", when_full=WhenFull.REJECT)
    assert Limits.from_published(limits.published()) == limits
    assert Limits.from_published(None) is None


def run(number: int, *, key: str = "", priority: int = 0, first: bool = True, parked: Scope | None = None) -> Candidate:
    """A candidate; the higher its number, the later it is due."""
    return Candidate(
        UUID(int=number), 0, "default", priority, NOON + timedelta(seconds=number), key, first, parked, None
    )


def numbers(fitted: Fitted) -> list[int]:
    return [candidate.id.int for candidate in fitted.fitting]


def test_those_with_the_higher_priority_fit_first_and_then_those_that_were_due_first() -> None:
    fitted = fit(Limits(max_concurrency=2), Tally(), [run(3), run(2), run(1), run(4, priority=1)])
    assert numbers(fitted) == [4, 1]
    assert {full for _, full in fitted.waiting} == {Full(Scope.DEFINITION, Measure.CONCURRENCY)}


def test_a_full_key_hides_no_other_key() -> None:
    limits = Limits(max_concurrency=3, key="a", max_concurrency_per_key=1)
    fitted = fit(limits, Tally(), [*(run(n, key="crowded") for n in range(1, 9)), run(9, key="quiet")])
    assert numbers(fitted) == [1, 9]


def test_no_more_runs_of_a_key_wait_for_the_definition_than_could_go_on_under_that_key() -> None:
    limits = Limits(max_concurrency=1, key="a", max_concurrency_per_key=2)
    fitted = fit(limits, Tally(Counter({None: 1})), [run(n, key="a") for n in range(1, 6)])
    waiting = {candidate.id.int: full.scope for candidate, full in fitted.waiting}
    assert waiting == {1: Scope.DEFINITION, 2: Scope.DEFINITION, 3: Scope.KEY, 4: Scope.KEY, 5: Scope.KEY}


def test_a_rate_holds_back_first_starts_only() -> None:
    fitted = fit(Limits(rate="1/minute"), Tally(), [run(1), run(2), run(3, first=False)])
    assert numbers(fitted) == [1, 3]


def test_whoever_was_rung_for_makes_room_for_an_earlier_one_and_is_rung_for_again() -> None:
    fitted = fit(Limits(max_concurrency=2), Tally(), [run(1, parked=Scope.DEFINITION), run(2)])
    claimed, again = taken_up(fitted, {UUID(int=2)}, 1)
    assert ([c.id.int for c in claimed], [c.id.int for c in again]) == ([1], [2])


candidates = st.lists(
    st.builds(run, st.integers(1, 50), key=st.sampled_from("abc"), priority=st.integers(-2, 2), first=st.booleans()),
    max_size=40,
    unique_by=lambda candidate: candidate.id,
)
some = st.none() | st.integers(1, 5)


@given(candidates, some, some, some, some, st.dictionaries(st.sampled_from("abc"), st.integers(0, 4)))
def test_what_fits_never_exceeds_a_limit_and_whoever_waits_would(
    among: list[Candidate],
    whole: int | None,
    each: int | None,
    rate: int | None,
    rate_each: int | None,
    held: dict[str, int],
) -> None:
    limits = Limits(
        max_concurrency=whole,
        rate=f"{rate}/hour" if rate else None,
        key="a",
        max_concurrency_per_key=each,
        rate_per_key=f"{rate_each}/hour" if rate_each else None,
    )
    fitted = fit(limits, Tally(Counter({**held, None: sum(held.values())})), among)
    for key in "abc":
        of_key = [c for c in fitted.fitting if c.key == key]
        assert not of_key or each is None or held.get(key, 0) + len(of_key) <= each
        assert not rate_each or sum(c.first for c in of_key) <= rate_each
    assert not fitted.fitting or whole is None or sum(held.values()) + len(fitted.fitting) <= whole
    assert not rate or sum(c.first for c in fitted.fitting) <= rate
    assert len(fitted.fitting) + len(fitted.waiting) == len(among)
    if whole is each is rate is rate_each is None:
        assert not fitted.waiting
