"""Following live: nothing is missed, nothing comes twice, and every stream ends when it should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import pytest
from sqlalchemy import event

from app import RunFilter, TaskLogLevel, TaskRunStatus, TaskService, TriggerRequest, states
from app.dev.valkey import EmbeddedValkey
from app.errors import FellBehind, ServiceClosed, TaskRunNotFound
from app.models import TaskRun
from app.registry import Registry
from app.service import changes
from app.service.watching import READS_AT_ONCE
from app.settings import Settings
from app.states import RunError, TaskRunStatusReason
from tests.service.conftest import SUCCEED, Hand, service
from tests.workbench import connected, until

Item = TypeVar("Item")


@pytest.fixture
async def without_redis(settings: Settings, registry: Registry) -> AsyncIterator[TaskService]:
    """A service whose Redis is not there."""
    away = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with service(away, registry) as tasks:
        yield tasks


async def rest(stream: AsyncGenerator[Item, Any]) -> list[Item]:
    """All that a stream still gives."""
    async with asyncio.timeout(10), aclosing(stream):
        return [item async for item in stream]


async def test_a_log_is_given_from_the_start_or_after_a_line_and_ends(tasks: TaskService, hand: Hand) -> None:
    run = await tasks.trigger("echo")
    [held] = await hand.claim()
    await held.write("one", "two", "three")
    assert [line.message for line in await rest(tasks.logs(run.id))] == ["one", "two", "three"]
    assert [line.sequence for line in await rest(tasks.logs(run.id, after=2))] == [3]


@pytest.mark.parametrize("redis", [True, False], ids=["with redis", "without redis"])
async def test_a_followed_log_has_every_line_once_and_ends_after_the_last_one_of_a_final_run(
    tasks: TaskService, without_redis: TaskService, hand: Hand, redis: bool
) -> None:
    run = await tasks.trigger("echo")
    [held] = await hand.claim()
    await held.write("0")
    stream = (tasks if redis else without_redis).logs(run.id, follow=True)
    seen = [(await anext(stream)).sequence]
    following = asyncio.create_task(rest(stream))
    for n in range(20):
        await held.write(*(f"{n}.{m}" for m in range(70)))
    await held.write("last words", move=SUCCEED)
    seen += [line.sequence for line in await following]
    assert seen == list(range(1, 1403))


async def test_a_followed_log_may_be_filtered_by_level(tasks: TaskService, hand: Hand) -> None:
    run = await tasks.trigger("echo")
    [held] = await hand.claim()
    following = asyncio.create_task(rest(tasks.logs(run.id, follow=True, levels=[TaskLogLevel.ERROR])))
    await held.write("fine", "fine")
    await held.write("bad", level="ERROR")
    await held.write("fine", move=SUCCEED)
    assert [line.message for line in await following] == ["bad"]


async def test_a_subscriber_that_comes_back_goes_on_where_it_stopped(tasks: TaskService, hand: Hand) -> None:
    run = await tasks.trigger("echo")
    [held] = await hand.claim()
    seen: list[int] = []
    for n in range(5):
        await held.write(str(n))
        async with aclosing(tasks.logs(run.id, after=len(seen), follow=True)) as stream:
            seen.append((await anext(stream)).sequence)
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("redis", [True, False], ids=["with redis", "without redis"])
async def test_a_watched_run_is_given_now_and_at_every_change_until_it_is_final(
    tasks: TaskService, without_redis: TaskService, hand: Hand, redis: bool
) -> None:
    run = await tasks.trigger("echo")
    stream = (tasks if redis else without_redis).watch(run.id)
    assert (await anext(stream)).status is TaskRunStatus.QUEUED
    [held] = await hand.claim()
    assert (await anext(stream)).status is TaskRunStatus.RUNNING
    await tasks.abort(run.id)
    assert (await anext(stream)).status is TaskRunStatus.ABORTING
    await held.write(move=SUCCEED)
    assert [run.status for run in await rest(stream)] == [TaskRunStatus.SUCCEEDED]


async def test_a_final_run_is_given_once(tasks: TaskService) -> None:
    run = await tasks.trigger("echo")
    await tasks.abort(run.id)
    assert [run.status for run in await rest(tasks.watch(run.id))] == [TaskRunStatus.ABORTED]


async def test_unknown_runs_cannot_be_followed(tasks: TaskService) -> None:
    for stream in (tasks.watch("no uuid"), tasks.logs("0199c0de-0000-7000-8000-000000000000", follow=True)):
        with pytest.raises(TaskRunNotFound):
            await anext(stream)


@pytest.mark.parametrize("timeout", [timedelta(0), timedelta(seconds=-1), 0, 0.01])
async def test_waiting_for_no_time_or_for_seconds_ends_too(tasks: TaskService, timeout: timedelta | float) -> None:
    run = await tasks.trigger("echo")
    async with asyncio.timeout(10) as patience:
        with pytest.raises(TimeoutError):
            await tasks.wait(run.id, timeout=timeout)
    assert not patience.expired()


async def test_waiting_ends_with_the_run_or_with_the_time(tasks: TaskService, hand: Hand) -> None:
    run = await tasks.trigger("echo")
    with pytest.raises(TimeoutError, match=f"Run {run.id} was not final in time, and goes on"):
        await tasks.wait(run.id, timeout=timedelta(milliseconds=1))
    waiting = asyncio.create_task(tasks.wait(run.id, timeout=timedelta(seconds=10)))
    [held] = await hand.claim()
    await held.write(move=SUCCEED)
    assert (await waiting).output == "done"


@pytest.mark.parametrize("redis", [True, False], ids=["with redis", "without redis"])
async def test_watching_all_gives_every_matching_run_at_its_changes(
    tasks: TaskService, without_redis: TaskService, hand: Hand, redis: bool
) -> None:
    await tasks.trigger("no-input", priority=9)
    [other] = await hand.claim()
    watcher = tasks if redis else without_redis
    async with asyncio.timeout(15), aclosing(watcher.watch_all(RunFilter(definition_ids=["echo"]))) as stream:
        listening = asyncio.ensure_future(anext(stream))
        triggered = set()
        while not listening.done():
            # What is triggered before the stream listens is not its business, so that one trigger might not do.
            triggered.add((await tasks.trigger("echo")).id)
            await asyncio.wait({listening}, timeout=0.05)
        seen = [await listening]
        await other.write("not asked for")
        for held in await hand.claim(1000):
            await held.write(move=SUCCEED)
        while (seen[-1].id, seen[-1].status) != (seen[0].id, TaskRunStatus.SUCCEEDED):
            seen.append(await anext(stream))
    assert {run.id for run in seen} <= triggered
    moments = [(run.id, run.status) for run in seen]
    assert len(set(moments)) == len(moments)


async def test_watching_all_gives_every_run_as_it_stands_however_many_change_at_once_while_redis_is_away(
    tasks: TaskService, embedded_valkey: EmbeddedValkey
) -> None:
    async with asyncio.timeout(60), aclosing(tasks.watch_all()) as stream:
        parent = await listened_to(stream, tasks)
        await embedded_valkey.kill()
        try:
            child = TriggerRequest(definition_id="echo", parent_id=parent)
            ids = {parent}
            for _ in range(3):
                ids |= {answer.run.id for answer in await tasks.submit_many([child] * 900)}  # type: ignore[union-attr]
            latest: dict[UUID, TaskRunStatus] = {}
            await given(stream, latest, ids - {parent}, TaskRunStatus.QUEUED)
            # All of them in one transaction.
            await tasks.abort(parent)
            await given(stream, latest, ids, TaskRunStatus.ABORTED)
        finally:
            await embedded_valkey.start()


async def test_watching_all_gives_a_run_that_was_given_back_while_redis_is_away(
    tasks: TaskService, without_redis: TaskService, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that the run is soon older than what is looked at for being new.
    monkeypatch.setattr(changes, "OVERLAP", timedelta(0))
    async with asyncio.timeout(20), aclosing(without_redis.watch_all()) as stream:
        run_id = await listened_to(stream, tasks)
        held = next(held for held in await hand.claim(1000) if held.row["id"] == run_id)
        latest: dict[UUID, TaskRunStatus] = {}
        await given(stream, latest, {run_id}, TaskRunStatus.RUNNING)
        await held.write(move=states.interrupt())
        await given(stream, latest, {run_id}, TaskRunStatus.QUEUED)


async def test_watching_all_gives_what_one_did_who_reaches_no_redis_while_others_are_heard_of_all_the_time(
    tasks: TaskService, without_redis: TaskService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "OVERLAP", timedelta(seconds=1))
    async with asyncio.timeout(20), aclosing(tasks.watch_all()) as stream:
        await listened_to(stream, tasks)
        silent = (await without_redis.trigger("no-input")).id
        given_out = asyncio.create_task(given(stream, {}, {silent}, TaskRunStatus.QUEUED))
        while not given_out.done():
            await tasks.trigger("echo")
            await asyncio.wait({given_out}, timeout=0.1)
        await given_out


async def test_however_many_follow_all_runs_one_looks_for_all_and_also_after_others_have_left(
    without_redis: TaskService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LOOK_SECONDS", 0.2)
    async with asyncio.timeout(20):
        async with aclosing(without_redis.watch_all()) as stream:
            await listened_to(stream, without_redis)
        async with AsyncExitStack() as ending:
            looked = ending.enter_context(looks(without_redis))
            streams = [await ending.enter_async_context(aclosing(without_redis.watch_all())) for _ in range(20)]
            following = [asyncio.ensure_future(anext(stream)) for stream in streams]
            # Each of them looks once, for what is no news, and so does the one for all.
            await until(lambda: len(looked) > len(following))
            looked.clear()
            taken = ending.enter_context(connections_taken(without_redis))
            run = await without_redis.trigger("echo")
            assert {run.id for run in await asyncio.gather(*following)} == {run.id}
            assert len(looked) < len(following) / 2
            # And the look for all.
            assert max(taken) <= READS_AT_ONCE + 1, "the others are left to those who do not follow"


async def test_however_many_follow_single_runs_and_their_logs_one_statement_looks_for_all(
    without_redis: TaskService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LOOK_SECONDS", 0.4)
    runs = [await without_redis.trigger("echo") for _ in range(20)]
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        with statements(without_redis) as sent:
            for run in runs:
                group.create_task(rest(without_redis.watch(run.id)))
                group.create_task(rest(without_redis.logs(run.id, follow=True)))
                # Each begins in its own time, with a look at the run and one at the log.
                await until(lambda run=run: len(about(run, sent)) > 1)
            sent.clear()
            await until(lambda: len(about(runs[0], sent)) > 1)
            assert len(sent) < len(runs) / 2
        for run in runs:
            await without_redis.abort(run.id)


async def test_watching_ends_with_the_service(settings: Settings, registry: Registry, hand: Hand) -> None:
    async with service(settings, registry) as tasks:
        run = await tasks.trigger("echo")
        streams = (tasks.watch(run.id), tasks.watch_all())
        first = [asyncio.ensure_future(anext(stream)) for stream in streams]
        await first[0]
        while not first[1].done():
            await tasks.trigger("echo")
            await asyncio.wait(first, timeout=0.1)
        following = [asyncio.ensure_future(rest(stream)) for stream in streams]
        await asyncio.sleep(0)
    ends = await asyncio.gather(*following, return_exceptions=True)
    assert [type(end) for end in ends] == [ServiceClosed, ServiceClosed]


async def test_changes_do_not_pile_up_behind_who_takes_too_few_of_them(
    tasks: TaskService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MOST_BEHIND", 2)
    async with asyncio.timeout(15), aclosing(tasks.watch_all()) as stream:
        await listened_to(stream, tasks)
        [follower] = tasks._watching._changes._followers
        await tasks.submit_many([TriggerRequest(definition_id="echo")] * 3)
        await until(lambda: follower._over is not None)
        assert len(follower._changed) <= 2
        with pytest.raises(FellBehind, match="Follow again"):
            await rest(stream)


async def test_watching_all_gives_a_run_that_fits_once_its_error_is_grouped(
    tasks: TaskService, hand: Hand, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LOOK_SECONDS", 0.1)
    run = await tasks.trigger("echo")
    [held] = await hand.claim()
    await held.write(move=states.fail(RunError("OSError", "full"), TaskRunStatusReason.ERROR))
    with looks(tasks) as looked:
        async with asyncio.timeout(10), aclosing(tasks.watch_all(RunFilter(error_group="of-these"))) as stream:
            listening = asyncio.ensure_future(anext(stream))
            await until(lambda: len(looked) > 3)
            async with connected(settings) as connection:
                await connection.execute("UPDATE task_runs SET error_group = 'of-these' WHERE id = $1", run.id)
            assert (await listening).id == run.id


@contextmanager
def looks(tasks: TaskService) -> Iterator[list[str]]:
    """The last statement of every look for changed runs that a service makes, as it is sent."""
    with statements(tasks, "id = ANY", "status =") as looked:
        yield looked


@contextmanager
def statements(tasks: TaskService, *words: str) -> Iterator[list[str]]:
    """Each statement of a service that has these words, with its parameters, as it is sent."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if all(word in statement for word in words):
            sent.append(f"{statement} {parameters}")

    with noted(tasks, note):
        yield sent


