"""What becomes of a run that waits for others when one of them does not succeed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import BaseModel

from app import TaskService, states
from app.db import plain_url
from app.models import TaskRun
from app.settings import Settings
from app.states import FailurePolicy, Reason, Status
from tests.workbench import lines, until, until_status
from workers import Continue, Retry, TaskContext, task

SOON = timedelta(seconds=20)
NOBODY = "served-by-nobody"


class Plan(BaseModel):
    policy: str = "CONTINUE"
    children: list[str] = []
    others: list[UUID] = []
    itself: bool = False


class Part(BaseModel):
    name: str


@task(id="policy-child", max_iterations=2)
async def child(ctx: TaskContext, input: Part) -> str | Continue:
    """Ends as its name says, or not by itself."""
    if input.name == "fails":
        raise ValueError("no luck")
    if input.name == "stays":
        while True:
            await ctx.checkpoint()
            await asyncio.sleep(0.005)
    return input.name


@task(id="policy-parent", max_iterations=3, retry=Retry(max_attempts=2, first_delay=0.001))
async def parent(ctx: TaskContext, input: Plan) -> list[str] | Continue:
    """Waits for its children and for others under a policy, and tells how they ended, at the second attempt."""
    if ctx.iteration == 1:
        children = [await ctx.trigger("policy-child", **options(name)) for name in input.children]
        ids = [*(child.id for child in children), *input.others, *([ctx.run_id] if input.itself else [])]
        policy: Any = input.policy
        return ctx.wait_for(ids, failure_policy=policy)
    if ctx.attempt == 1:
        raise ConnectionError("once more")
    ends = [f"{child.name} {child.status}" for child in await ctx.children()]
    ctx.log.info(", ".join(ends))
    return ctx.continue_() if ctx.iteration == 2 else ends


@task(id="policy-parent-plain", max_iterations=2)
def parent_plain(ctx: TaskContext, input: Plan) -> list[str] | Continue:
    """The same in a thread, told at the first attempt."""
    if ctx.iteration == 1:
        children: Any = [ctx.trigger("policy-child", **options(name)) for name in input.children]
        return ctx.wait_for(children, failure_policy=FailurePolicy(input.policy))
    ends: Any = ctx.children()
    return [f"{child.name} {child.status}" for child in ends]


@task(id="policy-grandparent", max_iterations=2)
async def grandparent(ctx: TaskContext, input: Plan) -> str | Continue:
    """Waits, under its policy, for a parent that waits under ``FAIL_PARENT``."""
    if ctx.iteration == 1:
        below = {"policy": "FAIL_PARENT", "children": input.children}
        return ctx.wait_for(
            [await ctx.trigger("policy-parent", input=below)], failure_policy=FailurePolicy(input.policy)
        )
    return "went on"


def options(name: str) -> dict[str, Any]:
    return {"input": {"name": name}, "name": name, "queue": NOBODY if name == "unserved" else None}


async def ended(tasks: TaskService, definition_id: str, **plan: Any) -> TaskRun:
    run = await tasks.trigger(definition_id, input=plan)
    return await tasks.wait(run.id, timeout=SOON)


async def ends(tasks: TaskService, run_id: UUID) -> list[str]:
    """How the children of a run ended, once all have."""

    async def look() -> list[TaskRun] | None:
        children = await tasks.children(run_id)
        return children if all(child.status in states.FINAL for child in children) else None

    return [f"{child.name} {child.status}" for child in await until(look) or []]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("definition_id", ["policy-parent", "policy-parent-plain"])
async def test_under_fail_parent_a_run_fails_with_the_first_child_and_takes_the_others_along(
    tasks: TaskService, definition_id: str
) -> None:
    run = await ended(tasks, definition_id, policy="FAIL_PARENT", children=["stays", "fails", "unserved"])
    assert (run.status, run.status_reason) == (Status.FAILED, Reason.CHILD_FAILED)
    assert await ends(tasks, run.id) == ["stays ABORTED", "fails FAILED", "unserved ABORTED"]
    stays, fails, unserved = await tasks.children(run.id)
    assert run.error == {
        "type": "ChildFailed",
        "message": f"Run {fails.id} ('fails' of 'policy-child') was waited for with FAIL_PARENT and ended FAILED "
        "(ERROR): ValueError: no luck",
        "traceback": None,
    }
    assert {aborted.abort_requested_by for aborted in (stays, unserved)} == {f"RUN:{run.id}"}
    assert unserved.abort_message == f"Its parent failed with run {fails.id}."
    assert (run.wait_for, run.lease_owner, run.iteration) == (None, None, 2)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("definition_id", ["policy-parent", "policy-parent-plain"])
async def test_under_fail_parent_a_run_goes_on_when_all_succeed(tasks: TaskService, definition_id: str) -> None:
    run = await ended(tasks, definition_id, policy="FAIL_PARENT", children=["one", "two"])
    assert run.output == ["one SUCCEEDED", "two SUCCEEDED"]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("definition_id", ["policy-parent", "policy-parent-plain"])
async def test_under_continue_a_run_goes_on_when_all_are_final_and_sees_each_end(
    tasks: TaskService, definition_id: str
) -> None:
    run = await ended(tasks, definition_id, policy="CONTINUE", children=["one", "fails", "two"])
    assert run.output == ["one SUCCEEDED", "fails FAILED", "two SUCCEEDED"]


@pytest.mark.usefixtures("worker")
async def test_under_ignore_the_next_iteration_does_not_see_those_that_failed_whatever_its_attempt(
    tasks: TaskService,
) -> None:
    run = await ended(tasks, "policy-parent", policy="IGNORE", children=["one", "fails", "two"])
    assert await lines(tasks, run.id) == [
        "one SUCCEEDED, two SUCCEEDED",
        "one SUCCEEDED, fails FAILED, two SUCCEEDED",
    ]
    plain = await ended(tasks, "policy-parent-plain", policy="IGNORE", children=["one", "fails", "two"])
    assert plain.output == ["one SUCCEEDED", "two SUCCEEDED"]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("status", [Status.FAILED, Status.ABORTED, Status.LOST, Status.EXPIRED])
async def test_every_end_but_success_is_a_failure(tasks: TaskService, settings: Settings, status: Status) -> None:
    run = await tasks.trigger("policy-parent", input={"policy": "FAIL_PARENT", "children": ["unserved", "stays"]})
    await until_status(tasks, run.id, Status.WAITING)
    unserved, _ = await tasks.children(run.id)
    query = "UPDATE task_runs SET status = $2, finished_at = now(), status_changed_at = now() WHERE id = $1"
    connection: Any = await asyncpg.connect(plain_url(settings.database_url))
    await connection.execute(query, unserved.id, status.value)
    await connection.close()
    run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, run.status_reason) == (Status.FAILED, Reason.CHILD_FAILED)
    assert (run.error or {})["message"].endswith(f"ended {status}")
    assert await ends(tasks, run.id) == [f"unserved {status}", "stays ABORTED"]


@pytest.mark.usefixtures("worker")
async def test_a_run_that_others_wait_for_fails_them_and_is_left_alone_when_it_is_no_child_of_theirs(
    tasks: TaskService,
) -> None:
    other = await tasks.trigger("policy-child", **options("unserved"))
    run = await ended(tasks, "policy-parent", policy="FAIL_PARENT", children=["fails"], others=[str(other.id)])
    assert run.status_reason is Reason.CHILD_FAILED
    assert (await tasks.get(other.id)).status is Status.QUEUED
    run = await tasks.trigger("policy-parent", input={"policy": "FAIL_PARENT", "others": [str(other.id)]})
    await until_status(tasks, run.id, Status.WAITING)
    await tasks.abort(other.id)
    assert (await tasks.wait(run.id, timeout=SOON)).status_reason is Reason.CHILD_FAILED


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(("policy", "status"), [("FAIL_PARENT", Status.FAILED), ("CONTINUE", Status.SUCCEEDED)])
async def test_a_parent_that_fails_with_its_child_is_a_failed_child_itself(
    tasks: TaskService, policy: str, status: Status
) -> None:
    run = await ended(tasks, "policy-grandparent", policy=policy, children=["fails", "stays"])
    assert run.status is status
    [below] = await tasks.children(run.id)
    assert (below.status, below.status_reason) == (Status.FAILED, Reason.CHILD_FAILED)
    assert await ends(tasks, below.id) == ["fails FAILED", "stays ABORTED"]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"policy": "MAYBE", "children": ["one"]}, "'MAYBE', but must be one of CONTINUE, IGNORE, FAIL_PARENT"),
        ({"itself": True}, "a run cannot wait for itself"),
    ],
)
async def test_a_wait_that_cannot_work_is_refused_with_what_is_allowed(
    tasks: TaskService, plan: dict[str, Any], words: str
) -> None:
    run = await ended(tasks, "policy-parent", **plan)
    assert run.status is Status.FAILED
    assert words in (run.error or {})["message"]
