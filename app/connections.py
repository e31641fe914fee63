"""The connections of clients, as uvicorn serves them, which also end when a client does not do its part.

uvicorn itself ends only those that are idle between two requests, and WebSockets that answer no ping.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

# No settings: they protect a server from clients that are broken or mean. No other client comes near them, whatever the
# size of the installation.
HEAD_SECONDS = 30.0
"""How long a request's head may take to arrive, from the beginning of the connection or the end of the last answer."""
HEAD_BYTES = 2**20
"""How long it may be: more than uvicorn reads at once, which is counted as a whole."""
UNREAD_SECONDS = 25.0
"""How often is looked whether a client still takes what waits to be sent to it."""
FAREWELL_SECONDS = 5.0
"""How long what is left may take to be sent on a WebSocket that answers no ping."""
TOO_LONG = (
    f"The head of this request is longer than {HEAD_BYTES} bytes, and no more are allowed. Send fewer or shorter "
    "headers, and a long query with POST."
)


class HttpConnection(HttpToolsProtocol):
    """uvicorn's HTTP, which also ends where a head comes to no end, or where an answer or a stream is not read."""

    _head_bytes = 0
    _head_due: TimerHandle | None = None
    _reading_due: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Await a head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Await nothing any more."""
        _cancel(self._head_due)
        _cancel(self._reading_due)
        super().connection_lost(exc)

    # A request's head.

    def data_received(self, data: bytes) -> None:
        """Refuse a head, or what follows a body, that is too long."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(TOO_LONG)

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._head_bytes = 0
        _cancel(self._head_due)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """What arrives is no head."""
        self._head_bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Await the next head, unless it is there already."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self._await_head()

    def _await_head(self) -> None:
        self._head_due = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    # A client that reads.

    def pause_writing(self) -> None:
        """Await that the client reads, because much waits to be sent."""
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        """The client reads."""
        _cancel(self._reading_due)
        super().resume_writing()

    def _await_reading(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._reading_due = self.loop.call_later(UNREAD_SECONDS, self._give_up_unless_read, unread)

    def _give_up_unless_read(self, unread_before: int) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread and unread >= unread_before:
            self.transport.abort()
        elif unread:
            self._await_reading()


class WebSocketConnection(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which also ends when its client reads nothing any more."""

    async def send(self, message: Any) -> None:
        """Send what the application says. A refusal is an answer too, of which uvicorn would log that none came."""
        await super().send(message)
        self.handshake_complete = self.handshake_complete or self.close_sent

    def keepalive_timeout(self) -> None:
        """Close it, because a ping got no answer; what cannot be sent in time, the farewell included, is given up."""
        super().keepalive_timeout()
        self.loop.call_later(FAREWELL_SECONDS, self.transport.abort)


def _cancel(timer: TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
