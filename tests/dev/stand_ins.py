"""Small programs in the place of Taskloom's server and worker, and ``taskloom dev`` that runs them.

``python stand_ins.py dev CHECKOUT`` is the supervisor; ``server`` and ``worker`` are what it starts.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

HERE = str(Path(__file__).resolve())


class Healthy(BaseHTTPRequestHandler):
    """Answers every GET with 200."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def server() -> None:
    """Serve until SIGTERM."""
    print(f"pid {os.getpid()}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Healthy).serve_forever()
    finally:
        print("bye", flush=True)


def worker() -> None:
    """Wait for SIGTERM, then drain for a moment."""
    print(f"pid {os.getpid()} with {os.environ['DATABASE_URL']}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            time.sleep(60)
    finally:
        time.sleep(0.3)
        print("drained", flush=True)


def dev(checkout: str) -> int:
    """Run the supervisor with the stand-ins."""
    from app.dev.options import DevOptions
    from app.dev.supervisor import run_dev
    from app.settings import get_settings

    async def migrate(database_url: str) -> str:
        return "none"

    options = DevOptions(
        checkout=Path(checkout),
        server=(sys.executable, HERE, os.environ.get("STAND_IN_SERVER", "server")),
        worker=(sys.executable, HERE, "worker"),
        graphiql=(sys.executable, "-c", "print('GraphiQL is up to date.')"),
        migrate=migrate,
    )
    return run_dev(get_settings(), options)


if __name__ == "__main__":
    roles = {"server": server, "worker": worker}
    sys.exit(dev(sys.argv[2]) if sys.argv[1] == "dev" else roles[sys.argv[1]]())
