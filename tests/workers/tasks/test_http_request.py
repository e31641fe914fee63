"""``http-request``: what it sends, what it keeps of the answer, when it tries again, and what it never tells."""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from app import TaskService
from app.models import TaskRun
from app.paging import PageArgs
from app.registry import registry
from app.states import TaskRunStatus, TaskRunStatusReason
from tests.workbench import lines, until, until_status
from workers.tasks.http_exchange import Answer

pytestmark = pytest.mark.usefixtures("worker")
SOON = timedelta(seconds=20)
SECRET = "s3cr3t"


@dataclass
class Site:
    """A web site for one test: its address, and what it was asked, by path."""

    port: int = 0
    asked: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    sent_bytes: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def asks(self, path: str) -> int:
        """How often a path was asked for."""
        return len(self.asked[path])

    async def note(self, request: Request) -> None:
        self.asked[request.url.path].append(
            {"method": request.method, "headers": dict(request.headers), "body": await request.body()}
        )

    async def echo(self, request: Request) -> Response:
        await self.note(request)
        headers = {"X-Kept": "kept", "Set-Cookie": f"session={SECRET}", "X-Auth-Token": SECRET}
        return JSONResponse({"said": self.asked[request.url.path][-1]["body"].decode()}, headers=headers)

    async def status(self, request: Request) -> Response:
        """A status of its own for each time it is asked, as in ``/status/503,200``."""
        await self.note(request)
        codes = request.path_params["codes"].split(",")
        code = codes[min(self.asks(request.url.path), len(codes)) - 1]
        after = request.query_params.get("after")
        return PlainTextResponse(f"this is {code}", int(code), {"Retry-After": after} if after else None)

    async def content(self, request: Request) -> Response:
        kind, body = {
            "latin": ("text/plain; charset=iso-8859-1", "café".encode("latin-1")),
            "unknown": ("text/plain; charset=klingon", b"plain"),
            "wrong": ("text/plain; charset=utf-8", b"caf\xe9"),
            "binary": ("application/octet-stream", bytes(range(256))),
            "nul": ("text/plain", b"a\x00b"),
            "zipped": ("text/plain", b"\x1f\x8b compressed"),
            "accents": ("text/plain; charset=utf-8", "é".encode() * 10),
            "empty": ("text/plain", b""),
        }[request.path_params["kind"]]
        headers = {"Content-Encoding": "gzip"} if request.path_params["kind"] == "zipped" else None
        return Response(body, headers=headers, media_type=kind)

    async def endless(self, request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            try:
                while not await request.is_disconnected():
                    self.sent_bytes += 65536
                    yield b"x" * 65536
            finally:
                self.hung_up.set()

        return StreamingResponse(body(), int(request.query_params.get("status", "200")),
                                 {"Location": "/echo"} if "status" in request.query_params else None)  # fmt: skip

    async def slow(self, request: Request) -> Response:
        await self.note(request)
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.hung_up.set()
        return PlainTextResponse("too late")

    async def redirect(self, request: Request) -> Response:
        await self.note(request)
        return RedirectResponse(
            request.query_params.get("to", "/redirect"), int(request.query_params.get("status", "302"))
        )


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A real HTTP server on a port that the system chose."""
    site = Site()
    routes = [
        Route("/echo", site.echo, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
        Route("/status/{codes}", site.status),
        Route("/content/{kind}", site.content),
        Route("/endless", site.endless),
        Route("/slow", site.slow),
        Route("/redirect", site.redirect, methods=["GET", "POST"]),
    ]
    config = uvicorn.Config(
        Starlette(routes=routes), port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    await until(lambda: server.started)
    site.port = server.servers[0].sockets[0].getsockname()[1]
    yield site
    server.should_exit = True
    await serving


@pytest.fixture
def quick_retries() -> Iterator[None]:
    """The definition with a hundredth of its delays."""
    definition = registry.get("http-request")
    assert definition
    registry.remove("http-request")
    registry.add(replace(definition, retry=replace(definition.retry, first_delay=0.01)))
    yield
    registry.remove("http-request")
    registry.add(definition)


async def sent(tasks: TaskService, url: str, **input: Any) -> TaskRun:
    """A run, once it is final."""
    options = {name: input.pop(name) for name in ("max_attempts",) if name in input}
    run = await tasks.trigger("http-request", input={"url": url, **input}, **options)
    return await tasks.wait(run.id, timeout=SOON)


async def outcomes(tasks: TaskService, run: TaskRun) -> list[str]:
    return [str(row.outcome) for row in (await tasks.iteration_page(run.id, PageArgs())).items]


class TestTheRequest:
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
    async def test_is_sent_with_its_method_headers_and_body(self, tasks: TaskService, site: Site, method: str) -> None:
        body = None if method in ("GET", "HEAD") else "grüezi"
        run = await sent(tasks, site.url("/echo?q=1"), method=method, headers={"X-Mine": "ü"}, body=body)
        assert run.status == TaskRunStatus.SUCCEEDED, run.error
        [asked] = site.asked["/echo"]
        assert (asked["method"], asked["body"].decode()) == (method, body or "")
        assert asked["headers"]["x-mine"].encode("latin-1").decode() == "ü"
        assert asked["headers"]["accept-encoding"] == "identity"
        assert ("content-type" in asked["headers"]) == (body is not None)

    @pytest.mark.parametrize("value", [{"a": [1, None, "é"]}, [], "text", 0, None])
    async def test_may_have_any_json_value_as_its_body(self, tasks: TaskService, site: Site, value: Any) -> None:
        await sent(tasks, site.url("/echo"), method="POST", json=value)
        [asked] = site.asked["/echo"]
        assert orjson.loads(asked["body"]) == value
        assert asked["headers"]["content-type"] == "application/json"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"url": "ftp://example.com/"}, {"url": "http://"}, {"url": "/path"}, {"url": "http://a b/"},
            {"url": "http://user:pass@example.com/"}, {"url": "http://example.com:99999/"},
            {"url": "http://example.com/\r\nX: y"}, {"method": "TRACE"}, {"headers": {"a b": "c"}},
            {"headers": {"a": "b\r\nc: d"}}, {"headers": {"Content-Length": "1"}}, {"body": "a", "json": 1},
            {"expected_status": []}, {"expected_status": [99]}, {"expected_status": ["300-200"]},
            {"expected_status": ["2xx"]}, {"timeout_seconds": 0}, {"timeout_seconds": 301},
            {"max_response_bytes": 262145}, {"metod": "GET"},
        ],
    )  # fmt: skip
    async def test_is_refused_where_it_makes_no_sense(self, tasks: TaskService, wrong: dict[str, Any]) -> None:
        assert await tasks.validate("http-request", {"url": "http://example.com/", **wrong})

    async def test_that_is_in_order_is_not_refused(self, tasks: TaskService) -> None:
        fine = {"url": "HTTPS://[::1]:8443/a?b#c", "json": None, "expected_status": [418, "200-299"]}
        assert await tasks.validate("http-request", fine) == []


class TestTheAnswer:
    async def test_is_kept_with_its_secrets_redacted(self, tasks: TaskService, site: Site) -> None:
        run = await sent(tasks, site.url("/echo"), method="POST", body="hello")
        headers = run.output.pop("headers")
        assert run.output.pop("elapsed_ms") > 0
        assert run.output == {
            "status": 200, "body": '{"said":"hello"}', "body_is_base64": False, "body_is_cut": False, "redirects": 0,
            "attempts": 1,
        }  # fmt: skip
        assert (headers["x-kept"], headers["content-type"]) == ("kept", "application/json")
        assert (headers["set-cookie"], headers["x-auth-token"]) == ("[redacted]", "[redacted]")

    @pytest.mark.parametrize(
        ("kind", "text"),
        [("latin", "café"), ("unknown", "plain"), ("empty", ""), ("accents", "é" * 10),
         ("wrong", b"caf\xe9"), ("binary", bytes(range(256))), ("nul", b"a\x00b"), ("zipped", b"\x1f\x8b compressed")],
    )  # fmt: skip
    async def test_is_text_where_it_is_text_and_base64_where_not(
        self, tasks: TaskService, site: Site, kind: str, text: str | bytes
    ) -> None:
        run = await sent(tasks, site.url(f"/content/{kind}"))
        assert run.status == TaskRunStatus.SUCCEEDED, run.error
        body = base64.b64decode(run.output["body"]) if run.output["body_is_base64"] else run.output["body"]
        assert body == text

    async def test_is_cut_at_its_limit_and_not_in_a_character(self, tasks: TaskService, site: Site) -> None:
        run = await sent(tasks, site.url("/content/accents"), max_response_bytes=7)
        assert (run.output["body"], run.output["body_is_cut"]) == ("ééé", True)
        run = await sent(tasks, site.url("/content/accents"), max_response_bytes=20)
        assert (run.output["body"], run.output["body_is_cut"]) == ("é" * 10, False)

    async def test_that_never_ends_is_not_read_to_its_end(self, tasks: TaskService, site: Site) -> None:
        run = await sent(tasks, site.url("/endless"))
        assert (len(run.output["body"]), run.output["body_is_cut"]) == (65536, True)
        await asyncio.wait_for(site.hung_up.wait(), 10)
        assert site.sent_bytes < 64 * 1024 * 1024

    async def test_may_have_any_status_that_is_expected(self, tasks: TaskService, site: Site) -> None:
        for code in ("404", "503", "301"):
            run = await sent(tasks, site.url(f"/status/{code}"), expected_status=[301, "404-503"])
            assert (run.status, run.output["status"], run.output["attempts"]) == ("SUCCEEDED", int(code), 1)


class TestRedirects:
    async def test_are_an_unexpected_status_unless_they_are_to_be_followed(
        self, tasks: TaskService, site: Site
    ) -> None:
        run = await sent(tasks, site.url("/redirect?to=/echo"))
        assert (run.status, site.asks("/echo")) == (TaskRunStatus.FAILED, 0)
        run = await sent(tasks, site.url("/redirect?to=/echo"), follow_redirects=True)
        assert (run.status, run.output["redirects"], site.asks("/echo")) == (TaskRunStatus.SUCCEEDED, 1, 1)

    async def test_keep_the_body_where_the_standard_says_so(self, tasks: TaskService, site: Site) -> None:
        for status, method, body in (("307", "POST", b"hello"), ("303", "GET", b"")):
            url = site.url(f"/redirect?to=/echo&status={status}")
            await sent(tasks, url, method="POST", body="hello", follow_redirects=True)
            assert (site.asked["/echo"][-1]["method"], site.asked["/echo"][-1]["body"]) == (method, body)

    async def test_take_secrets_to_the_same_host_only(self, tasks: TaskService, site: Site) -> None:
        headers = {"Authorization": SECRET, "X-Api-Key": SECRET, "X-Other": "other"}
        for host, expected in (("127.0.0.1", SECRET), ("localhost", None)):
            url = site.url(f"/redirect?to={site.url('/echo', host)}")
            run = await sent(tasks, url, headers=headers, follow_redirects=True)
            assert run.status == TaskRunStatus.SUCCEEDED, run.error
            arrived = site.asked["/echo"][-1]["headers"]
            assert [arrived.get(name) for name in ("authorization", "x-api-key", "x-other")] == [
                expected, expected, "other",
            ]  # fmt: skip

    async def test_in_a_circle_end(self, tasks: TaskService, site: Site) -> None:
        run = await sent(tasks, site.url("/redirect"), follow_redirects=True)
        assert (run.status, run.attempt, site.asks("/redirect")) == (TaskRunStatus.FAILED, 1, 11)

    async def test_with_an_endless_body_are_followed_at_once(self, tasks: TaskService, site: Site) -> None:
        run = await sent(tasks, site.url("/endless?status=302"), follow_redirects=True)
        assert (run.status, run.output["redirects"]) == (TaskRunStatus.SUCCEEDED, 1)

    async def test_to_what_is_not_http_fail_at_once(self, tasks: TaskService, site: Site) -> None:
        run = await sent(tasks, site.url("/redirect?to=file:///etc/passwd"), follow_redirects=True)
        assert (run.status, run.attempt) == (TaskRunStatus.FAILED, 1)


@pytest.mark.usefixtures("quick_retries")
class TestFurtherAttempts:
    @pytest.mark.parametrize("code", ["500", "503", "408", "425", "429"])
    async def test_follow_where_the_server_could_not_then(self, tasks: TaskService, site: Site, code: str) -> None:
        run = await sent(tasks, site.url(f"/status/{code},{code},200"))
        assert (run.status, run.output["attempts"]) == (TaskRunStatus.SUCCEEDED, 3)
        assert await outcomes(tasks, run) == ["RETRIED", "RETRIED", "SUCCEEDED"]

    async def test_end_after_five(self, tasks: TaskService, site: Site) -> None:
        run = await sent(tasks, site.url("/status/503"))
        assert (run.status, run.status_reason) == (TaskRunStatus.FAILED, TaskRunStatusReason.MAX_ATTEMPTS)
        assert run.error
        assert run.error["message"].endswith("/status/503: the status is 503, which was not expected.")
        assert site.asks("/status/503") == 5

    @pytest.mark.parametrize("code", ["400", "401", "404", "422", "301", "204"])
    async def test_do_not_follow_where_they_would_not_help(self, tasks: TaskService, site: Site, code: str) -> None:
        run = await sent(tasks, site.url(f"/status/{code}"), expected_status=[200])
        assert (run.status, site.asks(f"/status/{code}")) == (TaskRunStatus.FAILED, 1)
        assert run.error
        assert run.error["type"] == "UnexpectedStatus"

    async def test_follow_when_the_server_says_so(self, tasks: TaskService, site: Site) -> None:
        began = time.monotonic()
        run = await sent(tasks, site.url("/status/429,200?after=1"))
        assert (run.status, run.output["attempts"]) == (TaskRunStatus.SUCCEEDED, 2)
        assert time.monotonic() - began >= 1

    async def test_follow_after_an_hour_at_the_most(self, tasks: TaskService, site: Site) -> None:
        for after in ("86400", format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True).replace(" ", "%20")):
            run = await tasks.trigger("http-request", input={"url": site.url(f"/status/503?after={after}")})
            run = await until_status(tasks, run.id, TaskRunStatus.WAITING)
            assert run.status_reason == TaskRunStatusReason.RETRY_LATER
            assert run.due_at
            assert timedelta(minutes=59) < run.due_at - datetime.now(UTC) <= timedelta(minutes=60)

    async def test_follow_where_nobody_listens(self, tasks: TaskService, site: Site) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            run = await sent(tasks, f"http://127.0.0.1:{bound.getsockname()[1]}/?key={SECRET}", max_attempts=3)
        assert (run.status, run.attempt) == (TaskRunStatus.FAILED, 3)
        assert run.error
        assert (run.error["type"], run.error["message"]) == ("NoAnswer", "no answer (ConnectError: Connection refused)")

    async def test_follow_where_the_connection_breaks(self, tasks: TaskService) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            answers.append(1)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + b"x" * (4 if len(answers) < 3 else 10))
            await writer.drain()
            writer.close()

        answers: list[int] = []
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            run = await sent(tasks, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        assert (run.status, run.output["body"], run.output["attempts"]) == (TaskRunStatus.SUCCEEDED, "x" * 10, 3)

    async def test_follow_where_the_answer_takes_too_long(self, tasks: TaskService, site: Site) -> None:
        run = await sent(tasks, site.url("/slow"), timeout_seconds=0.1, max_attempts=2)
        assert (run.status, site.asks("/slow")) == (TaskRunStatus.FAILED, 2)
        assert run.error
        assert run.error["message"].endswith("/slow: no answer within 0.1 seconds")


class TestAborts:
    async def test_do_not_wait_for_the_answer(self, tasks: TaskService, site: Site) -> None:
        run = await tasks.trigger("http-request", input={"url": site.url("/slow")})
        await until(lambda: site.asks("/slow"))
        began = time.monotonic()
        await tasks.abort(run.id)
        run = await tasks.wait(run.id, timeout=SOON)
        assert (run.status, run.status_reason) == (TaskRunStatus.ABORTED, TaskRunStatusReason.ABORT_REQUESTED)
        assert time.monotonic() - began < 1
        await asyncio.wait_for(site.hung_up.wait(), 10)


class TestSecrets:
    async def test_are_in_no_log_line_and_no_error(
        self, tasks: TaskService, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        for name in ("httpx2", "httpcore2"):
            caplog.set_level(logging.DEBUG, name)
        secrets = {"headers": {"Authorization": SECRET}, "body": SECRET, "method": "POST"}
        texts: list[str] = []
        for path in ("/echo", "/status/404", "/redirect"):
            run = await sent(tasks, site.url(f"{path}?to=/echo&key={SECRET}"), **secrets)
            texts += [
                *await lines(tasks, run.id),
                str(run.error),
                run.output["body"] if path != "/echo" and run.output else "",
            ]
            texts += [str(line.data) async for line in tasks.logs(run.id)]
        assert f"POST 127.0.0.1:{site.port}/echo: 200" in texts
        assert SECRET not in "".join(texts)
        ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("uvicorn", "asyncio"))]
        assert SECRET not in "".join(ours)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), (" 7 ", 7.0), ("9" * 500, 999999999999.0), ("", None), ("-1", None), ("soon", None), ("\u0665", None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)  # fmt: skip
async def test_retry_after_is_a_number_of_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert Answer(503, (("retry-after", value),), b"", False, 0).retry_after() == seconds
