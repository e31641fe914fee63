"""Idempotency keys and unique keys, also when everything happens at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app import TaskService, Triggered, TriggerRequest
from app.errors import IdempotencyConflict, UniqueConflict
from app.registry import Registry
from app.settings import Settings
from tests.service.conftest import SUCCEED, Hand, service


@pytest.fixture
async def other(settings: Settings, registry: Registry) -> AsyncIterator[TaskService]:
    """A second process, as far as the database can tell."""
    async with service(settings, registry) as tasks:
        yield tasks


def keyed(key: str, text: str = "x", **changes: object) -> TriggerRequest:
    return TriggerRequest(definition_id="echo", input={"text": text}, idempotency_key=key, **changes)  # type: ignore[arg-type]


async def test_the_same_key_and_input_give_the_first_run(tasks: TaskService) -> None:
    first = await tasks.submit(keyed("k"))
    # The order of the members and white space do not make another input.
    again = await tasks.submit(TriggerRequest(definition_id="echo", input={"text": "x"}, idempotency_key="k"))
    assert (first.deduplicated, again.deduplicated) == (False, True)
    assert again.run.model_dump() == first.run.model_dump()


async def test_the_same_key_with_another_input_is_refused(tasks: TaskService) -> None:
    first = await tasks.submit(keyed("k"))
    with pytest.raises(IdempotencyConflict) as refusal:
        await tasks.submit(keyed("k", "other"))
    assert refusal.value.run_id == str(first.run.id)


async def test_a_key_belongs_to_its_definition(tasks: TaskService) -> None:
    await tasks.submit(keyed("k"))
    await tasks.submit(TriggerRequest(definition_id="no-input", idempotency_key="k"))
    assert await tasks.count() == 2


async def test_fifty_triggers_at_once_with_one_key_give_one_run(tasks: TaskService, other: TaskService) -> None:
    await tasks.trigger("no-input")
    answers = await asyncio.gather(*((tasks, other)[n % 2].submit(keyed("k")) for n in range(50)))
    assert len({answer.run.id for answer in answers}) == 1
    assert [answer.deduplicated for answer in answers].count(False) == 1
    assert await tasks.count() == 2


async def test_the_same_key_twice_in_one_batch_gives_one_run(tasks: TaskService) -> None:
    answers = await tasks.submit_many([keyed("k"), keyed("k"), keyed("k", "other"), keyed("l")])
    first, second, third, fourth = answers
    assert isinstance(first, Triggered)
    assert isinstance(second, Triggered)
    assert second.run.id == first.run.id
    assert sorted([first.deduplicated, second.deduplicated]) == [False, True]
    assert isinstance(third, IdempotencyConflict)
    assert isinstance(fourth, Triggered)


@pytest.mark.parametrize("keys", [("z", "u", "a", "u"), ("k", "z", "k", "a")], ids=["unique", "idempotency"])
async def test_of_two_in_one_batch_that_share_a_key_the_first_is_stored_whatever_their_other_keys(
    keys: tuple[str, str, str, str], tasks: TaskService
) -> None:
    one, two = keyed(keys[0], name="first", unique_key=keys[1]), keyed(keys[2], name="second", unique_key=keys[3])
    first, second = await tasks.submit_many([one, two])
    assert isinstance(first, Triggered)
    assert (first.run.name, first.deduplicated) == ("first", False)
    if isinstance(second, Triggered):
        assert (second.run.id, second.deduplicated) == (first.run.id, True)
    else:
        assert isinstance(second, UniqueConflict)


async def test_batches_with_the_same_keys_in_opposite_order_both_succeed(
    tasks: TaskService, other: TaskService
) -> None:
    there = [keyed(f"k{n}", unique_key=f"u{n}") for n in range(200)]
    both = await asyncio.gather(tasks.submit_many(there), other.submit_many(there[::-1]))
    runs = [answer.run.id for answers in both for answer in answers if isinstance(answer, Triggered)]
    assert (len(runs), len(set(runs))) == (400, 200)


async def test_a_unique_key_is_held_while_its_run_is_live(tasks: TaskService, hand: Hand) -> None:
    first = await tasks.trigger("echo", unique_key="u")
    with pytest.raises(UniqueConflict) as refusal:
        await tasks.trigger("echo", unique_key="u")
    assert refusal.value.run_id == str(first.id)
    [held] = await hand.claim()
    await held.write(move=SUCCEED)
    assert (await tasks.trigger("echo", unique_key="u")).id != first.id


async def test_many_at_once_with_one_unique_key_leave_one_live_run(tasks: TaskService, other: TaskService) -> None:
    requests = [TriggerRequest(definition_id="echo", unique_key="u") for _ in range(30)]
    answers = await asyncio.gather(
        *((tasks, other)[n % 2].submit(request) for n, request in enumerate(requests)), return_exceptions=True
    )
    assert sum(isinstance(answer, Triggered) for answer in answers) == 1
    assert sum(isinstance(answer, UniqueConflict) for answer in answers) == 29


async def test_a_repeated_key_is_given_its_run_even_while_that_run_holds_the_unique_key(tasks: TaskService) -> None:
    first = await tasks.submit(keyed("k", unique_key="u"))
    again = await tasks.submit(keyed("k", unique_key="u"))
    assert (again.run.id, again.deduplicated) == (first.run.id, True)


async def test_a_unique_key_taken_and_given_back_all_the_time_never_breaks_a_trigger(tasks: TaskService) -> None:
    async def churn() -> None:
        for _ in range(10):
            try:
                run = await tasks.trigger("echo", unique_key="u")
            except UniqueConflict:
                continue
            await tasks.abort(run.id)

    await asyncio.gather(*(churn() for _ in range(5)))
    assert await tasks.trigger("echo", unique_key="u")