@contextmanager
def connections_taken(tasks: TaskService) -> Iterator[list[int]]:
    """How many connections of its pool a service uses, at each statement."""
    taken: list[int] = []
    pool: Any = tasks._watching._db._engine.pool
    with noted(tasks, lambda *_: taken.append(pool.checkedout())):
        yield taken


@contextmanager
def noted(tasks: TaskService, note: Callable[..., None]) -> Iterator[None]:
    """Each statement of a service is noted as it is sent."""
    engine = tasks._watching._db._engine.sync_engine  # type: ignore[attr-defined]
    event.listen(engine, "before_cursor_execute", note)
    yield
    event.remove(engine, "before_cursor_execute", note)


def about(run: TaskRun, sent: list[str]) -> list[str]:
    """Those of the statements that have a run among their parameters."""
    return [statement for statement in sent if str(run.id) in statement]


async def listened_to(stream: AsyncGenerator[TaskRun, Any], tasks: TaskService) -> UUID:
    """A run that a stream of all runs has given, which it does from now on."""
    listening = asyncio.ensure_future(anext(stream))
    while not listening.done():
        # What is triggered before the stream listens is not its business, so that one trigger might not do.
        await tasks.trigger("echo")
        await asyncio.wait({listening}, timeout=0.05)
    return (await listening).id


async def given(
    stream: AsyncGenerator[TaskRun, Any], latest: dict[UUID, TaskRunStatus], ids: set[UUID], status: TaskRunStatus
) -> None:
    """Take from a stream of all runs until these, by what it gave of each last, have a status."""
    missing = {id for id in ids if latest.get(id) != status}
    while missing:
        run = await anext(stream)
        latest[run.id] = run.status
        missing = missing - {run.id} if run.status is status else missing
