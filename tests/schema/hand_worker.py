"""A worker whose every step a test takes: real claims and real records through ``Lifecycle``, and no task code."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import orjson

from app import states
from app.leases import Claimant, Write
from app.lifecycle import Lifecycle, Recorded
from app.main import Server
from app.states import Move, RunError

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass
class Held:
    """A run that the worker holds, and what it has written to it so far."""

    lifecycle: Lifecycle
    run_id: UUID
    claim_no: int
    iteration: int
    attempt: int
    write_no: int
    lines: int
    state: Any = None
    pending: list[tuple[str, str, Any]] = field(default_factory=list)

    async def log(self, *lines: tuple[str, str] | tuple[str, str, Any]) -> None:
        """Write log lines, each ``(level, message)`` or ``(level, message, data)``."""
        await self.write(lines=lines)

    async def progress(self, **progress: Any) -> None:
        """Report progress, as ``ctx.checkpoint`` stores it."""
        await self.write(progress={**progress, "updated_at": datetime.now(UTC).isoformat()})

    async def succeed(self, output: Any = None) -> None:
        """End the run with an output."""
        await self.write(move=states.succeed(orjson.dumps(output).decode()))

    async def fail(self, kind: str, message: str, traceback: str | None = None) -> None:
        """End the run with an error."""
        await self.write(move=states.fail(RunError(kind, message, traceback), states.Reason.ERROR))

    async def continue_(self, state: Any) -> None:
        """End the iteration and save the state for the next one."""
        await self.write(move=states.continue_(0.0), state=state)

    async def acknowledge_abort(self) -> None:
        """Stop at a checkpoint because an abort was asked."""
        await self.write(move=states.acknowledge_abort())

    async def write(
        self, *, lines: Any = (), state: Any = None, progress: Any = None, move: Move | None = None
    ) -> None:
        """One fenced write, which has to be accepted."""
        now = datetime.now(UTC)
        rows = []
        for level, message, *data in lines:
            self.lines += 1
            text = orjson.dumps(data[0]).decode() if data else None
            rows.append((self.run_id, self.lines, self.iteration, self.attempt, level, message, text, now))
        counts = tuple(sum(1 for line in lines if line[0] == level) for level in LEVELS)
        write = Write(
            self.run_id,
            self.claim_no,
            self.write_no,
            _text(state),
            _text(progress),
            move,
            rows,
            counts,  # type: ignore[arg-type]
        )
        [answer] = await self.lifecycle.record([write])
        assert isinstance(answer, Recorded), answer
        assert answer.accepted, answer
        self.write_no += 1


class HandWorker:
    """One worker process as far as the database can tell."""

    def __init__(self, server: Server, definition_ids: tuple[str, ...]) -> None:
        self.claimant = Claimant(uuid4(), "testhost:4711", ("default",), definition_ids)
        self.lifecycle = Lifecycle(server.db, server.doorbell, server.events, server.settings, self.claimant)

    async def beat(self, *, draining: bool = False) -> None:
        """Register, or renew the lease."""
        await self.lifecycle.beat("testhost", 4711, 8, 1, draining=draining)

    async def claim(self, run_id: str, claim_no: int = 0) -> Held:
        """Claim one run that is due; ``claim_no`` is the number of claims it had before."""
        [row] = await self.lifecycle.claim_rung([f"{run_id}:{claim_no}"])
        return Held(
            self.lifecycle, row["id"], row["claim_no"], row["iteration"], row["attempt"], row["write_no"],
            row["log_count"], row["state"],
        )  # fmt: skip


def _text(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
