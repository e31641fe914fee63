"""Runs are found by what they were made from, by how long they took, and by words; nonsense is refused by name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event

from app import InvalidArgument, PageArgs, RunFilter, RunSelection, TagFilter, TaskService, TriggerRequest
from app.conditions import FloatRange
from app.models import BulkActionKind
from app.service.executing import Overrides
from app.service.requests import Provenance
from app.service.task_fields import TaskChanges, TaskFields
from app.settings import Settings
from tests.service.conftest import SUCCEED, Hand
from tests.service.scheduled import execute

ONE, TWO = UUID(int=1), UUID(int=2)


async def found(tasks: TaskService, **filter: Any) -> set[str]:
    """The names of the runs that a filter finds; the count has to agree."""
    chosen = RunFilter(**filter)
    names = {run.name for run in (await tasks.list(chosen)).items}
    assert await tasks.count(chosen) == len(names)
    return names


# What they were made from.


async def test_runs_are_found_by_what_they_were_made_from(tasks: TaskService) -> None:
    made = {
        "task": Provenance(task_id=ONE),
        "group": Provenance(task_id=TWO, group="nightly"),
        "owner": Provenance(task_id=TWO, owner="USER:ada"),
        "schedule": Provenance(schedule_id=ONE),
        "batch": Provenance(batch_id=ONE),
        "nothing": Provenance(),
    }
    for name, provenance in made.items():
        await tasks.submit(TriggerRequest(definition_id="echo", name=name, provenance=provenance))
    assert await found(tasks, task_ids=[ONE, uuid4()]) == {"task"}
    assert await found(tasks, task_ids=[ONE, TWO]) == {"task", "group", "owner"}
    assert await found(tasks, groups=["nightly", "other"]) == {"group"}
    assert await found(tasks, owners=["USER:ada"]) == {"owner"}
    assert await found(tasks, schedule_ids=[ONE]) == {"schedule"}
    assert await found(tasks, batch_ids=[ONE]) == {"batch"}
    assert await found(tasks, task_ids=[]) == set()
    assert await found(tasks, task_ids=[TWO], owners=["USER:ada"]) == {"owner"}
    assert await found(tasks, not_=RunFilter(task_ids=[ONE, TWO])) == {"schedule", "batch", "nothing"}
    assert await found(tasks, or_=[RunFilter(groups=["nightly"]), RunFilter(batch_ids=[ONE])]) == {"group", "batch"}


# How long they took.


async def test_runs_are_found_by_how_long_they_took(tasks: TaskService, hand: Hand, settings: Settings) -> None:
    for milliseconds in (0, 1500, 12_000, 3_600_000):
        await tasks.trigger("echo", name=str(milliseconds), tags=[str(milliseconds)])
        [held] = await hand.claim()
        await held.write(move=SUCCEED)
        took = timedelta(milliseconds=milliseconds)
        await execute(settings, "UPDATE task_runs SET finished_at = started_at + $2 WHERE id = $1", held.id, took)
    await tasks.trigger("echo", name="running")
    await hand.claim()
    expired = await tasks.trigger("echo", name="never started", ttl=1)
    await tasks.abort(expired.id)

    assert await found(tasks, duration_ms=FloatRange(gte=1500)) == {"1500", "12000", "3600000"}
    assert await found(tasks, duration_ms=FloatRange(gte=10_000)) == {"12000", "3600000"}
    assert await found(tasks, duration_ms=FloatRange(gte=12_000, lt=3_600_000)) == {"12000"}
    assert await found(tasks, duration_ms=FloatRange(lt=1500)) == {"0"}
    assert await found(tasks, duration_ms=FloatRange()) == {"0", "1500", "12000", "3600000"}
    assert await found(tasks, duration_ms=FloatRange(gte=5, lt=5)) == set()
    assert await found(tasks, duration_ms=FloatRange(gte=1.5), tags=TagFilter(none=["12000"])) == {"1500", "3600000"}


@pytest.mark.parametrize(
    "range",
    [
        FloatRange(gte=-1), FloatRange(lt=-0.001), FloatRange(gte=float("nan")), FloatRange(lt=float("inf")),
        FloatRange(gte=1e300), FloatRange(gte=2, lt=1),
    ],
    ids=str,
)  # fmt: skip
async def test_a_duration_that_no_run_can_have_is_refused(tasks: TaskService, range: FloatRange) -> None:
    with pytest.raises(InvalidArgument, match="'durationMs'") as refusal:
        await tasks.list(RunFilter(duration_ms=range))
    assert refusal.value.path == ("filter", "durationMs")


# Words.


@pytest.fixture
async def searched(tasks: TaskService, hand: Hand, settings: Settings) -> dict[str, UUID]:
    """Final and live runs with names from everywhere."""
    await tasks.saved.create(TaskFields(name="Nightly export", definition_id="echo", tags=["export"]))
    saved = (await tasks.saved.list()).items[0]
    ids: dict[str, UUID] = {}
    for name in ("50% of Ünïcode", "磁盘已满", 'it\'s "quoted" \\ back_slash'):
        ids[name] = (await tasks.trigger("echo", name=name)).id
        [held] = await hand.claim()
        await held.write(move=SUCCEED)
    ids["live invoice 4711"] = (await tasks.trigger("echo", name="live invoice 4711", tags=["Export"])).id
    ids["saved"] = (await tasks.saved.execute(saved.id)).run.id
    ids["saved and named"] = (await tasks.saved.execute(saved.id, Overrides(name="invoices again"))).run.id
    ids["untitled"] = (await tasks.trigger("no-input")).id
    return ids


async def search(tasks: TaskService, ids: dict[str, UUID], text: str) -> set[str]:
    """Which runs a search finds: in a list, in a count, and where nobody looks up words beforehand."""
    filter = RunFilter(search=text)
    names = {id: name for name, id in ids.items()}
    seen = {names[run.id] for run in (await tasks.list(filter)).items}
    assert await tasks.count(filter) == len(seen)
    preview = await tasks.bulk.preview(BulkActionKind.RERUN_RUNS, RunSelection(filter=filter))
    assert preview.total == len(seen), "a bulk action must mean the runs that the list shows"
    return seen


async def test_words_are_found_in_names_of_runs_tasks_and_definitions_and_among_tags(
    tasks: TaskService, searched: dict[str, UUID]
) -> None:
    expected = {
        "unicode": set(),
        "ÜNÏCODE": {"50% of Ünïcode"},
        "50% UNÏ": set(),
        "ünï 50%": {"50% of Ünïcode"},
        "盘已满": {"磁盘已满"},
        "quoted' it": set(),
        "quoted it's": {'it\'s "quoted" \\ back_slash'},
        "back_slash": {'it\'s "quoted" \\ back_slash'},
        "back%slash": set(),
        "INVOICE": {"live invoice 4711", "saved and named"},
        "invoice 4711": {"live invoice 4711"},
        "nightly": {"saved", "saved and named"},
        "export": {"saved", "saved and named"},
        "Export": {"live invoice 4711", "saved", "saved and named"},
        "no-input": {"untitled"},
        "echo invoice": {"live invoice 4711", "saved and named"},
        "nothing-like-it": set(),
    }
    for text, names in expected.items():
        assert await search(tasks, searched, text) == names, text


async def test_a_search_goes_with_other_filters_and_with_pages(tasks: TaskService, searched: dict[str, UUID]) -> None:
    nightly = RunFilter(search="nightly")
    assert (await tasks.list(RunFilter(search="invoice", not_=nightly))).items[0].name == "live invoice 4711"
    either = RunFilter(or_=[nightly, RunFilter(search="4711")])
    first = await tasks.list(either, page=PageArgs(first=2))
    rest = await tasks.list(either, page=PageArgs(first=2, after=first.cursors[-1]))
    assert [run.id for run in (*first.items, *rest.items)] == [
        searched["saved and named"], searched["saved"], searched["live invoice 4711"],
    ]  # fmt: skip
    assert (first.has_next, rest.has_next) == (True, False)


async def test_runs_of_renamed_tasks_are_found_by_the_new_name(tasks: TaskService, searched: dict[str, UUID]) -> None:
    saved = (await tasks.saved.list()).items[0]
    await tasks.saved.update(saved.id, saved.version, TaskChanges(name="Monthly report"))
    assert await search(tasks, searched, "monthly") == {"saved", "saved and named"}
    assert await search(tasks, searched, "nightly") == set()


async def test_a_rerun_is_found_by_the_name_that_its_origin_had(tasks: TaskService, searched: dict[str, UUID]) -> None:
    again = await tasks.rerun(searched["saved and named"])
    assert again.id in {run.id for run in (await tasks.list(RunFilter(search="invoices"))).items}


@pytest.mark.parametrize(
    "text",
    ["", "  \n", "ab", "a b c d", "!!! ???", "___", "''\"\"", "x" * 201, "word " * 9, "%%%%", "\0word", "word\ud800"],
    ids=range(12),
)
async def test_a_search_that_nothing_could_look_up_is_refused_and_says_what_is_allowed(
    tasks: TaskService, text: str
) -> None:
    for filter in (RunFilter(search=text), RunFilter(not_=RunFilter(or_=[RunFilter(search=text)]))):
        for refused in (tasks.list(filter), tasks.count(filter), tasks.bulk.abort_runs(RunSelection(filter=filter))):
            with pytest.raises(InvalidArgument, match=r"'search' takes|no stored text"):
                await refused


async def test_ten_thousand_characters_are_refused(tasks: TaskService) -> None:
    with pytest.raises(InvalidArgument, match="200 characters"):
        await tasks.list(RunFilter(search="long " * 2000))


async def test_what_a_search_sets_for_its_statements_is_set_in_one_transaction_with_them(tasks: TaskService) -> None:
    """Alone it would be forgotten before the next statement, which the planner would plan as it likes."""
    levels: list[str] = []

    def note(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "set_config" in statement:
            levels.append(connection.connection.dbapi_connection.isolation_level)

    engine = tasks._watching._db._engine.sync_engine  # type: ignore[attr-defined]
    event.listen(engine, "before_cursor_execute", note)
    filter = RunFilter(not_=RunFilter(error_text="disk"))
    await tasks.list(filter)
    await tasks.count(filter)
    await tasks.list_each("definition_id", ["echo"], filter)
    assert levels == ["read_committed"] * 6
