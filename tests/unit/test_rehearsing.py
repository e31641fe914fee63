"""A definition is executed without servers, as the tests of its author do it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, Field

from app.errors import InvalidTaskInput
from app.registry import registry
from workers import Continue, FailurePolicy, Retry, RetryLater, TaskContext, task
from workers.testing import rehearse


class Pages(BaseModel):
    pages: int = Field(ge=1)
    failing: list[str] = []


CALLS: list[str] = []


async def told(ctx: TaskContext, error: BaseException) -> None:
    ctx.log.error("Told of it", kind=type(error).__name__)


@pytest.fixture(autouse=True)
def _declared() -> Iterator[None]:
    CALLS.clear()
    before = {definition.id for definition in registry}

    @task(id="import-pages", max_iterations=5, retry=Retry(max_attempts=3, on=(OSError,), jitter=False), on_error=told)
    async def import_pages(ctx: TaskContext, input: Pages) -> dict[str, int] | Continue:
        page = ctx.state or 0
        CALLS.append(f"{page}.{ctx.attempt}")
        if CALLS[-1] in input.failing:
            raise RetryLater(7) if page == 2 else ConnectionError("away")
        # A name of data may be any, also one of a parameter.
        ctx.log.info("Imported", message=f"page {page}")
        await ctx.checkpoint(state=page + 1, progress=(page + 1, input.pages))
        return {"pages": page + 1} if page + 1 == input.pages else ctx.continue_(delay=timedelta(seconds=1))

    @task(id="plain-pages")
    def plain_pages(ctx: TaskContext, input: Pages) -> str:
        logging.getLogger("shop").info("At work")
        for page in range(ctx.state or 0, input.pages):
            ctx.checkpoint(state=page + 1)  # pyright: ignore[reportUnusedCoroutine]
        done: Any = ctx.run_process("echo", "done")
        return done.stdout.decode().strip()

    @task(id="parent-of-pages", retry=Retry(max_attempts=2, first_delay=0.1))
    async def parent(ctx: TaskContext, input: FailurePolicy) -> list[str] | Continue:
        if ctx.state is None:
            children = [
                await ctx.trigger("import-pages", input=Pages(pages=n, failing=["1.1"]), idempotency_key=f"{n}")
                for n in (1, 5, 6)
            ]
            if ctx.attempt == 1:
                raise ConnectionError("after its children were triggered")
            return ctx.wait_for(children, state="waited", failure_policy=input)
        return [str(child.status) for child in await ctx.children()]

    yield
    for definition in registry:
        if definition.id not in before:
            registry.remove(definition.id)


async def test_a_rehearsal_goes_through_attempts_and_iterations_without_waiting() -> None:
    run = await rehearse("import-pages", {"pages": 3, "failing": ["1.1", "1.2", "2.1"]})
    assert (run.status, run.output, run.state, run.error) == ("SUCCEEDED", {"pages": 3}, 3, None)
    assert CALLS == ["0.1", "1.1", "1.2", "1.3", "2.1", "2.2"]
    assert run.delays == [1.0, 1.0, 2.0, 1.0, 7.0]
    assert (run.iteration, run.attempt, [line.data for line in run.log]) == (
        3,
        2,
        [{"message": f"page {n}"} for n in range(3)],
    )
    assert (run.progress or {})["percent"] == 100


async def test_a_rehearsal_fails_as_a_run_does_with_its_hooks() -> None:
    run = await rehearse("import-pages", Pages(pages=1, failing=["0.1", "0.2", "0.3"]))
    assert (run.status, run.error and run.error.message, run.attempt) == ("FAILED", "away", 3)
    assert [(line.level, line.data) for line in run.log] == [("ERROR", {"kind": "ConnectionError"})]
    over = await rehearse("import-pages", {"pages": 9})
    assert (over.status, over.reason, over.iteration) == ("FAILED", "MAX_ITERATIONS", 5)
    with pytest.raises(InvalidTaskInput, match="pages"):
        await rehearse("import-pages", {"pages": 0})
    with pytest.raises(LookupError, match="import its module"):
        await rehearse("nobodys")


async def test_an_abort_is_rehearsed_and_another_run_goes_on_from_what_was_saved() -> None:
    aborted = await rehearse("plain-pages", {"pages": 5}, abort_after=2)
    assert (aborted.status, aborted.state, [line.message for line in aborted.log]) == ("ABORTED", 2, ["At work"])
    again = await rehearse("plain-pages", {"pages": 5}, state=aborted.state)
    assert (again.status, again.output, again.state) == ("SUCCEEDED", "done", 5)


async def test_children_are_rehearsed_with_their_parent() -> None:
    ends = {policy: await rehearse("parent-of-pages", policy) for policy in FailurePolicy}
    assert ends[FailurePolicy.CONTINUE].output == ["SUCCEEDED", "SUCCEEDED", "FAILED"]
    assert ends[FailurePolicy.IGNORE].output == ["SUCCEEDED", "SUCCEEDED"]
    failed = ends[FailurePolicy.FAIL_PARENT]
    assert (failed.status, failed.reason, failed.iteration) == ("FAILED", "CHILD_FAILED", 2)
    # A second attempt triggers them with the same keys.
    assert [child.output for child in failed.children] == [{"pages": 1}, {"pages": 5}, None]


def test_a_rehearsal_leaves_logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    # A worker of another test may have left its own handler.
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", logging.ERROR)
    asyncio.run(rehearse("import-pages", {"pages": 1}))
    assert (root.level, root.handlers) == (logging.ERROR, [])
