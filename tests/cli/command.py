"""``taskloom`` as a process of its own, with what it printed and how it ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from app.settings import Settings

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 30.0
OURS = ("TASKLOOM_", "DATABASE_URL", "REDIS_URL", "PORT", "COLUMNS", "FORCE_COLOR")


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document, which it must be in full."""
        return orjson.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        """Standard output as one JSON document a line."""
        return [orjson.loads(line) for line in self.out.splitlines()]

    @property
    def sentence(self) -> str:
        """Standard error, which must be one line and no traceback."""
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err.strip()


class Command:
    """Runs ``taskloom`` with a test's servers."""

    def __init__(self, settings: Settings | None = None, **environment: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        servers = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url} if settings else {}
        self.environment = {**kept, **servers, "PYTHONPATH": str(ROOT), **environment}

    async def __call__(self, *args: str, stdin: str = "", cwd: Path = ROOT, **environment: str) -> Answer:
        """Run the command to its end."""
        async with self.started(*args, cwd=cwd, **environment) as process:
            async with asyncio.timeout(PATIENCE_SECONDS):
                out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Answer(process.returncode, out.decode(), err.decode())

    async def json(self, *args: str) -> Any:
        """The JSON document that the command prints; it must have worked."""
        answer = await self(*args, "--json")
        assert answer.code == 0, answer.err
        return answer.json

    @asynccontextmanager
    async def started(
        self, *args: str, cwd: Path = ROOT, **environment: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """The command while it runs; killed when the block ends before it does."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.cli", *args),
            cwd=cwd,
            env={**self.environment, **environment},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                await process.wait()
