"""``taskloom stats``: what finished, as a table and as JSON."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app import clock
from app.db import Database
from app.settings import Settings
from tests.cli.command import Command
from tests.service import finished
from tests.service.finished import plain


async def test_what_finished_is_shown_by_day_as_a_ranking_and_as_json(taskloom: Command, settings: Settings) -> None:
    db = Database(settings.database_url, pool_size=1)
    now = clock.now()
    await finished.store(db, [plain(now - timedelta(hours=30)), plain(now - timedelta(hours=30), status="FAILED")])
    await db.close()
    shown = await taskloom("stats", "--since", "3d", "-z", "Asia/Kathmandu")
    rows = [line.split() for line in shown.out.splitlines()[2:]]
    assert [row[3] for row in rows if len(row) > 3 and row[3].isdecimal()].count("2") == 1
    assert rows[-1][:6] == ["all", "2", "1", "1", "0", "50.0"]
    assert "The time before" in shown.sentence
    ranked = (await taskloom("stats", "--by", "definition")).out.splitlines()
    assert ranked[0].split()[:3] == ["DEFINITION", "RUNS", "OK"]
    assert ranked[2].split()[:4] == ["a", "2", "1", "1"]
    document = await taskloom.json("stats", "--interval", "hour", "--since", "36h", "-z", "Asia/Kathmandu")
    assert (len(document["buckets"]), document["totals"]["failed"]) == (37, 1)
    first = document["buckets"][0]
    assert (first["startsAt"][-8:], first["localStart"][-6:]) == (".000000Z", "+05:45")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--interval", "decade"), "QUARTER_HOUR, HOUR, DAY, WEEK or MONTH"),
        (("--by", "moon"), "TASK, DEFINITION, GROUP or OWNER"),
        (("--since", "3x"), "--since is '3x'. Write 7d, 12h or 2w back from now, or a time"),
        (("-z", "Europe/Berlino"), "Did you mean 'Europe/Berlin'?"),
    ],
)
async def test_what_cannot_be_shown_is_refused_with_what_can(
    taskloom: Command, given: tuple[str, ...], words: str
) -> None:
    answer = await taskloom("stats", *given)
    assert answer.code == 2
    assert words in answer.sentence
