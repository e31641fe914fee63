"""The GraphQL endpoint over HTTP and WebSockets: media types, status codes, refusals, and what bugs look like."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator  # Strawberry reads annotations at runtime.
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING, Any, NewType

import httpx2
import pytest
import pytest_asyncio
import strawberry
import uvicorn
import websockets
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.responses import HTMLResponse

from app import connections, main
from app.errors import InvalidArgument, TaskRunNotFound
from app.schema.view import graphql_routes
from app.settings import Settings
from tests.workbench import until

if TYPE_CHECKING:
    from app.schema.execution import Caller

NEW_JSON = "application/graphql-response+json"
OLD_JSON = "application/json"

Even = NewType("Even", int)


def parse_even(value: int) -> Even:
    if value % 2:
        raise ValueError(f"{value} is odd.")
    return Even(value)


@strawberry.input
class Note:
    text: str


@strawberry.type
class Query:
    @strawberry.field
    def hello(self, name: str = "you") -> str:
        return f"hello {name}"

    @strawberry.field
    def even(self, value: Even) -> int:
        return value

    @strawberry.field
    def caller(self, info: strawberry.Info[Any]) -> str:
        return f"{info.context['who']} {info.context['number']}"

    @strawberry.field
    def bug(self) -> str | None:
        raise RuntimeError("the password is swordfish")

    @strawberry.field
    def huge(self) -> int | None:
        return 2**40

    @strawberry.field
    def missing(self) -> str | None:
        raise TaskRunNotFound("42", path=("id",))

    @strawberry.field
    def unreachable(self) -> str | None:
        raise OperationalError("SELECT 1", {}, ConnectionRefusedError("port 5432"))


@strawberry.type
class Mutation:
    @strawberry.mutation
    def write(self, note: Note) -> str:
        return note.text


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int) -> AsyncGenerator[int, None]:
        for number in range(to):
            yield number

    @strawberry.subscription
    async def breaks(self) -> AsyncGenerator[int, None]:
        yield 1
        raise RuntimeError("the password is swordfish")

    @strawberry.subscription
    async def refused(self) -> AsyncGenerator[int, None]:
        raise InvalidArgument("No such thing.", path=("id",))
        yield 1

    @strawberry.subscription
    async def endless(self, info: strawberry.Info[Any]) -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            info.context["ended"].set()

    @strawberry.subscription
    async def flood(self, info: strawberry.Info[Any]) -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "n" * 2**16
        finally:
            info.context["ended"].set()

    @strawberry.subscription
    async def lingering(self, info: strawberry.Info[Any]) -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            for _ in range(20):
                # Clean-up that takes some turns of the loop, as giving a connection back does.
                await asyncio.sleep(0)
            info.context["ended"].set()

    @strawberry.subscription
    async def contexts(self, info: strawberry.Info[Any]) -> AsyncGenerator[Query, None]:
        yield Query()
        yield Query()


SCHEMA = strawberry.Schema(
    Query,
    Mutation,
    Subscription,
    config=strawberry.schema.config.StrawberryConfig(
        scalar_map={Even: strawberry.scalar(name="Even", serialize=int, parse_value=parse_even)}
    ),
)


class Contexts:
    """Makes the contexts, counts them, and refuses a caller named mallory."""

    def __init__(self) -> None:
        self.made = 0
        self.ended = asyncio.Event()

    async def __call__(self, caller: Caller) -> dict[str, Any]:
        who = caller.connection_params.get("who") or caller.headers.get("x-who", "nobody")
        if who == "mallory":
            raise InvalidArgument("mallory may not ask.")
        if who == "trouble":
            raise ConnectionRefusedError("port 5432")
        self.made += 1
        return {"who": who, "number": self.made, "ended": self.ended}


def application(contexts: Contexts | None = None, **settings: Any) -> Starlette:
    def page() -> HTMLResponse:
        return HTMLResponse("<title>playground</title>")

    return Starlette(routes=graphql_routes(SCHEMA, contexts or Contexts(), Settings(**settings), page))


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with client(application()) as made:
        yield made


def client(app: Starlette) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://taskloom.test")


async def ask(http: httpx2.AsyncClient, query: str, accept: str = NEW_JSON, **fields: Any) -> httpx2.Response:
    return await http.post("/graphql", json={"query": query, **fields}, headers={"accept": accept})


def code(response: httpx2.Response) -> str:
    [error] = response.json()["errors"]
    assert error["extensions"]["requestId"] == response.headers["x-request-id"]
    return error["extensions"]["code"]


# --- What is answered -----------------------------------------------------------------------------------------------


async def test_a_query_is_answered_in_the_media_type_the_client_likes_best(http: httpx2.AsyncClient) -> None:
    for accept, expected in [
        (f"{NEW_JSON}, {OLD_JSON};q=0.9, text/event-stream", NEW_JSON),
        (f"{NEW_JSON};q=0.5, {OLD_JSON}", OLD_JSON),
        ("*/*", OLD_JSON),
        ("", OLD_JSON),
    ]:
        response = await ask(http, "{ hello }", accept)
        assert response.status_code == 200
        assert response.headers["content-type"] == f"{expected}; charset=utf-8"
        assert response.json() == {"data": {"hello": "hello you"}}


async def test_a_query_may_come_in_the_url(http: httpx2.AsyncClient) -> None:
    params = {"query": "query Q($n: String!) { hello(name: $n) }", "variables": '{"n": "ü"}', "operationName": "Q"}
    response = await http.get("/graphql", params=params, headers={"accept": NEW_JSON})
    assert response.json() == {"data": {"hello": "hello ü"}}


async def test_a_browser_that_opens_the_endpoint_gets_the_page(http: httpx2.AsyncClient) -> None:
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    # With a query in the address too, which the page opens in a tab.
    for params in ({}, {"query": "{ hello }"}):
        response = await http.get("/graphql", params=params, headers={"accept": accept})
        assert response.status_code == 200
        assert "playground" in response.text


async def test_a_client_that_accepts_no_media_type_of_ours_is_answered_406(http: httpx2.AsyncClient) -> None:
    response = await ask(http, "{ hello }", "image/png")
    assert (response.status_code, code(response)) == (406, "NOT_ACCEPTABLE")


async def test_every_answer_carries_the_request_id_that_came_in_when_it_is_a_sane_one(http: httpx2.AsyncClient) -> None:
    for sent, kept in [("abc-123", True), ("x" * 129, False), ('"><script>', False)]:
        response = await http.post("/graphql", json={"query": "{ hello }"}, headers={"x-request-id": sent})
        assert (response.headers["x-request-id"] == sent) is kept
        assert response.headers["x-request-id"]


async def test_the_context_is_made_for_each_request_from_what_the_caller_sent(http: httpx2.AsyncClient) -> None:
    for number in (1, 2):
        response = await http.post("/graphql", json={"query": "{ caller }"}, headers={"x-who": "ada"})
        assert response.json()["data"] == {"caller": f"ada {number}"}


async def test_one_of_several_operations_is_chosen_by_its_name(http: httpx2.AsyncClient) -> None:
    document = 'query A { hello(name: "a") } query B { hello(name: "b") }'
    assert (await ask(http, document, operationName="B")).json() == {"data": {"hello": "hello b"}}
    for name in (None, "C"):
        response = await ask(http, document, operationName=name)
        assert (response.status_code, code(response)) == (400, "BAD_USER_INPUT")
        assert "A, B" in response.json()["errors"][0]["message"]


# --- What is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'[{"query": "{ hello }"}]',
        b'"{ hello }"',
        b"null",
        b"",
        b"{",
        b"{}",
        b'{"query": ""}',
        b'{"query": 1}',
        b'{"query": "{ hello }", "variables": []}',
        b'{"query": "{ hello }", "operationName": {}}',
        b'{"query": "{ hello }", "extensions": 1}',
        b'{"query": "{ hello }", "variables": {"a": NaN}}',
        b'{"query": "{ hello }", "variables": {"a": Infinity}}',
        b'{"query": "{ hello }", "variables": {"a": "\\ud800"}}',
        b'{"query": "\xff"}',
        b'{"query": "{ hello }", "variables": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}",
        b'{"query": "{ hello }", "variables": {"a": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}}",
    ],
)
async def test_a_body_that_is_no_graphql_request_is_answered_400_with_a_sentence(
    http: httpx2.AsyncClient, body: bytes
) -> None:
    for accept in (NEW_JSON, OLD_JSON):
        headers = {"content-type": "application/json", "accept": accept}
        response = await http.post("/graphql", content=body, headers=headers)
        assert (response.status_code, code(response)) == (400, "BAD_REQUEST")
        assert response.headers["content-type"].startswith(accept)
        assert response.json()["errors"][0]["message"].endswith(".")


async def test_many_brackets_that_do_not_nest_are_fine(http: httpx2.AsyncClient) -> None:
    response = await ask(http, "{ hello }", variables={"a": [[{"b": "[[["}]] * 500})
    assert response.json() == {"data": {"hello": "hello you"}}


@pytest.mark.parametrize(
    "query_string", ["query=%ff", "query=%7Bhello%7D&variables=%5B", "query=%7Bhello%7D&variables=1"]
)
async def test_a_url_that_is_no_graphql_request_is_answered_400(http: httpx2.AsyncClient, query_string: str) -> None:
    response = await http.get(f"/graphql?{query_string}", headers={"accept": NEW_JSON})
    assert (response.status_code, code(response)) == (400, "BAD_REQUEST")


async def test_a_body_that_is_too_large_is_answered_413_whether_its_length_is_announced_or_not() -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        for _ in range(4):
            yield b" " * 1024

    async with client(application(max_request_bytes=2048)) as http:
        for content in (b" " * 4096, chunks()):
            response = await http.post("/graphql", content=content, headers={"content-type": "application/json"})
            assert (response.status_code, code(response)) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_compressed_body_is_refused_as_such(http: httpx2.AsyncClient) -> None:
    headers = {"content-type": OLD_JSON, "content-encoding": "gzip"}
    response = await http.post("/graphql", content=gzip.compress(b'{"query": "{ hello }"}'), headers=headers)
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert "must not be compressed" in response.json()["errors"][0]["message"]


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_forms_of_other_sites_get_no_further_than_their_content_type(
    http: httpx2.AsyncClient, content_type: str
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    response = await http.post("/graphql", content=b'{"query": "{ hello }"}', headers=headers)
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_a_mutation_over_get_is_answered_405(http: httpx2.AsyncClient) -> None:
    params = {"query": 'mutation { write(note: {text: "a"}) }'}
    response = await http.get("/graphql", params=params, headers={"accept": NEW_JSON})
    assert (response.status_code, code(response)) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "GET, POST"


async def test_other_methods_are_answered_405(http: httpx2.AsyncClient) -> None:
    response = await http.put("/graphql", json={"query": "{ hello }"})
    assert (response.status_code, code(response)) == (405, "METHOD_NOT_ALLOWED")


async def test_pages_on_other_sites_are_refused_unless_they_are_allowed_and_the_log_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with client(application(allowed_origins="https://ui.example")) as http:
        for origin, status in [
            ("http://taskloom.test", 200),
            ("https://ui.example", 200),
            ("https://evil.example", 403),
            ("https://evil.example", 403),
        ]:
            response = await http.post("/graphql", json={"query": "{ hello }"}, headers={"origin": origin})
            assert response.status_code == status
        [told] = [record.getMessage() for record in caplog.records if record.name == "taskloom.graphql"]
        assert told.startswith("Pages on https://evil.example may not send requests here; TASKLOOM_ALLOWED_ORIGINS")
        assert (await http.post("/graphql", json={"query": "{ hello }"}, headers={"origin": "null"})).status_code == 403
        asked = {"origin": "https://ui.example", "access-control-request-method": "POST"}
        preflight = await http.options("/graphql", headers=asked)
        assert preflight.headers["access-control-allow-origin"] == "https://ui.example"


@pytest.mark.parametrize(
    ("query", "variables", "expected"),
    [
        ("{ hello", {}, "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("query ($n: String!) { hello(name: $n) }", {"n": 1}, "BAD_USER_INPUT"),
        ("query ($n: String!) { hello(name: $n) }", {}, "BAD_USER_INPUT"),
        ("query ($v: Even!) { even(value: $v) }", {"v": 3}, "BAD_USER_INPUT"),
    ],
)
async def test_a_graphql_request_that_fails_is_answered_400_or_200_as_the_media_type_asks(
    http: httpx2.AsyncClient, query: str, variables: dict[str, Any], expected: str
) -> None:
    for accept, status in [(NEW_JSON, 400), (OLD_JSON, 200)]:
        response = await ask(http, query, accept, variables=variables)
        assert (response.status_code, code(response)) == (status, expected)
        assert "data" not in response.json()


async def test_a_subscription_that_wants_one_answer_is_told_how_to_get_many(http: httpx2.AsyncClient) -> None:
    response = await ask(http, "subscription { count(to: 3) }")
    assert response.status_code == 406
    assert "graphql-transport-ws" in response.text


# --- What goes wrong ------------------------------------------------------------------------------------------------


async def test_a_bug_is_masked_with_the_request_id_and_logged_once(
    http: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    for field in ("bug", "huge"):
        response = await ask(http, f"{{ hello {field} }}")
        assert (response.status_code, code(response)) == (200, "INTERNAL_SERVER_ERROR")
        [error] = response.json()["errors"]
        assert error["message"].startswith("Something went wrong on our side")
        assert error["path"] == [field]
        assert response.headers["x-request-id"] in error["message"]
        assert response.json()["data"] == {"hello": "hello you", field: None}
        assert "swordfish" not in response.text
    logged = [record for record in caplog.records if record.name == "taskloom.graphql"]
    assert [record.getMessage().split(" (")[0] for record in logged] == ["A bug in bug", "A bug in huge"]
    assert "swordfish" in caplog.text
    assert "Traceback" in caplog.text


async def test_a_refusal_keeps_its_code_its_message_and_the_argument_it_is_about(http: httpx2.AsyncClient) -> None:
    response = await ask(http, "{ missing }")
    assert code(response) == "TASK_RUN_NOT_FOUND"
    [error] = response.json()["errors"]
    assert error["message"].startswith("There is no task run '42'.")
    assert error["extensions"]["inputPath"] == ["id"]


async def test_a_database_that_does_not_answer_is_named_as_the_cause(http: httpx2.AsyncClient) -> None:
    response = await ask(http, "{ unreachable }")
    assert code(response) == "SERVICE_UNAVAILABLE"
    assert "5432" not in response.text


async def test_a_caller_who_gets_no_context_is_refused(http: httpx2.AsyncClient) -> None:
    for who, status, expected in [("mallory", 400, "BAD_USER_INPUT"), ("trouble", 503, "SERVICE_UNAVAILABLE")]:
        response = await http.post("/graphql", json={"query": "{ hello }"}, headers={"x-who": who})
        assert (response.status_code, code(response)) == (status, expected)


# --- Server-sent events ---------------------------------------------------------------------------------------------


async def test_events_are_sent_to_clients_that_accept_nothing_else_and_end_with_complete(
    http: httpx2.AsyncClient,
) -> None:
    response = await ask(http, "subscription { count(to: 2) }", "text/event-stream")
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.text == (
        'event: next\ndata: {"data":{"count":0}}\n\n'
        'event: next\ndata: {"data":{"count":1}}\n\n'
        "event: complete\ndata:\n\n"
    )


async def test_a_query_may_be_answered_as_events_too(http: httpx2.AsyncClient) -> None:
    response = await ask(http, "{ hello }", "text/event-stream")
    assert response.text == 'event: next\ndata: {"data":{"hello":"hello you"}}\n\nevent: complete\ndata:\n\n'


async def test_a_subscription_that_cannot_begin_is_refused_before_the_stream(http: httpx2.AsyncClient) -> None:
    response = await ask(http, "subscription { nothing }", "text/event-stream")
    assert (response.status_code, code(response)) == (400, "GRAPHQL_VALIDATION_FAILED")


async def test_a_subscription_that_breaks_says_so_masked_and_ends(http: httpx2.AsyncClient) -> None:
    response = await ask(http, "subscription { breaks }", "text/event-stream")
    events = response.text.split("\n\n")
    assert "INTERNAL_SERVER_ERROR" in events[1]
    assert "swordfish" not in response.text
    assert events[2] == "event: complete\ndata:"


async def test_every_event_of_a_subscription_has_a_context_of_its_own(http: httpx2.AsyncClient) -> None:
    response = await ask(http, "subscription { contexts { caller } }", "text/event-stream")
    assert '"nobody 2"' in response.text
    assert '"nobody 3"' in response.text


# --- WebSockets -----------------------------------------------------------------------------------------------------


class ReadyServer(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, app: Starlette, **options: Any) -> None:
        config = main.uvicorn_config(app, Settings(port=0))
        for name, value in {"lifespan": "off", **options}.items():
            setattr(config, name, value)
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @property
    def port(self) -> int:
        return self.servers[0].sockets[0].getsockname()[1]


@asynccontextmanager
async def serving(app: Starlette, **options: Any) -> AsyncIterator[str]:
    server = ReadyServer(app, **options)
    task = asyncio.create_task(server.serve())
    await server.ready.wait()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def socket(address: str, *, init: object = None, **options: Any) -> AsyncIterator[websockets.ClientConnection]:
    subprotocols = [websockets.Subprotocol("graphql-transport-ws")]
    async with websockets.connect(f"ws://{address}/graphql", subprotocols=subprotocols, **options) as made:
        if init is not None:
            await say(made, {"type": "connection_init", "payload": init})
            assert await hear(made) == {"type": "connection_ack"}
        yield made


async def say(connection: websockets.ClientConnection, message: object) -> None:
    await connection.send(json.dumps(message))


async def hear(connection: websockets.ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(connection.recv(), 5))


async def subscribe(connection: websockets.ClientConnection, query: str, **fields: Any) -> None:
    await say(connection, {"id": "1", "type": "subscribe", "payload": {"query": query, **fields}})


async def closed(connection: websockets.ClientConnection) -> tuple[int | None, str | None]:
    with pytest.raises(websockets.ConnectionClosed):
        await asyncio.wait_for(connection.recv(), 5)
    return connection.close_code, connection.close_reason


async def test_one_operation_too_many_on_a_websocket_is_refused_and_leaves_the_others_alone() -> None:
    async with serving(application(max_websocket_operations=3)) as address, socket(address, init={}) as connection:
        for id in range(4):
            payload = {"query": "subscription { endless }"}
            await say(connection, {"id": str(id), "type": "subscribe", "payload": payload})
        while (refused := await hear(connection))["type"] != "error":
            pass
        [error] = refused["payload"]
        assert (refused["id"], error["extensions"]["code"]) == ("3", "BAD_REQUEST")
        assert "3 operations" in error["message"]
        assert error["extensions"]["requestId"]
        await say(connection, {"id": "0", "type": "complete"})
        await say(connection, {"id": "4", "type": "subscribe", "payload": {"query": "{ hello }"}})
        while (answer := await hear(connection))["id"] != "4":
            pass
        assert answer["payload"] == {"data": {"hello": "hello you"}}


async def test_one_websocket_too_many_is_refused_by_name_until_another_is_closed() -> None:
    async with serving(application(max_websockets=1)) as address:
        async with socket(address, init={}):
            with pytest.raises(websockets.InvalidStatus) as refused:
                async with socket(address):
                    pass
            assert refused.value.response.status_code == 503
            [error] = json.loads(refused.value.response.body)["errors"]
            assert error["extensions"]["code"] == "TOO_MANY_WEBSOCKETS"
            assert "TASKLOOM_MAX_WEBSOCKETS" in error["message"]
        await until(lambda: is_let_in(address), 5)


async def is_let_in(address: str) -> bool:
    with suppress(websockets.InvalidStatus):
        async with socket(address, init={}):
            return True
    return False


async def test_operations_of_every_kind_run_over_one_websocket() -> None:
    async with serving(application()) as address, socket(address, init={"who": "ada"}) as connection:
        await subscribe(connection, "subscription { count(to: 2) }")
        heard = [await hear(connection) for _ in range(3)]
        assert [message["type"] for message in heard] == ["next", "next", "complete"]
        assert heard[1]["payload"] == {"data": {"count": 1}}
        await subscribe(connection, "query Q($n: String) { hello(name: $n) caller }", variables={"n": "a"})
        assert (await hear(connection))["payload"]["data"] == {"hello": "hello a", "caller": "ada 5"}


async def test_a_failed_operation_ends_with_an_error_and_the_websocket_stays_open() -> None:
    async with serving(application()) as address, socket(address, init={}) as connection:
        for query, expected in [
            ("{ hello", "GRAPHQL_PARSE_FAILED"),
            ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
            ("subscription { count(to: 1) } query B { hello }", "GRAPHQL_VALIDATION_FAILED"),
            ("query ($v: Even!) { even(value: $v) }", "BAD_USER_INPUT"),
        ]:
            await subscribe(connection, query)
            message = await hear(connection)
            assert message["type"] == "error"
            assert message["payload"][0]["extensions"]["code"] == expected
            assert message["payload"][0]["extensions"]["requestId"]


async def test_a_subscription_that_breaks_ends_masked_and_the_websocket_stays_open() -> None:
    async with serving(application()) as address, socket(address, init={}) as connection:
        await subscribe(connection, "subscription { breaks }")
        heard = [await hear(connection) for _ in range(3)]
        assert heard[1]["payload"]["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
        assert heard[2]["type"] == "complete"


@pytest.mark.parametrize(
    "frame",
    [
        "[]",
        "null",
        "1",
        "{",
        "",
        "{}",
        b"\xff",
        '{"type": "nonsense"}',
        '{"type": ["subscribe"]}',
        '{"type": "' + "ü" * 500 + '"}',
        '{"type": "subscribe", "payload": {"query": "{ hello }"}}',
        '{"type": "subscribe", "id": [], "payload": {"query": "{ hello }"}}',
        '{"type": "subscribe", "id": "1"}',
        '{"type": "subscribe", "id": "1", "payload": {"query": "{ hello }", "variables": []}}',
        '{"type": "complete", "id": {}}',
        "[" * 5000,
    ],
)
async def test_a_frame_that_breaks_the_protocol_closes_the_websocket_with_4400_and_a_reason(frame: str | bytes) -> None:
    async with serving(application()) as address, socket(address, init={}) as connection:
        await connection.send(frame)
        code, reason = await closed(connection)
        assert code == 4400
        assert reason


async def test_an_operation_before_connection_init_closes_the_websocket_with_4401() -> None:
    async with serving(application()) as address, socket(address) as connection:
        await subscribe(connection, "{ hello }")
        assert (await closed(connection))[0] == 4401


async def test_a_caller_who_gets_no_context_is_closed_with_4403() -> None:
    async with serving(application()) as address, socket(address) as connection:
        await say(connection, {"type": "connection_init", "payload": {"who": "mallory"}})
        assert (await closed(connection))[0] == 4403


async def test_websockets_of_pages_on_other_sites_are_refused_unless_they_are_allowed() -> None:
    async with serving(application(allowed_origins="https://ui.example")) as address:
        for origin in (f"http://{address}", "https://ui.example"):
            async with socket(address, origin=origin, init={}):
                pass
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with socket(address, origin="https://evil.example"):
                pass
        assert b"TASKLOOM_ALLOWED_ORIGINS" in caught.value.response.body


async def test_the_old_subprotocol_is_not_spoken() -> None:
    async with serving(application()) as address:
        old = [websockets.Subprotocol("graphql-ws")]
        async with websockets.connect(f"ws://{address}/graphql", subprotocols=old) as connection:
            assert (await closed(connection))[0] == 4406


@pytest.mark.parametrize("leave", ["complete", "close"])
async def test_a_subscription_ends_on_the_server_when_its_client_leaves(leave: str) -> None:
    contexts = Contexts()
    async with serving(application(contexts)) as address, socket(address, init={}) as connection:
        await subscribe(connection, "subscription { endless }")
        assert (await hear(connection))["type"] == "next"
        if leave == "complete":
            await say(connection, {"id": "1", "type": "complete"})
        else:
            await connection.close()
        await asyncio.wait_for(contexts.ended.wait(), 5)


async def test_a_websocket_whose_client_reads_nothing_is_closed_with_all_that_waits_to_be_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "FAREWELL_SECONDS", 0.1)
    contexts = Contexts()
    pings = {"ws_ping_interval": 0.2, "ws_ping_timeout": 0.2}
    async with (
        serving(application(contexts), **pings) as address,
        socket(address, init={}, compression=None) as connection,
    ):
        await subscribe(connection, "subscription { endless }")
        assert (await hear(connection))["type"] == "next"
        connection.transport.pause_reading()
        # More than the system takes for a client that does not read.
        payload = {"query": "query ($n: String) { hello(name: $n) }", "variables": {"n": "n" * 2**21}}
        for id in range(6):
            await say(connection, {"id": f"long {id}", "type": "subscribe", "payload": payload})
        try:
            await asyncio.wait_for(contexts.ended.wait(), 10)
        finally:
            connection.transport.abort()


async def test_a_body_that_comes_to_no_end_is_answered_408_and_its_connection_is_closed() -> None:
    async with serving(application(request_seconds=0.2)) as address:
        reader, writer = await asyncio.open_connection(*address.split(":"))
        head = f"POST /graphql HTTP/1.1\r\nHost: {address}\r\nContent-Type: {OLD_JSON}\r\nContent-Length: 100\r\n\r\n"
        writer.write(head.encode() + b"{")
        with closing(writer):
            async with asyncio.timeout(5):
                answer = asyncio.ensure_future(reader.readuntil(b"}}]}"))
                while not answer.done():
                    # A byte now and then puts no end off.
                    await asyncio.wait({answer}, timeout=0.05)
                    writer.write(b" ")
                with suppress(ConnectionResetError):
                    assert await reader.read() == b"", "the connection is closed"
        told = (await answer).decode()
        assert told.startswith("HTTP/1.1 408 ")
        assert "connection: close" in told
        assert '"REQUEST_TIMEOUT"' in told


async def test_a_stream_of_events_ends_on_the_server_when_its_client_leaves() -> None:
    contexts = Contexts()
    async with serving(application(contexts)) as address, httpx2.AsyncClient() as http:
        body = {"query": "subscription { endless }"}
        headers = {"accept": "text/event-stream"}
        async with http.stream("POST", f"http://{address}/graphql", json=body, headers=headers) as response:
            assert await anext(response.aiter_lines()) == "event: next"
        await asyncio.wait_for(contexts.ended.wait(), 5)


async def test_a_client_that_leaves_a_stream_of_events_is_no_error_of_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    contexts = Contexts()
    async with serving(application(contexts)) as address, httpx2.AsyncClient() as http:
        logging.getLogger("uvicorn.error").addHandler(caplog.handler)
        body = {"query": "subscription { lingering }"}
        headers = {"accept": "text/event-stream"}
        async with http.stream("POST", f"http://{address}/graphql", json=body, headers=headers) as response:
            assert await anext(response.aiter_lines()) == "event: next"
        await asyncio.wait_for(contexts.ended.wait(), 5)
    logging.getLogger("uvicorn.error").removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
