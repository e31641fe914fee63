"""Lines that processes log: those that concern a run name it, and none holds a password."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest

from app import TaskService
from app.models import TaskRun
from app.registry import registry, task
from app.reporting import formatter
from app.settings import Settings
from app.states import FINAL
from tests.workbench import until_status, working
from workers import TaskContext

PLAIN = logging.getLogger("somebody.elses.library")
SECRETS = ("postgresql://ada:sesame@db/x", "redis://:sesame@cache:6379/0", "postgresql:///x?host=/run&password=sesame")


@pytest.fixture
def written(request: pytest.FixtureRequest) -> Iterator[StringIO]:
    """What is logged meanwhile, in the format that the test asks for."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(request.param))
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def definitions() -> Iterator[None]:
    """Two definitions whose code logs: on the event loop, and in a thread."""

    @task(id="logs-async")
    async def logs_async(ctx: TaskContext) -> None:
        PLAIN.warning("a line of %s", "async code", extra={"colour": "blue"})

    @task(id="logs-plain")
    def logs_plain(ctx: TaskContext) -> None:
        PLAIN.warning("a line of %s", "plain code")

    yield
    for id in ("logs-async", "logs-plain"):
        registry.remove(id)


async def executed(settings: Settings, *definition_ids: str) -> list[TaskRun]:
    """Runs of the definitions, final; executed side by side."""
    async with TaskService.connect(settings=settings) as tasks, working(settings):
        runs = [await tasks.trigger(id) for id in definition_ids]
        return [await until_status(tasks, run.id, *FINAL) for run in runs]


@pytest.mark.usefixtures("definitions")
@pytest.mark.parametrize("written", ["json"], indirect=True)
async def test_every_json_line_of_a_run_s_code_names_the_run(settings: Settings, written: StringIO) -> None:
    runs = await executed(settings, "logs-async", "logs-plain")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    told: list[dict[str, Any]] = [line for line in lines if line["logger"] == PLAIN.name]
    assert {(line["run_id"], line["definition_id"], line["iteration"], line["attempt"]) for line in told} == {
        (str(run.id), run.definition_id, 1, 1) for run in runs
    }
    assert {line.get("colour") for line in told} == {"blue", None}
    assert all("run_id" not in line for line in lines if "is ready" in line["message"])


@pytest.mark.usefixtures("definitions")
@pytest.mark.parametrize("written", ["console"], indirect=True)
async def test_every_line_for_people_names_the_run(settings: Settings, written: StringIO) -> None:
    (run,) = await executed(settings, "logs-async")
    (line,) = [line for line in written.getvalue().splitlines() if "a line of async code" in line]
    assert line.endswith(f"colour=blue  run_id={run.id}  definition_id=logs-async  iteration=1  attempt=1")


@pytest.mark.parametrize("written", ["json", "console"], indirect=True)
def test_no_password_gets_out_in_a_message_or_within_a_value(written: StringIO) -> None:
    for secret in SECRETS:
        logging.getLogger("taskloom.test").warning("at %s", secret, extra={"given": {"urls": [secret]}})
    text = written.getvalue()
    assert "sesame" not in text
    assert text.count("***") == 2 * len(SECRETS)
    assert "ada:***@db" in text
