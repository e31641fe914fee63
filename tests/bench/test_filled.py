"""The filled database is what the measurements on it say it is."""

from __future__ import annotations

from tests.bench import filled
from tests.bench.bed import Bed


async def test_a_filled_database_has_final_runs_of_tasks_some_that_fail_and_some_that_never_ran(bed: Bed) -> None:
    await filled.fill_tasks(bed.look, 400)
    await filled.fill_runs(bed, 4000, days=10, lines=2, ago=20)
    look = bed.look
    assert await look.fetchval("SELECT count(*) FROM tasks WHERE definition_id LIKE 'filled-%'") == 400
    assert await look.fetchval("SELECT count(*) FROM task_runs WHERE finished_at IS NOT NULL") == 4000
    assert await look.fetchval("SELECT count(*) FROM task_logs") == 8000
    assert await look.fetchval("SELECT count(*) FROM task_summaries") == 380
    assert await look.fetchval("SELECT count(*) FROM task_summaries WHERE verdict = 'FAILED'") > 0
    assert await look.fetchval("SELECT count(*) FROM schedules WHERE next_due_at > now()") >= 80
    age = "SELECT extract(day FROM now() - {}(created_at)) FROM task_runs"
    assert (await look.fetchval(age.format("max")), await look.fetchval(age.format("min"))) == (20, 29)
