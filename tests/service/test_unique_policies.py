"""What becomes of triggers whose unique key is taken: they are refused, given the run that is there, or replace it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from app import Limits, ParentAborted, TaskRun, TaskService, Triggered, TriggerRequest, UniquePolicy, WhenFull
from app.errors import IdempotencyConflict, InvalidArgument, LimitReached, TaskRunNotAbortable, UniqueConflict
from app.registry import Registry
from app.settings import Settings
from app.states import Status, acknowledge_abort
from tests.service.conftest import SUCCEED, Hand, definition, definitions, service
from tests.service.lossy import Lossy, lossy
from tests.workbench import until

REPLACE, EXISTING = UniquePolicy.REPLACE, UniquePolicy.RETURN_EXISTING


@pytest.fixture
def registry() -> Registry:
    registry = definitions()
    registry.add(definition("pair", limits=Limits(max_concurrency=2, when_full=WhenFull.REJECT)))
    registry.add(definition("single", limits=Limits(max_concurrency=1, when_full=WhenFull.REJECT)))
    return registry


@pytest.fixture
async def other(settings: Settings, registry: Registry) -> AsyncIterator[TaskService]:
    """A second process, as far as the database can tell."""
    async with service(settings, registry) as tasks:
        yield tasks


@pytest.fixture
async def proxy(settings: Settings) -> AsyncIterator[Lossy]:
    async with lossy(settings.database_url) as proxy:
        yield proxy


def taking(policy: UniquePolicy | str, key: str = "u", **changes: Any) -> TriggerRequest:
    return TriggerRequest(**{"definition_id": "echo", "unique_key": key, "unique_policy": policy, **changes})


async def statuses(tasks: TaskService, *those: TaskRun) -> list[Status]:
    return [(await tasks.get(run.id)).status for run in those]


async def test_the_existing_run_is_returned(tasks: TaskService, other: TaskService) -> None:
    first = await tasks.submit(taking(EXISTING))
    again = await other.submit(taking(EXISTING, input={"text": "other"}))
    assert (first.deduplicated, again.deduplicated, again.run.id) == (False, True, first.run.id)
    assert await tasks.count() == 1


async def test_many_at_once_that_share_all_get_one_run(tasks: TaskService, other: TaskService) -> None:
    answers = await asyncio.gather(*((tasks, other)[n % 2].submit(taking(EXISTING)) for n in range(40)))
    assert len({answer.run.id for answer in answers}) == 1
    assert [answer.deduplicated for answer in answers].count(False) == 1


async def test_a_final_run_is_not_returned(tasks: TaskService, hand: Hand) -> None:
    first = await tasks.submit(taking(EXISTING))
    [held] = await hand.claim()
    await held.write(move=SUCCEED)
    assert (await tasks.submit(taking(EXISTING))).run.id != first.run.id


async def test_a_run_is_shared_also_when_a_limit_would_refuse_another_one(tasks: TaskService) -> None:
    first = await tasks.submit(taking(EXISTING, definition_id="single"))
    again = await tasks.submit(taking(EXISTING, definition_id="single"))
    assert (again.run.id, again.deduplicated) == (first.run.id, True)
    with pytest.raises(LimitReached):
        await tasks.submit(taking(EXISTING, "another", definition_id="single"))


async def test_what_nobody_holds_is_replaced_at_once_with_its_children(tasks: TaskService) -> None:
    first = (await tasks.submit(taking(REPLACE))).run
    child = await tasks.trigger("echo", parent=first)
    second = (await tasks.submit(taking(REPLACE))).run
    assert await statuses(tasks, first, child, second) == [Status.ABORTED, Status.ABORTED, Status.QUEUED]
    told = await tasks.get(first.id)
    assert told.abort_message == f"Replaced by run {second.id}, which has taken over the unique key 'u'."
    with pytest.raises(UniqueConflict) as refusal:
        await tasks.trigger("echo", unique_key="u")
    assert refusal.value.run_id == str(second.id)


async def test_what_a_worker_holds_is_asked_to_stop_and_the_new_run_waits_for_it(
    tasks: TaskService, hand: Hand, hire: Callable[..., Hand]
) -> None:
    first = (await tasks.submit(taking(REPLACE))).run
    [held] = await hand.claim()
    second = (await tasks.submit(taking(REPLACE))).run
    assert (second.status, second.wait_for) == (Status.SCHEDULED, [first.id])
    assert await statuses(tasks, first, second) == [Status.ABORTING, Status.SCHEDULED]
    await hand.lifecycle.dispatch()
    assert await hire().claim() == []
    await held.write(move=acknowledge_abort())
    await hand.lifecycle.dispatch()
    [next_one] = await hire().claim()
    assert next_one.id == second.id
    assert (await tasks.get(second.id)).wait_for is None
    assert await statuses(tasks, first) == [Status.ABORTED]


async def test_one_that_waits_is_itself_replaced_and_its_successor_waits_for_the_same_run(
    tasks: TaskService, hand: Hand, hire: Callable[..., Hand]
) -> None:
    first = (await tasks.submit(taking(REPLACE))).run
    [held] = await hand.claim()
    second = (await tasks.submit(taking(REPLACE))).run
    third = (await tasks.submit(taking(REPLACE))).run
    assert await statuses(tasks, first, second, third) == [Status.ABORTING, Status.ABORTED, Status.SCHEDULED]
    await hand.lifecycle.dispatch()
    assert await hire().claim() == []
    # The worker was done before it heard of it.
    await held.write(move=SUCCEED)
    await hand.lifecycle.dispatch()
    assert [run.id for run in await hire().claim()] == [third.id]


async def test_a_run_that_is_being_aborted_anyway_is_replaced_and_waited_for(tasks: TaskService, hand: Hand) -> None:
    first = await tasks.trigger("echo", unique_key="u")
    await hand.claim()
    await tasks.abort(first.id)
    with pytest.raises(UniqueConflict):
        await tasks.trigger("echo", unique_key="u")
    second = (await tasks.submit(taking(REPLACE))).run
    assert (second.status, second.wait_for) == (Status.SCHEDULED, [first.id])


async def test_a_replacement_with_a_start_time_keeps_it(tasks: TaskService, hand: Hand) -> None:
    await tasks.submit(taking(REPLACE))
    [held] = await hand.claim()
    second = (await tasks.submit(taking(REPLACE, delay=3600))).run
    await held.write(move=acknowledge_abort())
    await hand.lifecycle.dispatch()
    assert await statuses(tasks, second) == [Status.SCHEDULED]


async def test_a_replacement_whose_holder_vanishes_with_its_worker_goes_on(
    tasks: TaskService, hand: Hand, hire: Callable[..., Hand]
) -> None:
    first = (await tasks.submit(taking(REPLACE))).run
    await hand.claim()
    second = (await tasks.submit(taking(REPLACE))).run
    await hand.lifecycle.leave()
    await hire().lifecycle.reap()
    await hire().lifecycle.dispatch()
    assert await statuses(tasks, first, second) == [Status.ABORTED, Status.QUEUED]


async def test_a_waiting_replacement_can_be_aborted(tasks: TaskService, hand: Hand) -> None:
    await tasks.submit(taking(REPLACE))
    await hand.claim()
    second = (await tasks.submit(taking(REPLACE))).run
    await tasks.abort(second.id)
    assert (await tasks.get(second.id)).status is Status.ABORTED
    assert isinstance(await tasks.submit(taking(REPLACE)), Triggered)


@pytest.mark.parametrize("end", ["aborted", "expired"])
async def test_a_waiting_replacement_that_ends_lets_nobody_be_executed_beside_the_run_that_still_stops(
    tasks: TaskService, hand: Hand, hire: Callable[..., Hand], end: str
) -> None:
    first = await tasks.trigger("echo", unique_key="u")
    [held] = await hand.claim()
    second = (await tasks.submit(taking(REPLACE, ttl=0.001 if end == "expired" else None))).run
    if end == "aborted":
        await tasks.abort(second.id)
    else:
        await until(hand.lifecycle.dispatch)
    assert (await tasks.get(second.id)).status is (Status.ABORTED if end == "aborted" else Status.EXPIRED)
    with pytest.raises(UniqueConflict) as refusal:
        await tasks.trigger("echo", unique_key="u")
    assert refusal.value.run_id == str(first.id)
    third = (await tasks.submit(taking(REPLACE))).run
    assert (third.status, third.wait_for) == (Status.SCHEDULED, [first.id])
    assert await hire().claim() == []
    await held.write(move=acknowledge_abort())
    await hand.lifecycle.dispatch()
    assert [run.id for run in await hire().claim()] == [third.id]


async def test_many_that_replace_at_once_leave_one_live_run_and_all_are_answered(
    tasks: TaskService, other: TaskService, hand: Hand
) -> None:
    first = (await tasks.submit(taking(REPLACE))).run
    await hand.claim()
    answers = await asyncio.gather(*((tasks, other)[n % 2].submit(taking(REPLACE)) for n in range(30)))
    stored = [await tasks.get(answer.run.id) for answer in answers]
    live = [run for run in stored if run.status is not Status.ABORTED]
    assert [(run.status, run.wait_for) for run in live] == [(Status.SCHEDULED, [first.id])]
    assert len(stored) == len({run.id for run in stored}) == 30


@pytest.mark.parametrize("held_before", [False, True])
async def test_in_one_batch_the_last_of_a_key_replaces_the_others(tasks: TaskService, held_before: bool) -> None:
    if held_before:
        await tasks.trigger("echo", unique_key="u")
    requests = [*(taking(REPLACE, idempotency_key=key) for key in "cba"), taking(REPLACE, "v"), taking("REJECT")]
    answers = await tasks.submit_many(requests)
    assert [type(answer) for answer in answers[:4]] == [Triggered] * 4
    made = [answer.run for answer in answers if isinstance(answer, Triggered)]
    live = [run for run in made if (await tasks.get(run.id)).status is Status.QUEUED]
    assert [(run.unique_key, run.idempotency_key) for run in live] == [("u", "a"), ("v", None)]
    assert isinstance(answers[4], UniqueConflict)


async def test_in_one_batch_all_that_share_a_key_get_the_run_of_the_first_also_when_a_limit_lets_in_one(
    tasks: TaskService,
) -> None:
    answers = await tasks.submit_many([taking(EXISTING, definition_id="single")] * 3)
    given = [(answer.run.id, answer.deduplicated) for answer in answers if isinstance(answer, Triggered)]
    assert given == [(given[0][0], False), (given[0][0], True), (given[0][0], True)]


async def test_what_a_unique_key_refuses_takes_no_room_below_a_limit_of_the_same_batch(tasks: TaskService) -> None:
    await tasks.submit(taking("REJECT", definition_id="pair"))
    answers = await tasks.submit_many([taking("REJECT", definition_id="pair"), TriggerRequest(definition_id="pair")])
    assert [type(answer) for answer in answers] == [UniqueConflict, Triggered]


async def test_what_a_limit_refuses_takes_along_those_of_its_key_but_none_that_the_limit_lets_in(
    tasks: TaskService,
) -> None:
    await tasks.trigger("single")
    now, later = taking("REJECT", definition_id="single"), taking("REJECT", definition_id="single", delay=60)
    answers = await tasks.submit_many([now, now, later, later])
    assert [type(answer) for answer in answers] == [LimitReached, LimitReached, Triggered, UniqueConflict]


async def test_who_repeats_a_replacement_with_its_key_aborts_nobody(tasks: TaskService) -> None:
    request = taking(REPLACE, idempotency_key="k")
    first = await tasks.submit(request)
    second = await tasks.submit(taking(REPLACE))
    again = await tasks.submit(request)
    assert (again.run.id, again.deduplicated) == (first.run.id, True)
    with pytest.raises(IdempotencyConflict):
        await tasks.submit(taking(REPLACE, idempotency_key="k", input={"text": "other"}))
    assert await statuses(tasks, second.run) == [Status.QUEUED]


async def test_a_replacement_that_is_refused_aborts_nobody(tasks: TaskService) -> None:
    gone = await tasks.trigger("echo", delay=60)
    await tasks.abort(gone.id)
    first = (await tasks.submit(taking(REPLACE))).run
    with pytest.raises(ParentAborted):
        await tasks.submit(taking(REPLACE, parent_id=gone.id))
    single = (await tasks.submit(taking(REPLACE, definition_id="single"))).run
    with pytest.raises(LimitReached):
        await tasks.submit(taking(REPLACE, definition_id="single"))
    assert await statuses(tasks, first, single) == [Status.QUEUED, Status.QUEUED]


async def test_a_run_is_not_replaced_by_what_is_below_it(tasks: TaskService) -> None:
    root = (await tasks.submit(taking(REPLACE))).run
    child = await tasks.trigger("echo", parent=root)
    with pytest.raises(UniqueConflict) as refusal:
        await tasks.submit(taking(REPLACE, parent_id=child.id))
    assert refusal.value.run_id == str(root.id)
    assert await statuses(tasks, root, child) == [Status.QUEUED, Status.QUEUED]


async def test_a_replacement_whose_reply_was_lost_replaces_once(
    settings: Settings, registry: Registry, tasks: TaskService, proxy: Lossy
) -> None:
    first = (await tasks.submit(taking(REPLACE))).run
    async with service(settings.model_copy(update={"database_url": proxy.url}), registry) as far:
        await far.trigger("echo")
        proxy.lose_reply_to("COMMIT")
        second = await far.submit(taking(REPLACE))
        assert proxy.lost == 1
    assert await statuses(tasks, first, second.run) == [Status.ABORTED, Status.QUEUED]
    assert await tasks.count() == 3


@pytest.mark.parametrize("policy", list(UniquePolicy))
async def test_whoever_takes_a_key_that_comes_and_goes_is_answered(
    policy: UniquePolicy, tasks: TaskService, other: TaskService
) -> None:
    async def churn(service: TaskService) -> None:
        for _ in range(10):
            with contextlib.suppress(UniqueConflict, TaskRunNotAbortable):
                triggered = await service.submit(taking(policy))
                await service.abort(triggered.run.id)

    await asyncio.gather(*(churn(service) for service in (tasks, other, tasks, other)))
    assert (await tasks.submit(taking(REPLACE))).run.status is Status.QUEUED


async def test_a_policy_needs_a_key_and_has_to_be_one(tasks: TaskService) -> None:
    with pytest.raises(InvalidArgument, match="give one too") as refusal:
        await tasks.trigger("echo", unique_policy=REPLACE)
    assert refusal.value.path == ("input", "uniquePolicy")
    with pytest.raises(InvalidArgument, match="REJECT, RETURN_EXISTING, REPLACE"):
        await tasks.trigger("echo", unique_key="u", unique_policy="replace!")
