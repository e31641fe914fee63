"""``taskloom runs`` and ``taskloom definitions``: what people and programs see of what is there."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from app import PageArgs, TaskRunStatus, TaskService
from app.cli.documents import log_document, run_document
from app.schema.export import export
from app.service.task_fields import TaskFields
from tests.cli.command import Command
from tests.cli.definitions import reached
from tests.workbench import until_status
from workers.worker import TaskloomWorker

FINAL = (TaskRunStatus.SUCCEEDED, TaskRunStatus.FAILED, TaskRunStatus.ABORTED)


async def test_runs_are_listed_newest_first_filtered_and_page_by_page(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    ids = [
        str((await tasks.trigger("cli-fail", name=f"[b]run {n}", tags=["t", str(n)], delay=3600)).id) for n in range(3)
    ]
    await tasks.trigger("cli-add", input={"numbers": []}, delay=3600)
    table, page, tagged, none = await asyncio.gather(
        taskloom("runs", "list"),
        taskloom.json("runs", "list", "--definition", "cli-fail", "--limit", "2"),
        taskloom.json("runs", "list", "--tag", "t", "--tag", "1", "--status", "scheduled", "--status", "QUEUED"),
        taskloom("runs", "list", "--status", "RUNNING"),
    )
    rows = table.out.splitlines()
    assert rows[0].split() == ["ID", "STATUS", "NAME", "CREATED", "DONE", "TOOK"]
    assert [row.split()[0] for row in rows[3:]] == ids[::-1]
    assert "[b]run 2" in rows[3]
    assert [node["id"] for node in page["nodes"]] == [ids[2], ids[1]]
    assert page["pageInfo"]["hasNextPage"]
    assert [node["id"] for node in tagged["nodes"]] == [ids[1]]
    assert (none.out, none.sentence[:13]) == ("", "No runs fit. ")
    rest = await taskloom.json("runs", "list", "-d", "cli-fail", "--after", page["pageInfo"]["endCursor"])
    assert [node["id"] for node in rest["nodes"]] == [ids[0]]


async def test_runs_are_listed_by_what_they_were_made_from_and_by_words(taskloom: Command, tasks: TaskService) -> None:
    await tasks.trigger("cli-fail", name="Invoice 7", delay=3600)
    saved = await tasks.saved.create(TaskFields(name="Nightly invoices", definition_id="cli-fail", group="g"))
    run = (await tasks.saved.execute(saved.id)).run
    nobody = str(uuid4())
    everything = ("--group", "g", "--owner", saved.owner, "--search", "invoice", "--task", nobody)
    one, words, slow = await asyncio.gather(
        taskloom.json("runs", "list", *everything, "--task", str(saved.id)),
        taskloom.json("runs", "list", "--search", "INVOICE 7"),
        taskloom.json("runs", "list", "--slower", "0s", "--schedule", nobody, "--batch", nobody),
    )
    refused, nobody_at_all, short, range_ = await asyncio.gather(
        taskloom("runs", "list", "--batch", "seven"),
        taskloom("runs", "list", "--owner", "ada"),
        taskloom("runs", "list", "--search", "ab"),
        taskloom("runs", "list", "--slower", "2m", "--quicker", "1m"),
    )
    assert [node["id"] for node in one["nodes"]] == [str(run.id)]
    assert [node["name"] for node in words["nodes"]] == ["Invoice 7"]
    assert slow["nodes"] == []
    assert (refused.code, nobody_at_all.code, short.code, range_.code) == (2, 2, 2, 2)
    assert nobody_at_all.sentence.startswith("--owner is 'ada', but must be KIND:id")
    assert "--batch is 'seven', which is no id" in refused.sentence
    assert "--search takes 1 to 8 words" in short.sentence
    assert "What --slower and --quicker say begins at 120000 and ends before that, at 60000" in range_.sentence


async def test_a_run_is_shown_with_its_reason_progress_output_and_iterations(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    run = await tasks.trigger("cli-twice", name="Twice", tags=["x"])
    await until_status(tasks, run.id, *FINAL)
    panel, document = await asyncio.gather(
        taskloom("runs", "show", str(run.id)), taskloom.json("runs", "show", str(run.id))
    )
    for word in (str(run.id), "Twice", "SUCCEEDED", '"done"', "2 of at most 500", "CONTINUED", "worker"):
        assert word in panel.out
    assert document["output"] == "done"
    assert [(row["number"], row["outcome"]) for row in document["iterations"]["nodes"]] == [
        (1, "CONTINUED"),
        (2, "SUCCEEDED"),
    ]


async def test_the_timeline_of_a_run_is_told_as_a_table_and_as_json(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    run = await tasks.trigger("cli-twice")
    await until_status(tasks, run.id, *FINAL)
    table, document = await asyncio.gather(
        taskloom("runs", "timeline", str(run.id), COLUMNS="160"), taskloom.json("runs", "timeline", str(run.id))
    )
    events = [(entry["event"], entry["status"], entry["iteration"]) for entry in document["timeline"]]
    assert events == [
        ("TRIGGERED", "QUEUED", None), ("STARTED", "RUNNING", 1), ("ENDED", "WAITING", 1), ("STARTED", "RUNNING", 2),
        ("ENDED", "SUCCEEDED", 2),
    ]  # fmt: skip
    assert document["timeline"][0]["actor"]["kind"] == "USER"
    for word in ("TRIGGERED", "CONTINUED", "iteration 2, attempt 1", "SUCCEEDED"):
        assert word in table.out


async def test_a_failed_run_is_shown_with_its_traceback_also_at_80_columns(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    run = await tasks.trigger("cli-fail")
    await until_status(tasks, run.id, *FINAL)
    panel = await taskloom("runs", "show", str(run.id), COLUMNS="80")
    assert "LookupError: no such thing" in panel.out
    assert 'raise LookupError("no such thing")' in panel.out
    assert max(map(len, panel.out.splitlines())) <= 80


async def test_logs_are_printed_from_a_line_and_a_level_on(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    run = await tasks.trigger("cli-add", input={"numbers": [1]})
    await until_status(tasks, run.id, *FINAL)
    id = str(run.id)
    lines, later, grave = await asyncio.gather(
        taskloom("runs", "logs", id),
        taskloom("runs", "logs", id, "--after", "1", "--json"),
        taskloom("runs", "logs", id, "--level", "warning", "--json"),
    )
    assert [line.split()[1] for line in lines.out.splitlines()] == ["DEBUG", "INFO", "WARNING"]
    assert [row["sequence"] for row in later.json_lines] == [2, 3]
    assert [row["message"] for row in grave.json_lines] == ["Added"]


async def test_logs_are_followed_live_until_the_run_is_final(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    run = await tasks.trigger("cli-wait", input={"name": "followed"})
    await reached["followed"].wait()
    async with taskloom.started("runs", "logs", str(run.id), "--follow") as process:
        assert process.stdout is not None
        assert b"waiting" in await process.stdout.readline()
        await tasks.abort(run.id)
        assert await process.wait() == 0


async def test_a_reader_that_goes_away_ends_the_command_without_a_word(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    run = await tasks.trigger("cli-add", input={"numbers": [1]})
    await until_status(tasks, run.id, *FINAL)
    async with taskloom.started("runs", "logs", str(run.id)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        await process.wait()
        assert b"Traceback" not in await process.stderr.read()


async def test_an_abort_says_how_the_run_stands_and_a_second_one_why_not(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    run = await tasks.trigger("cli-wait", input={"name": "aborted"})
    await reached["aborted"].wait()
    document = await taskloom.json("runs", "abort", str(run.id), "--message", "superseded")
    assert document["status"] in ("ABORTING", "ABORTED")
    assert document["abort"]["message"] == "superseded"
    await until_status(tasks, run.id, TaskRunStatus.ABORTED)
    again = await taskloom("runs", "abort", str(run.id))
    assert again.code == 2
    assert again.sentence == f"Run {run.id} is ABORTED, which is final; only a run that is not final can be aborted."


async def test_a_rerun_is_a_new_run_with_another_input_or_from_the_last_state(
    taskloom: Command, tasks: TaskService, worker: TaskloomWorker
) -> None:
    run = await tasks.trigger("cli-add", input={"numbers": [1]})
    twice = await tasks.trigger("cli-twice")
    await asyncio.gather(*(until_status(tasks, id, *FINAL) for id in (run.id, twice.id)))
    edited, resumed = await asyncio.gather(
        taskloom.json("runs", "rerun", str(run.id), "--input", '{"numbers": [5, 6]}', "--wait"),
        taskloom.json("runs", "rerun", str(twice.id), "--from", "last-state", "--wait"),
    )
    assert (edited["output"], edited["rerunOf"]) == (11, {"id": str(run.id)})
    assert (resumed["output"], resumed["iteration"]) == ("done", 2)


async def test_an_id_that_is_none_and_a_page_too_long_are_refused_in_a_sentence(taskloom: Command) -> None:
    unknown, too_long, broken = await asyncio.gather(
        taskloom("runs", "show", "nope"),
        taskloom("runs", "list", "--limit", "100000"),
        taskloom("runs", "list", "--after", "x"),
    )
    assert [answer.code for answer in (unknown, too_long, broken)] == [2, 2, 2]
    assert unknown.sentence.startswith("There is no task run 'nope'.")
    assert too_long.sentence.startswith("--limit is 100000, but must be 0 to 200.")
    assert broken.sentence.startswith("--after is no cursor.")


@pytest.mark.parametrize(
    "command",
    ["runs list", "tasks list", "tasks revisions nope", "schedules list", "bulk list", "errors list", "audit"],
)
async def test_a_page_of_none_is_refused_by_every_list(taskloom: Command, command: str) -> None:
    refused = await taskloom(*command.split(), "--limit", "0")
    assert (refused.code, refused.out) == (2, "")
    assert "'--limit'" in refused.err
    assert "Traceback" not in refused.err


async def test_definitions_are_listed_with_whether_a_worker_serves_them(
    taskloom: Command, worker: TaskloomWorker
) -> None:
    table, document = await asyncio.gather(taskloom("definitions"), taskloom.json("definitions"))
    assert ["cli-add", "Add", "numbers", "default", "yes"] in [row.split() for row in table.out.splitlines()]
    found = {node["id"]: node for node in document["nodes"]}
    assert found["cli-add"]["isAvailable"]
    assert found["cli-add"]["inputSchema"]["required"] == ["numbers"]


async def test_documents_have_the_keys_of_the_graphql_schema(tasks: TaskService, worker: TaskloomWorker) -> None:
    run = await tasks.trigger("cli-add", input={"numbers": []})
    run = await tasks.wait(run.id)
    (line,) = (await tasks.log_page(run.id, page=PageArgs(first=1))).items
    for kind, document in (("TaskRun", run_document(run)), ("TaskLog", log_document(line))):
        body = export().split(f"\ntype {kind} {{\n")[1].split("\n}\n")[0]
        assert [key for key in document if f"\n  {key}: " not in "\n" + body] == []
