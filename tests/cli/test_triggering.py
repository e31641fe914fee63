"""``taskloom trigger``: from one line to a finished run."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from app import TaskRunStatus, TaskService
from app.cli.documents import time_text
from app.settings import Settings
from tests.cli.command import PATIENCE_SECONDS, ROOT, Command
from tests.cli.forked import ForkedCommand
from tests.workbench import until, until_status
from workers.worker import TaskloomWorker


async def test_a_trigger_prints_the_run_and_every_option_reaches_it(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    parent = await tasks.trigger("cli-add", input={"numbers": []}, delay=3600)
    document = await taskloom.json(
        "trigger", "cli-add", "--input", '{"numbers": [1]}', "--name", "Mine", "--delay", "1h30m", "--priority", "7",
        "--tag", "a", "--tag", "b", "--queue", "slow", "--parent", str(parent.id), "--timeout", "2m",
        "--max-attempts", "4", "--ttl", "P1D", "--idempotency-key", "k", "--unique-key", "u",
    )  # fmt: skip
    run = await tasks.get(document["id"])
    assert (run.name, run.status, run.priority, run.tags) == ("Mine", TaskRunStatus.SCHEDULED, 7, ["a", "b"])
    assert (run.queue, run.parent_id, run.timeout_seconds, run.max_attempts) == ("slow", parent.id, 120.0, 4)
    assert run.start_at - run.created_at == timedelta(minutes=90)
    assert run.expires_at == run.start_at + timedelta(days=1)
    assert (run.idempotency_key, run.unique_key, run.input) == ("k", "u", {"numbers": [1]})
    assert document["startAt"] == time_text(run.start_at)
    assert document["parent"] == {"id": str(parent.id)}


async def test_waiting_ends_with_the_outcome_as_text_or_as_one_document(
    taskloom: Command, worker: TaskloomWorker
) -> None:
    args = ("trigger", "cli-add", "--wait", "--input")
    told, asked, piped = await asyncio.gather(
        taskloom(*args, '{"numbers": [1, 2]}'),
        taskloom(*args, '{"numbers": [3]}', "--json"),
        taskloom(*args, "-", "--json", stdin='{"numbers": [4, 5]}'),
    )
    assert told.code == asked.code == piped.code == 0
    assert told.out.splitlines()[1].startswith("SUCCEEDED after ")
    assert told.out.rstrip().endswith(": 3")
    assert (asked.json["status"], asked.json["output"], piped.json["output"]) == ("SUCCEEDED", 3, 9)
    assert asked.json["progress"]["percent"] == 50
    assert asked.err == ""


async def test_a_full_queue_refuses_in_one_sentence(
    settings: Settings, tasks: TaskService, worker: TaskloomWorker
) -> None:
    await tasks.trigger("cli-add", input={"numbers": []}, delay=3600)
    answer = await ForkedCommand(settings, TASKLOOM_MAX_QUEUED="1")("trigger", "cli-add", "--input", '{"numbers": [1]}')
    assert (answer.code, answer.out) == (2, "")
    assert "Queue 'default' is full: about 1 run waits in it, and it takes 1 (TASKLOOM_QUEUE_LIMITS" in answer.sentence


async def test_a_terminal_shows_a_bar_while_the_run_is_live(taskloom: Command, worker: TaskloomWorker) -> None:
    args = ("trigger", "cli-add", "--follow", "--input", '{"numbers": [1]}')
    shown = await taskloom(*args, FORCE_COLOR="1")
    assert (shown.code, shown.err) == (0, "")
    hide, show = "\x1b[?25l", "\x1b[?25h"
    bar, end = shown.out.split(hide)[1].split(show)
    assert "Added" in bar
    assert "SUCCEEDED" in end


async def test_following_prints_the_log_and_then_the_outcome(taskloom: Command, worker: TaskloomWorker) -> None:
    args = ("trigger", "cli-add", "--follow", "--input", '{"numbers": [1]}')
    told, asked = await asyncio.gather(taskloom(*args), taskloom(*args, "--json"))
    lines = told.out.splitlines()
    assert lines[0].endswith(" of cli-add is QUEUED.")
    assert [line.split()[1] for line in lines[1:4]] == ["DEBUG", "INFO", "WARNING"]
    assert "Adding [bold]\\x1b[31m  numbers=[1]" in lines[2]
    assert lines[4].startswith("SUCCEEDED")
    assert [row["__typename"] for row in asked.json_lines] == ["TaskLog", "TaskLog", "TaskLog", "TaskRun"]
    assert [row["sequence"] for row in asked.json_lines[:3]] == [1, 2, 3]


async def test_a_run_that_fails_ends_the_command_with_1(taskloom: Command, worker: TaskloomWorker) -> None:
    answer = await taskloom("trigger", "cli-fail", "--wait")
    assert answer.code == 1
    assert "FAILED" in answer.out
    assert "LookupError: no such thing" in answer.out


async def test_ctrl_c_leaves_the_run_alone_and_says_how_to_go_on(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    async with taskloom.started("trigger", "cli-wait", "--input", '{"name": "ctrl-c"}', "--follow") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        id = (await process.stdout.readline()).decode().split()[1]
        assert b"waiting" in await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.wait() == 130
        words = (await process.stderr.read()).decode()
    assert words.startswith("The run goes on: ")
    assert "Traceback" not in words
    assert (await tasks.get(id)).status == TaskRunStatus.RUNNING
    await tasks.abort(id)
    await until_status(tasks, (await tasks.get(id)).id, TaskRunStatus.ABORTED)


async def test_each_refusal_is_one_sentence_and_ends_with_2(taskloom: Command, worker: TaskloomWorker) -> None:
    refusals = {
        "There is no task definition 'nope'. `taskloom definitions` lists": ["nope"],
        "Pass --delay or --start-at, not both.": ["cli-fail", "--delay", "5m", "--start-at", "2026-03-01T09:30Z"],
        "--delay is -5": ["cli-fail", "--delay", "-5"],
        "--delay is 'soon', which is no length of time.": ["cli-fail", "--delay", "soon"],
        "The input does not fit the schema of 'cli-add': \"numbers\" is a required": ["cli-add"],
        "There is no task definition 'cli-private'.": ["cli-private"],
        "--input is no JSON": ["cli-add", "--input", "{"],
        "There is no task run 'x'.": ["cli-fail", "--parent", "x"],
        "--priority is 5000": ["cli-fail", "--priority", "5000"],
    }
    answers = await asyncio.gather(*(taskloom("trigger", *args) for args in refusals.values()))
    for expected, answer in zip(refusals, answers, strict=True):
        assert answer.code == 2
        assert answer.out == ""
        assert answer.sentence.startswith(expected)


async def test_the_same_idempotency_key_gives_the_same_run_and_says_so(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    args = ("trigger", "cli-fail", "--delay", "1h", "--idempotency-key", "once", "--json")
    first = await taskloom(*args)
    second = await taskloom(*args)
    assert first.json["id"] == second.json["id"]
    assert second.sentence == "An earlier trigger with one of these keys had made the run."


async def test_a_unique_key_that_is_taken_passes_over_where_that_is_asked_for(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    args = ("trigger", "cli-fail", "--delay", "1h", "--unique-key", "u", "--unique-policy", "replace", "--json")
    first, second = await taskloom(*args), await taskloom(*args)
    assert (await tasks.get(first.json["id"])).status is TaskRunStatus.ABORTED
    assert (await tasks.get(second.json["id"])).status is TaskRunStatus.SCHEDULED


async def test_without_redis_a_trigger_is_stored_and_the_command_says_that_it_starts_later(
    settings: Settings, tasks: TaskService, worker: TaskloomWorker
) -> None:
    answer = await ForkedCommand(settings, REDIS_URL="redis://127.0.0.1:1/0")("trigger", "cli-fail", "--json")
    assert answer.code == 0
    assert "Redis is away" in answer.sentence
    run = await tasks.get(answer.json["id"])
    await until(lambda: _is_failed(tasks, run.id))


async def _is_failed(tasks: TaskService, id: object) -> bool:
    return (await tasks.get(str(id))).status == TaskRunStatus.FAILED


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
async def test_an_answer_that_finds_no_room_is_not_laid_at_the_database_s_door(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    script = '"$0" -m app.cli trigger cli-add --input \'{"numbers": []}\' > /dev/full'
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", script, sys.executable), env=taskloom.environment, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert (process.returncode, len((await tasks.list()).items)) == (1, 1)
    assert b"The answer cannot be written: No space left on device." in said
    assert b"PostgreSQL" not in said
