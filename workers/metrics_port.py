"""A worker's ``/metrics``, where ``TASKLOOM_METRICS_PORT`` asks for it.

In a thread of its own, so that it answers also while task code blocks the event loop: that is when it is wanted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, make_server

import prometheus_client
from prometheus_client.exposition import ThreadingWSGIServer

from app.hosts import LOOPBACK_NAMES, CannotListen, check_host
from app.settings import Settings

Respond = Callable[..., Any]


class Quiet(WSGIRequestHandler):
    """Says nothing about the requests it answers."""

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def address_string(self) -> str:
        """The client's address; asking DNS for its name could take seconds."""
        return self.client_address[0]


@contextmanager
def serving(settings: Settings) -> Generator[int | None]:
    """Serve ``/metrics`` while the block lasts; gives the port, or None where none is set.

    Raises ``UnsafeHost``, and ``CannotListen`` when the port is taken.
    """
    if settings.metrics_port is None:
        yield None
        return
    check_host(settings)
    server = _listen(settings.host, settings.metrics_port, _only_for_known_hosts(settings))
    threading.Thread(target=server.serve_forever, name="taskloom-metrics", daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def _listen(host: str, port: int, application: Respond) -> Any:
    try:
        return make_server(host, port, application, ThreadingWSGIServer, Quiet)
    except OSError as error:
        raise CannotListen(
            f"The worker cannot serve its metrics on {host} port {port} ({error.strerror}). Every worker of a machine "
            "needs a TASKLOOM_METRICS_PORT of its own; without one it serves none."
        ) from None


def _only_for_known_hosts(settings: Settings) -> Respond:
    """The metrics, for those to whom the server would show them: see ``app.main``."""
    metrics = cast(Any, prometheus_client).make_wsgi_app(disable_compression=True)

    def application(environ: dict[str, Any], start_response: Respond) -> Iterable[bytes]:
        host = str(environ.get("HTTP_HOST", "")).rsplit(":", 1)[0]
        if not settings.allow_anonymous and host not in LOOPBACK_NAMES:
            start_response("400 Bad Request", [("Content-Type", "text/plain")])
            return [b"Invalid host header"]
        return metrics(environ, start_response)

    return application
