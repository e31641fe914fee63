"""The GraphQL endpoint: HTTP, server-sent events and WebSockets at one path.

HTTP follows GraphQL over HTTP (GraphQL Foundation working draft): which media type and status an answer has depends on
what the client accepts. Requests of pages on other sites are refused unless their origin is allowed.
"""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
from graphql import OperationType
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http.websocket_origin import is_same_origin, normalize_origin
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types.unset import UNSET

from app.errors import ErrorCode
from app.ids import new_id
from app.schema.execution import Caller, Engine, refusal_errors, require_no_subscription
from app.schema.faults import BUG, INTERNAL_SERVER_ERROR, RequestRefused, refuse
from app.schema.negotiation import GRAPHQL_JSON, JSON, accepted
from app.schema.request import (
    ClientGone,
    OperationRequest,
    read_body,
    request_from_body,
    request_from_url,
    require_json_type,
)
from app.schema.sse import HEADERS, EventStreams
from app.schema.websocket import FrameAdapter, TransportHandler

if TYPE_CHECKING:
    from collections.abc import Callable

    import strawberry
    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import Receive, Scope, Send
    from strawberry.types.unset import UnsetType

    from app.schema.documents import Operation
    from app.schema.execution import ContextFactory
    from app.schema.negotiation import Accepted
    from app.settings import Settings

PATH = "/graphql"
INIT_SECONDS = 10
"""How long a WebSocket may take to say ``connection_init``."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_METHODS = "GET, POST"
_TOO_MANY = (
    "This server has {} WebSockets open, and no more are allowed (TASKLOOM_MAX_WEBSOCKETS). Close one, run several "
    "operations over one, or ask another server."
)
_ORIGINS_TOLD = 20
"""Origins of refused pages that the log tells, each of them once."""

logger = logging.getLogger("taskloom.graphql")


class GraphQLView(GraphQL[Caller, None]):
    """One GraphQL endpoint as an ASGI application.

    ``page`` makes the answer for browsers that open the endpoint; without it they are told to send a request.
    ``streams`` are what its event streams belong to, for whoever stops the server.
    Raises ValueError when ``settings.allowed_origins`` holds anything but origins.
    """

    websocket_adapter_class = FrameAdapter  # type: ignore[assignment]
    graphql_transport_ws_handler_class = TransportHandler

    def __init__(
        self,
        schema: strawberry.Schema,
        get_context: ContextFactory,
        settings: Settings,
        page: Callable[[], Response] | None = None,
        streams: EventStreams | None = None,
    ) -> None:
        super().__init__(
            schema,
            graphql_ide=None,
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,),
            connection_init_wait_timeout=timedelta(seconds=INIT_SECONDS),
            max_subscriptions_per_connection=settings.max_websocket_operations,
            allowed_origins=settings.allowed_origins,
        )
        self.engine = Engine(schema, get_context, settings)
        self._page = page
        self._streams = streams or EventStreams()
        self._told: set[str] = set()
        self._max_sockets = settings.max_websockets
        self._sockets = 0
        self._max_bytes = settings.max_request_bytes
        self._body_seconds = settings.request_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request, or serve one WebSocket."""
        if scope["type"] != "http":
            await self._serve_socket(scope, receive, send)
            return
        caller = _caller(scope)
        accept = accepted(caller.headers.get("accept", ""))
        try:
            response = await self._respond(scope, receive, caller, accept)
        except ClientGone:
            return
        except RequestRefused as refusal:
            response = _refused(refusal, caller, accept)
        except Exception:
            response = _broken(caller, accept)
        response.headers["x-request-id"] = caller.request_id
        await response(scope, receive, send)

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = _caller(scope)
        try:
            self._require_known_origin(caller)
            if self._sockets >= self._max_sockets:
                raise refuse(503, "TOO_MANY_WEBSOCKETS", _TOO_MANY.format(self._max_sockets))
        except RequestRefused as refusal:
            denial = _refused(refusal, caller, accepted(""))
            await WebSocket(scope, receive, send).send_denial_response(denial)
            return
        self._sockets += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._sockets -= 1

    async def _respond(self, scope: Scope, receive: Receive, caller: Caller, accept: Accepted) -> Response:
        self._require_known_origin(caller)
        method: str = scope["method"]
        if method == "POST":
            require_json_type(caller.headers)
            body = await read_body(receive, caller.headers, self._max_bytes, self._body_seconds)
            return await self._answer(request_from_body(body), caller, accept)
        if method != "GET":
            raise refuse(405, "METHOD_NOT_ALLOWED", f"GraphQL is served with {_METHODS}.")
        if self._page and accept.page:
            return self._page()
        request = request_from_url(scope["query_string"])
        return await self._answer(request, caller, accept, reading=True)

    async def _answer(
        self, request: OperationRequest, caller: Caller, accept: Accepted, *, reading: bool = False
    ) -> Response:
        if accept.json is None and not accept.events:
            raise refuse(406, "NOT_ACCEPTABLE", f"Answers come as {GRAPHQL_JSON}, {JSON} or text/event-stream.")
        operation = self.engine.prepare(request)
        if reading and operation.kind is OperationType.MUTATION:
            raise refuse(405, "METHOD_NOT_ALLOWED", "Mutations are sent with POST; GET only reads.")
        if accept.events:
            return await self._stream(operation, request, caller)
        require_no_subscription(operation)
        answer = await self.engine.run(operation, request, caller)
        return _json(answer.payload, 200, accept)

    async def _stream(self, operation: Operation, request: OperationRequest, caller: Caller) -> Response:
        answers = await self.engine.begin(operation, request, caller)
        return StreamingResponse(self._streams.of(answers), headers=HEADERS)

    def _require_known_origin(self, caller: Caller) -> None:
        origin = caller.headers.get("origin")
        if origin is None or is_same_origin(origin, caller.headers.get("host")):
            return
        if "*" in self.allowed_origins or normalize_origin(origin) in self.allowed_origins:
            return
        words = f"Pages on {origin[:100]} may not send requests here; TASKLOOM_ALLOWED_ORIGINS names those that may."
        # A browser keeps the answer from the page, and whoever makes that looks here. A page may ask without end.
        if words not in self._told and len(self._told) < _ORIGINS_TOLD:
            self._told.add(words)
            logger.warning(words)
        raise refuse(403, ErrorCode.FORBIDDEN.value, words)

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Caller:
        """Who opened the WebSocket; the context proper is made for each operation."""
        return _caller(request.scope)

    async def on_ws_connect(self, context: Caller) -> UnsetType | dict[str, object] | None:
        """Let a WebSocket in, or close it with 4403 where no context can be made for who opened it."""
        try:
            await self.engine.context(context)
        except RequestRefused as refusal:
            raise ConnectionRejectionError from refusal
        return UNSET


