"""The subscriptions, over real WebSockets: what they bring, when they end, and that they leave nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from app.main import Server
from app.settings import Settings
from tests.schema.conftest import TESTED, GraphQLClient
from tests.schema.hand_worker import HandWorker
from tests.schema.live import Subscription, listening, subscribed
from tests.schema.test_trigger_task import UNKNOWN_RUN
from tests.workbench import until

RUN = """subscription ($id: ID!) { taskRunUpdated(id: $id) {
    id status progress { current percent message } logCounts { info } definition { id }
    logs(last: 1) { nodes { message } }
} }"""
LOG = """subscription ($id: ID!, $after: String) { taskLogAdded(runId: $id, after: $after) {
    sequence level message data cursor } }"""
CHANGES = """subscription ($filter: TaskRunFilter) { taskRunsChanged(filter: $filter) { id name status } }"""


@pytest.fixture
async def live(settings: Settings) -> AsyncIterator[tuple[Server, str]]:
    """A server that listens, and its address."""
    async with listening(settings) as both:
        yield both


@pytest.fixture
def address(live: tuple[Server, str]) -> str:
    """The address of the server."""
    return live[1]


@pytest.fixture
async def gql(address: str) -> AsyncIterator[GraphQLClient]:
    """A client of the listening server."""
    async with httpx2.AsyncClient(base_url=f"http://{address}") as http:
        yield GraphQLClient(http)


@pytest.fixture
async def worker(live: tuple[Server, str]) -> HandWorker:
    """A live worker whose every step the test takes."""
    worker = HandWorker(live[0], TESTED)
    await worker.beat()
    return worker


async def next_run(subscription: Subscription) -> dict[str, object]:
    """The run of the next event of ``taskRunUpdated``."""
    return (await subscription.next())["taskRunUpdated"]


async def test_a_run_is_followed_from_now_to_its_final_status(
    gql: GraphQLClient, worker: HandWorker, address: str
) -> None:
    id = await gql.run()
    async with subscribed(address, RUN, id=id) as updates:
        assert (await next_run(updates))["status"] == "QUEUED"
        held = await worker.claim(id)
        assert (await next_run(updates))["status"] == "RUNNING"
        await held.write(progress={"current": 1, "total": 4, "message": "one"}, lines=[("INFO", "first")])
        run = await next_run(updates)
        assert run["progress"] == {"current": 1.0, "percent": 25.0, "message": "one"}
        assert (run["logCounts"], run["definition"]) == ({"info": 1}, {"id": "greet"})
        await held.write(lines=[("INFO", "second")])
        assert (await next_run(updates))["logs"] == {"nodes": [{"message": "second"}]}, "each event reads afresh"
        await held.succeed({"said": []})
        assert [event["taskRunUpdated"]["status"] for event in await updates.rest()] == ["SUCCEEDED"]


async def test_a_final_run_is_shown_once(gql: GraphQLClient, worker: HandWorker, address: str) -> None:
    id = await gql.run()
    await (await worker.claim(id)).succeed()
    async with subscribed(address, RUN, id=id) as updates:
        assert [event["taskRunUpdated"]["status"] for event in await updates.rest()] == ["SUCCEEDED"]


async def test_a_log_is_followed_from_the_start_to_the_last_line(
    gql: GraphQLClient, worker: HandWorker, address: str
) -> None:
    id = await gql.run()
    held = await worker.claim(id)
    await held.log(("INFO", "one"), ("DEBUG", "two", {"n": 2}))
    async with subscribed(address, LOG, id=id) as lines:
        assert [(await lines.next())["taskLogAdded"]["message"] for _ in range(2)] == ["one", "two"]
        await held.log(("WARNING", "three"))
        line = (await lines.next())["taskLogAdded"]
        assert (line["sequence"], line["level"], line["message"]) == (3, "WARNING", "three")
        await held.write(lines=[("INFO", "last")])
        await held.succeed()
        assert [event["taskLogAdded"]["message"] for event in await lines.rest()] == ["last"]


async def test_a_client_that_comes_back_goes_on_after_the_last_line_it_saw(
    gql: GraphQLClient, worker: HandWorker, address: str
) -> None:
    id = await gql.run()
    held = await worker.claim(id)
    await held.log(("INFO", "one"), ("INFO", "two"))
    async with subscribed(address, LOG, id=id) as lines:
        cursor = (await lines.next())["taskLogAdded"]["cursor"]
    await held.log(("INFO", "three"))
    await held.succeed()
    async with subscribed(address, LOG, id=id, after=cursor) as lines:
        assert [event["taskLogAdded"]["message"] for event in await lines.rest()] == ["two", "three"]
    page = await gql(
        "query ($id: ID!, $after: String) { taskLogs(filter: { runId: $id }, after: $after) { nodes { message } } }",
        id=id,
        after=cursor,
    )
    assert [line["message"] for line in page["taskLogs"]["nodes"]] == ["two", "three"]


async def test_all_changes_are_followed_as_far_as_they_fit(
    gql: GraphQLClient, worker: HandWorker, live: tuple[Server, str]
) -> None:
    server, address = live
    async with subscribed(address, CHANGES, filter={"name": {"startsWith": "my"}}) as changes:
        await until(lambda: listeners(server) == 1)
        await gql.run(name="other")
        id = await gql.run(name="my run")
        assert (await changes.next())["taskRunsChanged"] == {"id": id, "name": "my run", "status": "QUEUED"}
        held = await worker.claim(id)
        assert (await changes.next())["taskRunsChanged"]["status"] == "RUNNING"
        await held.succeed()
        assert (await changes.next())["taskRunsChanged"]["status"] == "SUCCEEDED"


@pytest.mark.parametrize("query", [RUN, LOG])
@pytest.mark.parametrize("id", [UNKNOWN_RUN, "not-a-uuid"])
async def test_a_run_that_does_not_exist_cannot_be_followed(address: str, query: str, id: str) -> None:
    async with subscribed(address, query, id=id) as events:
        message = await events.message()
        [error] = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
        assert error["extensions"]["code"] == "TASK_RUN_NOT_FOUND"
        assert "no task run" in error["message"]


async def test_a_broken_cursor_is_refused(gql: GraphQLClient, address: str) -> None:
    async with subscribed(address, LOG, id=await gql.run(), after="broken") as events:
        message = await events.message()
        [error] = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert "'after' is no cursor" in error["message"]


@pytest.mark.parametrize("way", ["complete", "close"])
@pytest.mark.parametrize("query", [RUN, LOG, CHANGES])
async def test_a_subscription_that_is_closed_leaves_nothing_behind(
    gql: GraphQLClient, live: tuple[Server, str], query: str, way: str
) -> None:
    server, address = live
    id = await gql.run()
    async with subscribed(address, query, **({} if query == CHANGES else {"id": id})) as events:
        await until(lambda: listeners(server) == 1)
        if way == "complete":
            await events.complete()
            await until(lambda: listeners(server) == 0)
    await until(lambda: listeners(server) == 0)
    await until(lambda: server.db._engine.pool.checkedout() == 0)  # type: ignore[attr-defined]


async def test_a_server_that_stops_ends_its_subscriptions(settings: Settings) -> None:
    async with listening(settings) as (server, address):
        subscription = subscribed(address, CHANGES)
        events = await subscription.__aenter__()
        await until(lambda: listeners(server) == 1)
    assert listeners(server) == 0
    await events.socket.wait_closed()
    assert events.socket.close_code in (1001, 1012)


async def test_events_can_be_read_as_server_sent_events(gql: GraphQLClient, worker: HandWorker, address: str) -> None:
    id = await gql.run()
    await (await worker.claim(id)).succeed()
    async with httpx2.AsyncClient(base_url=f"http://{address}") as http:
        body = {"query": RUN, "variables": {"id": id}}
        response = await http.post("/graphql", json=body, headers={"accept": "text/event-stream"})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.count("event: next") == 1
    assert "SUCCEEDED" in response.text
    assert "event: complete" in response.text


async def test_a_websocket_under_a_foreign_name_is_refused(address: str, caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(
        b"GET /graphql HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
        b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
    )
    status = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    assert status.split()[1] == b"400"
    assert [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn")] == []


def listeners(server: Server) -> int:
    """How many subscriptions listen for changes inside the server."""
    return len(server.events._changes._subscriptions)
