"""GraphQL over WebSocket: the protocol graphql-transport-ws, on Strawberry's handler.

Its handler takes every frame for a well-formed object; here each frame is checked before it gets there, and a wrong
one closes the socket with 4400 and a reason, as the protocol asks (enisdenjo/graphql-ws, PROTOCOL.md).
"""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import orjson
from starlette.websockets import WebSocketDisconnect
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.exceptions import NonJsonMessageReceived, WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.types.execution import ExecutionResult

from app.schema.execution import Caller, refusal_errors
from app.schema.faults import BAD_REQUEST, RequestRefused, refuse
from app.schema.request import parse_json, request_from_payload

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import Operation
    from strawberry.subscriptions.protocols.graphql_transport_ws.types import Message, SubscribeMessage

    from app.schema.execution import Answer, Engine

_MAX_REASON_BYTES = 123
"""RFC 6455, 5.5: a control frame carries 125 bytes, two of which are the code."""
_TYPES = ("connection_init", "ping", "pong", "subscribe", "complete")
_INTERNAL_ERROR = 4500
_TOO_MANY = (
    "This WebSocket has {} operations under way, and no more are allowed (TASKLOOM_MAX_WEBSOCKET_OPERATIONS). Complete "
    "one, or open another socket."
)

logger = logging.getLogger("taskloom.graphql")


class FrameAdapter(ASGIWebSocketAdapter):
    """Frames in and out: strict JSON read, text frames written with orjson, close reasons within their bounds."""

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:
        """Every frame's value; NonJsonMessageReceived for a frame that is not JSON."""
        async for text in self._frames():
            try:
                value = parse_json(text, "The frame")
            except RequestRefused as refusal:
                raise NonJsonMessageReceived from refusal
            yield value

    async def _frames(self) -> AsyncGenerator[str | bytes, None]:
        while True:
            message: Mapping[str, Any] = await self.ws.receive()
            if message["type"] == "websocket.disconnect":
                return
            yield message.get("text") or message.get("bytes") or b""

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Write one message; WebSocketDisconnected when the client has gone or the socket is closed."""
        try:
            await self.ws.send_text(orjson.dumps(message).decode())
        except (WebSocketDisconnect, RuntimeError) as gone:
            raise WebSocketDisconnected from gone

    async def close(self, code: int, reason: str) -> None:
        """Close the socket, the reason cut to what a frame can carry."""
        short = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
        await self.ws.close(code=code, reason=short)


class TransportHandler(BaseGraphQLTransportWSHandler[Caller, None]):
    """One WebSocket: its operations run on the engine, side by side."""

    @property
    def engine(self) -> Engine:
        """What runs the operations."""
        return cast("Any", self.view).engine

    async def handle(self) -> None:
        """Serve the socket until it closes; a bug closes it with 4500 and is logged."""
        try:
            await super().handle()
        except Exception:
            logger.exception("A bug in the GraphQL WebSocket (request %s).", self.context.request_id)
            await self.websocket.close(_INTERNAL_ERROR, "Something went wrong on our side; it was logged.")

    async def handle_message(self, message: Message) -> None:
        """Act on one frame; one that breaks the protocol closes the socket with 4400."""
        if fault := _fault(message):
            await self.handle_invalid_message(fault)
        else:
            await super().handle_message(message)

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        """Begin an operation; one too many on this socket is refused."""
        limit = self.max_subscriptions_per_connection
        if limit is None or message["id"] in self.operations or len(self.operations) < limit:
            await super().handle_subscribe(message)
            return
        refusal = refuse(400, BAD_REQUEST, _TOO_MANY.format(limit))
        errors = refusal_errors(refusal, self.context.for_operation().request_id)
        await self.send_message(
            {"id": message["id"], "type": "error", "payload": [error.formatted for error in errors]}
        )

    async def run_operation(self, operation: Operation[Caller, None]) -> None:
        """Run one operation to its end and send what it brings."""
        caller = self.context.for_operation()
        try:
            async with aclosing(self._answers(operation, caller)) as answers:
                async for answer in answers:
                    await operation.send_next(ExecutionResult(answer.data, answer.errors))
            await operation.send_operation_message({"id": operation.id, "type": "complete"})
        except RequestRefused as refusal:
            await operation.send_initial_errors(refusal_errors(refusal, caller.request_id))
        except WebSocketDisconnected:
            return
        except Exception:
            logger.exception("A bug in the GraphQL WebSocket (request %s).", caller.request_id)
            await self.websocket.close(_INTERNAL_ERROR, f"Something went wrong; logged as {caller.request_id}.")

    async def _answers(self, operation: Operation[Caller, None], caller: Caller) -> AsyncGenerator[Answer, None]:
        names = {"query": operation.query, "variables": operation.variables, "operationName": operation.operation_name}
        request = request_from_payload(names)
        async with aclosing(await self.engine.begin(self.engine.prepare(request), request, caller)) as answers:
            async for answer in answers:
                yield answer


def _fault(frame: object) -> str | None:
    """What is wrong with a frame, or None."""
    if not isinstance(frame, dict):
        return "A frame must be a JSON object"
    message = cast("dict[str, Any]", frame)
    kind = message.get("type")
    if kind not in _TYPES:
        return f"Unknown message type: {kind}"
    if kind in ("subscribe", "complete") and not (isinstance(message.get("id"), str) and message["id"]):
        return f"'{kind}' needs an id: a string that is not empty"
    if kind == "subscribe":
        return _payload_fault(message.get("payload"))
    return None


def _payload_fault(payload: object) -> str | None:
    try:
        request_from_payload(payload)
    except RequestRefused as refusal:
        return str(refusal)
    return None
