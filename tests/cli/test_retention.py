"""``taskloom retention`` and the pins of ``taskloom runs``."""

from __future__ import annotations

from app import TaskService
from tests.cli.command import Command


async def test_rules_are_shown_set_and_reset(taskloom: Command, tasks: TaskService) -> None:
    await tasks.trigger("cli-add", input={"numbers": []}, delay=3600)
    shown = await taskloom("retention", "show")
    assert shown.out.splitlines()[-1].split() == ["(default)", "3", "days", "30", "days", "90", "days", "10"]
    given = ("-d", "cli-add", "--succeeded-logs", "0.5", "--runs", "forever", "--keep-last", "7")
    [rule] = (await taskloom.json("retention", "set", *given))["nodes"]
    assert rule == {
        "definitionId": "cli-add", "succeededLogsDays": 0.5, "failedLogsDays": 30, "runsDays": None, "keepLast": 7,
    }  # fmt: skip
    assert [node["definitionId"] for node in (await taskloom.json("retention", "show"))["nodes"]] == [None, "cli-add"]
    assert (await taskloom.json("retention", "reset", "-d", "cli-add"))["nodes"][0]["definitionId"] is None


async def test_what_makes_no_sense_is_refused_in_words_of_the_command(taskloom: Command) -> None:
    nothing, word, short = [
        await taskloom("retention", "set", *given) for given in ((), ("--runs", "soon"), ("--runs", "1"))
    ]
    assert (nothing.code, word.code, short.code) == (2, 2, 2)
    assert "--keep-last" in nothing.sentence
    assert word.sentence.startswith("--runs is 'soon', which is no number of days. Write 3, 0.5 or forever")
    assert "--succeeded-logs would keep logs" in short.sentence


async def test_a_report_and_pins(taskloom: Command, tasks: TaskService) -> None:
    run = await tasks.trigger("cli-add", input={"numbers": []}, delay=3600)
    assert (await taskloom.json("runs", "pin", str(run.id)))["isPinned"] is True
    assert "not pinned" in (await taskloom("runs", "unpin", str(run.id))).out
    assert await taskloom.json("retention", "report") == {"definitions": [], "isComplete": True}
    assert "Nothing would go" in (await taskloom("retention", "report")).sentence
