"""``taskloom`` as a process that was forked with everything loaded."""

from __future__ import annotations

import signal
from pathlib import Path
from tempfile import TemporaryFile

from tests.cli.command import PATIENCE_SECONDS, ROOT, Answer, Command
from tests.forked import forked


class ForkedCommand(Command):
    """Runs ``taskloom`` with a test's servers; what begins with ``started`` is a process from the very beginning."""

    async def __call__(self, *args: str, stdin: str = "", cwd: Path = ROOT, **environment: str) -> Answer:
        """Run the command to its end."""
        with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
            given.write(stdin.encode())
            given.seek(0)
            files = (given.fileno(), out.fileno(), err.fileno())
            process = await forked(
                "app.cli", *args, environment={**self.environment, **environment}, cwd=cwd, files=files
            )
            try:
                code = await process.ended(PATIENCE_SECONDS)
            finally:
                process.send_signal(signal.SIGKILL)
            for file in (out, err):
                file.seek(0)
            return Answer(code, out.read().decode(), err.read().decode())