def graphql_routes(
    schema: strawberry.Schema,
    get_context: ContextFactory,
    settings: Settings,
    page: Callable[[], Response] | None = None,
    streams: EventStreams | None = None,
) -> list[BaseRoute]:
    """The routes of the GraphQL endpoint, ``/graphql``, for a Starlette application.

    ``get_context`` makes the context of one operation from its Caller; whoever stops the server ends ``streams``. Pages
    on ``settings.allowed_origins`` may send requests too (CORS).
    """
    view = GraphQLView(schema, get_context, settings, page, streams)
    return [Route(PATH, view, middleware=_cors(settings)), WebSocketRoute(PATH, view)]


def _cors(settings: Settings) -> list[Middleware]:
    if not settings.allowed_origins:
        return []
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.allowed_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["x-request-id"],
    )
    return [cors]


def _caller(scope: Scope) -> Caller:
    headers = Headers(scope=scope)
    asked = headers.get("x-request-id", "")
    return Caller(headers, asked if _REQUEST_ID.fullmatch(asked) else str(new_id()))


def _json(payload: dict[str, Any], status: int, accept: Accepted) -> Response:
    return Response(orjson.dumps(payload), status, media_type=f"{accept.json or JSON}; charset=utf-8")


def _refused(refusal: RequestRefused, caller: Caller, accept: Accepted) -> Response:
    """A refusal; a failed GraphQL request has status 200 for clients that know only ``application/json``."""
    errors = [error.formatted for error in refusal_errors(refusal, caller.request_id)]
    status = refusal.status if refusal.malformed or accept.json != JSON else 200
    response = _json({"errors": errors}, status, accept)
    if status == 405:
        response.headers["allow"] = _METHODS
    if status in (408, 413):
        # What is left of the body is not waited for.
        response.headers["connection"] = "close"
    return response


def _broken(caller: Caller, accept: Accepted) -> Response:
    """The answer to a bug of the transport, which is logged with its traceback."""
    logger.exception("A bug in the GraphQL endpoint (request %s).", caller.request_id)
    extensions = {"code": INTERNAL_SERVER_ERROR, "requestId": caller.request_id}
    return _json({"errors": [{"message": BUG.format(caller.request_id), "extensions": extensions}]}, 500, accept)
