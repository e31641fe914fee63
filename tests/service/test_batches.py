"""What a worker writes in one flush about one run that it holds for the second time."""

from __future__ import annotations

from app import TaskService, clock, states
from app.leases import Write
from app.lifecycle import REFUSED, Recorded
from app.states import TaskRunStatus
from tests.service.conftest import Hand
from tests.workbench import lines


def saving(row: object, message: str) -> Write:
    """A write of one line under the claim of a row."""
    values = {name: row[name] for name in ("id", "claim_no", "write_no", "log_count", "iteration", "attempt")}  # type: ignore[index]
    line = (values["id"], values["log_count"] + 1, values["iteration"], values["attempt"], "INFO", message, None)
    return Write(
        values["id"], values["claim_no"], values["write_no"], state='"saved"' if not message else None,
        logs=[(*line, clock.now())] if message else (), levels=(0, 1 if message else 0, 0, 0),
    )  # fmt: skip


async def test_the_older_claim_of_a_run_writes_in_vain_also_beside_the_newer_one(
    tasks: TaskService, hand: Hand
) -> None:
    run = await tasks.trigger("echo")
    [older] = await hand.claim()
    await older.lifecycle.record([Write(run.id, older.row["claim_no"], 0, move=states.interrupt())])
    [newer] = await hand.claim()
    answers = await hand.lifecycle.record([saving(older.row, "from the older claim"), saving(newer.row, "")])
    assert answers == [REFUSED, Recorded(True, TaskRunStatus.RUNNING)]
    assert await lines(tasks, run.id) == []
