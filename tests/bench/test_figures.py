"""The measurements of statistics, with next to nothing to count."""

from __future__ import annotations

from tests.bench import figures, filled
from tests.bench.bed import Bed


async def test_all_runs_are_counted_and_every_question_has_an_answer(bed: Bed) -> None:
    await filled.fill_tasks(bed.look, 400)
    await filled.fill_runs(bed, 2000, days=3)
    assert await figures.runs_a_second_counted(bed) > 0
    assert await bed.look.fetchval("SELECT sum(succeeded) FROM run_rollups WHERE scope = 'ALL' AND minutes = 15") > 0
    for question in figures.QUESTIONS:
        assert await question.ask(bed.tasks.statistics), question.name
