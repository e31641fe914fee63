"""Redis away, PostgreSQL away, replies lost: what is answered is true."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

import app.db
from app import TaskRunStatus, TaskService, Triggered, TriggerRequest, at_hand, clock, lost_connections
from app.auth import LOCAL_ADMIN
from app.db import Database
from app.dev.postgres import EmbeddedPostgres
from app.errors import QueryTooSlow, ServiceClosed, ServiceUnavailable
from app.events import Events
from app.leases import Leases
from app.registry import Registry
from app.service import repeating
from app.service.known import KnownDefinitions
from app.service.preparing import NewRun, Preparing
from app.service.storing import Storing
from app.settings import Settings
from tests.operations.outages import frozen
from tests.service.conftest import SUCCEED, Hand, service
from tests.service.lossy import Lossy, lossy
from tests.workbench import connected, until

NOBODY = "0199c0de-0000-7000-8000-000000000000"
CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'"""


@pytest.fixture
async def proxy(settings: Settings) -> AsyncIterator[Lossy]:
    async with lossy(settings.database_url) as proxy:
        yield proxy


@pytest.fixture
async def far(settings: Settings, registry: Registry, proxy: Lossy) -> AsyncIterator[TaskService]:
    """A service whose database is behind the proxy, with its connections open and its statements prepared."""
    async with service(settings.model_copy(update={"database_url": proxy.url}), registry) as far:
        await far.abort((await far.trigger("echo")).id)
        yield far


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a connection that has gone silent as long as usual."""
    monkeypatch.setattr(repeating, "TRY_SECONDS", 0.5)
    monkeypatch.setattr(at_hand, "CLOSE_SECONDS", 0.5)
    monkeypatch.setattr(app.db, "CLOSE_SECONDS", 0.5)


async def test_without_redis_everything_is_stored_and_aborted_all_the_same(
    settings: Settings, registry: Registry, tasks: TaskService
) -> None:
    async with service(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}), registry) as away:
        run = await away.trigger("echo")
        assert (await tasks.get(run.id)).status is TaskRunStatus.QUEUED
        assert (await away.abort(run.id)).status is TaskRunStatus.ABORTED


async def test_a_trigger_that_may_wait_is_one_run_though_it_was_given_up_and_asked_for_again(
    far: TaskService, tasks: TaskService, proxy: Lossy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeating, "RETRY_SECONDS", ())

    async def pause() -> None:
        monkeypatch.undo()

    proxy.lose_reply_to("the-lost-one")
    triggered = await far.submit(TriggerRequest(definition_id="echo", name="the-lost-one"), pause=pause)
    assert proxy.lost == 1
    assert next(run.id for run in (await tasks.list()).items) == triggered.run.id
    assert await tasks.count() == 2


async def test_a_trigger_whose_reply_was_lost_is_one_run_and_the_caller_is_told_of_it(
    far: TaskService, tasks: TaskService, proxy: Lossy
) -> None:
    proxy.lose_reply_to("the-lost-one")
    triggered = await far.submit(TriggerRequest(definition_id="echo", name="the-lost-one"))
    assert proxy.lost == 1
    assert triggered.deduplicated is False
    assert next(run.id for run in (await tasks.list()).items) == triggered.run.id
    assert await tasks.count() == 2


@pytest.mark.parametrize("key", [{}, {"unique_key": "k", "unique_policy": "REPLACE"}], ids=["alone", "within more"])
@pytest.mark.usefixtures("hasty")
async def test_a_trigger_whose_connection_goes_silent_is_one_run_and_the_caller_is_told_of_it_by_another_connection(
    far: TaskService, tasks: TaskService, proxy: Lossy, key: dict[str, Any]
) -> None:
    proxy.keep_reply_to(b"the-silent-one")
    async with asyncio.timeout(20):
        triggered = await far.submit(TriggerRequest(definition_id="echo", name="the-silent-one", **key))
    assert proxy.kept == 1
    assert triggered.deduplicated is False
    assert next(run.id for run in (await tasks.list()).items) == triggered.run.id
    assert await tasks.count() == 2


@pytest.mark.usefixtures("hasty")
async def test_a_trigger_that_a_frozen_postgresql_does_not_answer_is_refused_in_time_as_maybe_stored(
    far: TaskService, embedded_postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeating, "GIVE_UP_SECONDS", 1.0)
    async with frozen(embedded_postgres), asyncio.timeout(20):
        with pytest.raises(ServiceUnavailable, match="not known whether it was"):
            await far.trigger("echo", name="the-frozen-one")
    again = await far.trigger("echo", name="the-next-one")
    names = Counter([run.name for run in (await far.list()).items])
    assert names["the-next-one"] == 1
    assert names["the-frozen-one"] <= 1
    assert again.status is TaskRunStatus.QUEUED


async def test_a_repeated_key_gives_the_same_run_also_when_the_first_reply_was_lost(
    far: TaskService, tasks: TaskService, proxy: Lossy
) -> None:
    proxy.lose_reply_to("the-key")
    request = TriggerRequest(definition_id="echo", idempotency_key="the-key")
    first, again = await far.submit(request), await tasks.submit(request)
    assert proxy.lost == 1
    assert (first.run.id, first.deduplicated, again.deduplicated) == (again.run.id, False, True)


@pytest.mark.parametrize("key", [None, "u{}"], ids=["without keys", "with keys"])
async def test_of_many_triggers_whose_reply_was_lost_each_is_one_run(
    far: TaskService, tasks: TaskService, proxy: Lossy, key: str | None
) -> None:
    proxy.lose_reply_to("number-77")
    requests = [
        TriggerRequest(definition_id="echo", name=f"number-{n}", unique_key=key and key.format(n)) for n in range(100)
    ]
    answers = await far.submit_many(requests)
    assert proxy.lost == 1
    names = [answer.run.name for answer in answers if isinstance(answer, Triggered) and not answer.deduplicated]
    assert names == [f"number-{n}" for n in range(100)]
    assert await tasks.count() == 101


async def test_runs_that_are_there_are_found_though_they_were_taken_for_new(
    tasks: TaskService, settings: Settings, registry: Registry, db: Database
) -> None:
    preparing = Preparing(db, settings, KnownDefinitions(db, registry))
    requests = [TriggerRequest(definition_id="echo")] * 3
    new = [
        run for run in await preparing.prepare(requests, LOCAL_ADMIN, allow_private=False) if isinstance(run, NewRun)
    ]
    events = Events(settings.redis_url)
    for stored in (new[:1], new[:1], new, new):
        assert await Storing(db, events).store(stored) == stored
    assert await tasks.count() == 3
    await events.close()


async def test_an_abort_whose_reply_was_lost_is_an_abort(far: TaskService, tasks: TaskService, proxy: Lossy) -> None:
    run = await tasks.trigger("echo")
    proxy.lose_reply_to("COMMIT")
    aborted = await far.abort(run.id, message="once")
    assert proxy.lost == 1
    assert (aborted.status, aborted.abort_message) == (TaskRunStatus.ABORTED, "once")


@pytest.mark.usefixtures("hasty")
async def test_an_abort_whose_connection_goes_silent_is_told_of_by_another_connection(
    far: TaskService, tasks: TaskService, proxy: Lossy
) -> None:
    run = await tasks.trigger("echo")
    proxy.keep_reply_to(run.id.bytes)
    async with asyncio.timeout(20):
        assert (await far.abort(run.id)).status is TaskRunStatus.ABORTED
    assert proxy.kept == 1


async def test_a_look_for_due_runs_whose_reply_was_lost_brings_all_that_it_claimed(
    hire: Callable[..., Hand], tasks: TaskService, proxy: Lossy
) -> None:
    far = Database(proxy.url)
    hand = hire(database=far)
    await hand.live()
    earlier = await tasks.trigger("echo")
    assert [held.id for held in await hand.claim(10)] == [earlier.id]
    runs = [await tasks.trigger(id) for id in ("no-input", "echo")]
    assert [run.queue for run in runs] == ["default", "quick"]
    proxy.lose_reply_to("quick")
    claimed = await hand.claim(10)
    assert proxy.lost == 1
    assert sorted(held.id for held in claimed) == sorted(run.id for run in runs)
    for held in claimed:
        await held.write("one", move=SUCCEED)
    assert {(await tasks.get(run.id)).status for run in runs} == {TaskRunStatus.SUCCEEDED}
    await far.close()


async def test_a_connection_that_is_lost_over_many_log_lines_ends_their_write(settings: Settings) -> None:
    """Of a long COPY asyncpg waits to send the rest, and does so for ever."""
    db = Database(settings.database_url)
    lines = [(UUID(NOBODY), number, 1, 1, "INFO", "x" * 10_000, None, clock.now()) for number in range(1, 400)]
    async with connected(settings) as other, db.autocommit() as pipe:
        leases = Leases(pipe)
        # With a statement that is prepared before the table is locked.
        await leases.append_logs(lines[:1])
        async with other.transaction():
            await other.execute("LOCK TABLE task_logs IN SHARE MODE")
            writing = asyncio.create_task(leases.append_logs(lines[1:]))
            await until(lambda: other.fetchval(CUT))
            async with asyncio.timeout(10):
                with pytest.raises(asyncpg.exceptions.ConnectionDoesNotExistError):
                    await writing
    await db.close()


async def test_what_ends_a_transaction_is_told_though_its_connection_is_lost_as_well(settings: Settings) -> None:
    db = Database(settings.database_url)

    async def end_badly() -> None:
        async with connected(settings) as other, db.pipe() as pipe:
            lost = asyncio.Event()
            pipe.add_termination_listener(lambda _: lost.set())
            await other.execute("SELECT pg_terminate_backend($1)", await pipe.fetchval("SELECT pg_backend_pid()"))
            await lost.wait()
            raise KeyError

    with pytest.raises(KeyError):
        await end_badly()
    await db.close()


async def test_connections_that_died_meanwhile_are_replaced(far: TaskService, proxy: Lossy) -> None:
    proxy.hang_up()
    await asyncio.gather(*(far.trigger("echo") for _ in range(20)))
    assert await far.count() == 21


async def test_a_read_gets_another_connection_in_place_of_one_that_the_server_closed(settings: Settings) -> None:
    db = Database(settings.database_url)
    async with connected(settings) as other:
        async with db.read() as session:
            lost = (await (await session.connection()).get_raw_connection()).driver_connection
            await session.exec(text("SELECT 1"))  # type: ignore[call-overload]
        await other.execute("SELECT pg_terminate_backend($1)", lost.get_server_pid())
        await until(lost.is_closed)
    async with db.read() as session:
        await session.exec(text("SELECT 1"))  # type: ignore[call-overload]
    await db.close()


async def test_a_read_gets_another_connection_in_place_of_one_that_was_lost_in_silence(
    proxy: Lossy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost_connections, "QUIET_SECONDS", 0.0)
    db = Database(proxy.url)
    for _ in range(2):
        async with db.read() as session:
            await session.exec(text("SELECT 1"))  # type: ignore[call-overload]
        # Whether the connection is there is asked with an empty statement.
        proxy.lose_reply_to(b";\0")
    assert proxy.lost == 1
    await db.close()


async def test_without_a_database_everything_says_so(settings: Settings, registry: Registry) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://postgres@127.0.0.1:1/nowhere"})
    async with service(away, registry) as tasks:
        wishes = (
            tasks.trigger("echo"),
            tasks.get(NOBODY),
            tasks.list(),
            tasks.abort(NOBODY),
            anext(tasks.watch(NOBODY)),
        )
        answers = await asyncio.gather(*wishes, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ServiceUnavailable] * len(wishes)


async def test_a_service_whose_block_has_ended_says_so_and_opens_no_connections_any_more(settings: Settings) -> None:
    before = asyncio.all_tasks()
    async with TaskService.connect(settings=settings) as tasks:
        await tasks.count()
    followed = (tasks.watch(NOBODY), tasks.logs(NOBODY), tasks.watch_all())
    for late in (tasks.trigger("echo"), tasks.list(), tasks.abort(NOBODY), *map(anext, followed)):
        with pytest.raises(ServiceClosed, match="its connect\\(\\) block has ended"):
            await late
    assert asyncio.all_tasks() == before, "nothing listens to Redis"


async def test_a_database_that_does_not_say_what_time_it_is_is_not_waited_for_long() -> None:
    deaf = await asyncio.start_server(lambda _reader, _writer: asyncio.Event().wait(), "127.0.0.1", 0)
    db = Database(f"postgresql://postgres@127.0.0.1:{deaf.sockets[0].getsockname()[1]}/deaf")
    try:
        async with asyncio.timeout(20):
            with pytest.raises(ServiceUnavailable):
                await db.clock.correction()
    finally:
        await db.close()
        deaf.close()


async def test_a_question_that_takes_too_long_is_stopped_and_refused_by_name(settings: Settings) -> None:
    db = Database(settings.database_url, query_seconds=0.05)
    try:
        with pytest.raises(QueryTooSlow, match="Narrow the filter"):
            async with db.read() as session:
                await session.exec(text("SELECT pg_sleep(20)"))  # type: ignore[call-overload]
        async with db.read() as session:
            await session.exec(text("SELECT 1"))  # type: ignore[call-overload]
    finally:
        await db.close()
