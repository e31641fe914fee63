"""``taskRun`` and ``taskRuns``: what they show, how lists are filtered, ordered and paged, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from app.settings import Settings
from tests.schema.conftest import GraphQLClient, serving
from tests.schema.hand_worker import HandWorker
from tests.schema.test_trigger_task import UNKNOWN_RUN

EVERYTHING = """
    query ($id: ID!) { taskRun(id: $id) {
      id definitionId definition { id title } name status statusReason statusChangedAt input output
      error { type message traceback } progress { current total percent message updatedAt }
      queue priority tags iteration maxIterations attempt maxAttempts interruptions timeoutSeconds
      createdAt startAt expiresAt startedAt finishedAt durationMs createdBy { id kind name } idempotencyKey uniqueKey
      worker abort { requestedAt requestedBy { id } message isForced } parent { id } rerunOf { id }
      children { totalCount } iterations { nodes { number attempt worker startedAt finishedAt outcome error { type } } }
      logs { nodes { sequence } totalCount } logCounts { debug info warning error }
    } }"""
LIST = """
    query ($filter: TaskRunFilter, $orderBy: TaskRunOrder, $first: Int, $after: String, $last: Int, $before: String) {
      taskRuns(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
        nodes { name } edges { cursor node { name } } totalCount totalCountExceeds
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
      }
    }"""


async def names(gql: GraphQLClient, **arguments: Any) -> list[str]:
    """The names of the runs on a page, in order."""
    return [run["name"] for run in (await gql(LIST, **arguments))["taskRuns"]["nodes"]]


async def test_a_new_run_shows_what_it_knows_and_null_for_the_rest(gql: GraphQLClient) -> None:
    run = (await gql(EVERYTHING, id=await gql.run()))["taskRun"]
    unknown = (
        "output error progress startedAt finishedAt durationMs worker abort parent rerunOf statusReason expiresAt "
        "idempotencyKey uniqueKey"
    )
    assert {run[name] is None for name in unknown.split()} == {True}
    assert run["definition"] == {"id": "greet", "title": "Greet somebody"}
    assert (run["iteration"], run["maxIterations"], run["attempt"], run["interruptions"]) == (1, 500, 1, 0)
    assert run["iterations"]["nodes"] == []
    assert run["logs"] == {"nodes": [], "totalCount": 0}
    assert run["createdAt"].endswith("Z")
    assert len(run["createdAt"]) == len("2026-03-01T09:30:00.000000Z")


async def test_a_running_run_shows_its_worker_progress_and_the_iteration_under_way(
    gql: GraphQLClient, worker: HandWorker
) -> None:
    id = await gql.run()
    held = await worker.claim(id)
    await held.progress(current=25, total=200, message="hashing")
    run = (await gql(EVERYTHING, id=id))["taskRun"]
    assert (run["status"], run["worker"], run["finishedAt"]) == ("RUNNING", "testhost:4711", None)
    assert run["durationMs"] >= 0
    progress = run["progress"]
    assert (progress["current"], progress["total"], progress["percent"]) == (25.0, 200.0, 12.5)
    assert progress["message"] == "hashing"
    [iteration] = run["iterations"]["nodes"]
    assert (iteration["number"], iteration["attempt"], iteration["outcome"]) == (1, 1, None)
    assert (iteration["finishedAt"], iteration["worker"]) == (None, "testhost:4711")


async def test_a_finished_run_shows_its_output_logs_and_how_long_it_took(
    gql: GraphQLClient, worker: HandWorker
) -> None:
    id = await gql.run()
    held = await worker.claim(id)
    await held.log(("INFO", "one"), ("WARNING", "two"), ("INFO", "three"))
    await held.succeed({"said": ["Hello Ada"]})
    run = (await gql(EVERYTHING, id=id))["taskRun"]
    assert (run["status"], run["output"]) == ("SUCCEEDED", {"said": ["Hello Ada"]})
    assert run["logCounts"] == {"debug": 0, "info": 2, "warning": 1, "error": 0}
    assert run["logs"]["totalCount"] == 3
    assert run["durationMs"] >= 0
    assert [iteration["outcome"] for iteration in run["iterations"]["nodes"]] == ["SUCCEEDED"]


async def test_a_failed_run_shows_its_error(gql: GraphQLClient, worker: HandWorker) -> None:
    id = await gql.run()
    await (await worker.claim(id)).fail("OSError", "disk full", "Traceback …")
    run = (await gql(EVERYTHING, id=id))["taskRun"]
    assert (run["status"], run["statusReason"]) == ("FAILED", "ERROR")
    assert run["error"] == {"type": "OSError", "message": "disk full", "traceback": "Traceback …"}
    assert run["iterations"]["nodes"][0]["error"] == {"type": "OSError"}


async def test_a_run_that_does_not_exist_is_null(gql: GraphQLClient) -> None:
    assert await gql("query ($id: ID!) { taskRun(id: $id) { id } }", id=UNKNOWN_RUN) == {"taskRun": None}


@pytest.mark.parametrize("id", ["not-a-uuid", "", "0" * 35, "x" * 36])
async def test_an_id_that_is_no_uuid_is_refused_with_an_example(gql: GraphQLClient, id: str) -> None:
    error = await gql.error("query ($id: ID!) { taskRun(id: $id) { id } }", id=id)
    assert error["code"] == "BAD_USER_INPUT"
    assert "is not the id of a run: a UUID" in error["message"]


@pytest.mark.parametrize(
    ("field", "filter"),
    [
        ("taskRuns", "taskIds"),
        ("taskRuns", "scheduleIds"),
        ("taskRuns", "batchIds"),
        ("errorGroups", "taskIds"),
        ("schedules", "taskIds"),
        ("tasks", "ids"),
    ],
)
async def test_an_id_of_something_else_is_not_taken_for_that_of_a_run(
    gql: GraphQLClient, field: str, filter: str
) -> None:
    [error] = (await gql.answer(f'{{ {field}(filter: {{ {filter}: ["seven"] }}) {{ nodes {{ id }} }} }}'))["errors"]
    assert error["message"].startswith("'seven' is no id: a UUID")
    assert (error["extensions"]["code"], error["extensions"]["inputPath"]) == ("BAD_USER_INPUT", ["filter", filter])


@pytest.mark.parametrize("field", ["contains", "startsWith"])
async def test_a_pattern_that_every_row_would_be_compared_with_for_long_is_refused(
    gql: GraphQLClient, field: str
) -> None:
    query = f"query ($text: String!) {{ taskRuns(filter: {{ name: {{ {field}: $text }} }}) {{ nodes {{ id }} }} }}"
    assert (await gql(query, text="x" * 1000))["taskRuns"]["nodes"] == []
    error = await gql.error(query, text="x" * 1001)
    assert error["code"] == "BAD_USER_INPUT"
    assert error["message"] == f"'{field}' has 1001 characters, but may have 1000 at most."


async def test_runs_are_listed_newest_first(gql: GraphQLClient) -> None:
    for name in "abc":
        await gql.run(name=name)
    assert await names(gql) == ["c", "b", "a"]


async def test_pages_follow_each_other_forward_and_backward_without_gap_or_repeat(gql: GraphQLClient) -> None:
    for name in "abcde":
        await gql.run(name=name)
    first = (await gql(LIST, first=2))["taskRuns"]
    assert [edge["node"]["name"] for edge in first["edges"]] == ["e", "d"]
    assert first["pageInfo"]["hasNextPage"] is True
    assert first["pageInfo"]["endCursor"] == first["edges"][-1]["cursor"]
    assert await names(gql, first=2, after=first["pageInfo"]["endCursor"]) == ["c", "b"]
    last = (await gql(LIST, last=2))["taskRuns"]
    assert [run["name"] for run in last["nodes"]] == ["b", "a"]
    assert last["pageInfo"]["hasPreviousPage"] is True
    assert await names(gql, last=2, before=last["pageInfo"]["startCursor"]) == ["d", "c"]
    assert await names(gql, first=0) == []


async def test_totals_are_counted_up_to_a_limit(settings: Settings) -> None:
    children = "query ($id: ID!) { taskRun(id: $id) { children { totalCount totalCountExceeds } } }"
    async with serving(settings.model_copy(update={"count_limit": 2})) as (_, http):
        gql = GraphQLClient(http)
        parent = await gql.run()
        await gql.run(parentId=parent)
        page = (await gql(LIST, first=1))["taskRuns"]
        assert (page["totalCount"], page["totalCountExceeds"]) == (2, None)
        for _ in range(2):
            await gql.run(parentId=parent)
        page = (await gql(LIST, first=1))["taskRuns"]
        assert (page["totalCount"], page["totalCountExceeds"]) == (None, 2)
        assert (await gql(children, id=parent))["taskRun"]["children"] == {"totalCount": None, "totalCountExceeds": 2}


async def test_every_part_of_a_filter_chooses_its_runs(gql: GraphQLClient, worker: HandWorker) -> None:
    parent = await gql.run(name="parent", tags=["x", "y"], input={"whom": "Ada", "times": 2})
    await gql.run(name="Child", parentId=parent, tags=["y"])
    await gql.trigger("plain", {}, name="plain")
    failed = await gql.run(name="failed")
    await (await worker.claim(failed)).fail("OSError", "disk full")
    since = (await gql("query ($id: ID!) { taskRun(id: $id) { createdAt } }", id=failed))["taskRun"]["createdAt"]
    expected: list[tuple[dict[str, Any], list[str]]] = [
        ({"ids": [parent, failed]}, ["failed", "parent"]),
        ({"ids": []}, []),
        ({"definitionIds": ["plain"]}, ["plain"]),
        ({"statuses": ["FAILED", "RUNNING"]}, ["failed"]),
        ({"queues": ["slow"]}, ["plain"]),
        ({"parentId": parent}, ["Child"]),
        ({"tags": {"any": ["x", "y"]}}, ["Child", "parent"]),
        ({"tags": {"all": ["x", "y"]}}, ["parent"]),
        ({"tags": {"none": ["x"]}, "queues": ["default"]}, ["failed", "Child"]),
        ({"name": {"eq": "plain"}}, ["plain"]),
        ({"name": {"contains": "LAI"}}, ["plain"]),
        ({"name": {"startsWith": "Chi"}}, ["Child"]),
        ({"name": {"contains": "%"}}, []),
        ({"createdAt": {"gte": since}}, ["failed"]),
        ({"createdAt": {"lt": since}}, ["plain", "Child", "parent"]),
        ({"finishedAt": {"gte": since}}, ["failed"]),
        ({"startedAt": {"lt": since}}, []),
        ({"inputContains": {"times": 2}}, ["parent"]),
        ({"outputContains": {"any": 1}}, []),
        ({"hasErrors": True}, ["failed"]),
        ({"or": [{"queues": ["slow"]}, {"hasErrors": True}]}, ["failed", "plain"]),
        ({"and": [{"queues": ["default"]}, {"tags": {"any": ["y"]}}]}, ["Child", "parent"]),
        ({"not": {"queues": ["default"]}}, ["plain"]),
    ]
    for filter, found in expected:
        assert await names(gql, filter=filter) == found, filter


async def test_runs_can_be_ordered_and_paged_in_that_order(gql: GraphQLClient) -> None:
    for name, priority in (("low", -5), ("high", 5), ("middle", 0)):
        await gql.run(name=name, priority=priority)
    order = {"field": "PRIORITY", "direction": "ASC"}
    assert await names(gql, orderBy=order) == ["low", "middle", "high"]
    assert await names(gql, orderBy={"field": "PRIORITY"}) == ["high", "middle", "low"]
    page = (await gql(LIST, orderBy=order, first=1))["taskRuns"]
    assert await names(gql, orderBy=order, first=1, after=page["pageInfo"]["endCursor"]) == ["middle"]
    assert await names(gql, orderBy={"field": "STARTED_AT"}) == []


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ({"first": 100_000}, "0 to 200"),
        ({"first": -1}, "0 to 200"),
        ({"last": 201}, "0 to 200"),
        ({"first": 1, "last": 1}, "not both"),
        ({"after": "broken"}, "'after' is no cursor"),
        ({"before": "Ünicode\x00"}, "'before' is no cursor"),
        ({"after": "x" * 5000}, "'after' is no cursor"),
        ({"filter": {"ids": ["not-a-uuid"]}}, "a UUID"),
        ({"filter": {"parentId": "not-a-uuid"}}, "a UUID"),
        ({"filter": {"name": {"contains": "a\x00b"}}}, "NUL"),
        ({"filter": {"inputContains": {"a": "b\x00"}}}, "NUL"),
        ({"filter": {"ids": [UNKNOWN_RUN] * 1001}}, "at most 1000"),
        ({"filter": {"not": {"not": {"not": {"not": {"not": {"not": {}}}}}}}}, "5 levels"),
        ({"filter": {"createdAt": {"gte": "2026-01-01T00:00:00"}}}, "with an offset"),
        ({"filter": {"search": ""}}, "1 to 8 words"),
        ({"filter": {"and": [{"search": "??"}]}}, "three letters or digits"),
        ({"filter": {"durationMs": {"gte": 2, "lt": 1}}}, "it would find nothing"),
        ({"filter": {"scheduleIds": ["x"]}}, "UUID"),
    ],
)
async def test_a_page_that_cannot_be_is_refused_with_what_is_allowed(
    gql: GraphQLClient, arguments: dict[str, Any], allowed: str
) -> None:
    error = await gql.error(LIST, **arguments)
    assert error["code"] == "BAD_USER_INPUT"
    assert allowed in error["message"]


@pytest.mark.parametrize(
    ("fails", "is_read_for_both"),
    [("children(first: 999) { totalCount }", "title"), ("logs(first: 999) { totalCount }", "isAvailable")],
)
async def test_a_refusal_in_one_list_does_not_break_what_another_reads_with_it(
    gql: GraphQLClient, fails: str, is_read_for_both: str
) -> None:
    await gql.run()
    definition = f"definition {{ {is_read_for_both} }}"
    query = f"{{ a: taskRuns {{ nodes {{ {definition} {fails} }} }} b: taskRuns {{ nodes {{ {definition} }} }} }}"
    assert (await gql.error(query))["code"] == "BAD_USER_INPUT"


async def test_a_cursor_of_another_order_is_refused(gql: GraphQLClient) -> None:
    await gql.run()
    cursor = (await gql(LIST))["taskRuns"]["pageInfo"]["endCursor"]
    error = await gql.error(LIST, after=cursor, orderBy={"field": "PRIORITY"})
    assert (error["code"], "another list or order" in error["message"]) == ("BAD_USER_INPUT", True)


async def test_only_the_selected_columns_are_read(gql: GraphQLClient, statements: list[str]) -> None:
    await gql.run()
    statements.clear()
    await gql(
        "{ taskRuns { nodes { id status } edges { node { ...Name durationMs } } } } fragment Name on TaskRun { name }"
    )
    [statement] = [text for text in statements if "FROM task_runs" in text]
    columns = {
        part.strip().removeprefix("task_runs.") for part in statement.split("FROM")[0][len("SELECT") :].split(",")
    }
    assert columns == {"id", "status", "name", "started_at", "finished_at"}


async def test_the_total_is_not_counted_unless_selected(gql: GraphQLClient, statements: list[str]) -> None:
    await gql("{ taskRuns { nodes { id } } }")
    assert not any("count(" in text for text in statements)
    await gql("{ taskRuns { nodes { id } totalCount totalCountExceeds } }")
    assert sum("count(" in text for text in statements) == 1


async def test_runs_are_filtered_by_what_they_were_made_from_and_searched(
    gql: GraphQLClient, worker: HandWorker
) -> None:
    id = await gql.run(name="Invoice 4711")
    await (await worker.claim(id)).succeed()
    await gql.run(name="Another")
    nobody = {"taskIds": [UNKNOWN_RUN], "scheduleIds": [UNKNOWN_RUN], "batchIds": [UNKNOWN_RUN]}
    assert await names(gql, filter={"search": "invoice"}) == ["Invoice 4711"]
    assert await names(gql, filter={"durationMs": {"gte": 0, "lt": 600000}}) == ["Invoice 4711"]
    for field, value in {**nobody, "groups": ["g"], "owners": ["USER:ada"]}.items():
        assert await names(gql, filter={field: value}) == []
        assert await names(gql, filter={"not": {field: value}}) == ["Another", "Invoice 4711"]


RERUN = """mutation ($id: ID!) { rerunTask(input: { id: $id }) {
    ... on RerunTaskSuccess { run { id } } } }"""
TIMELINE = """
    query ($id: ID!) { taskRun(id: $id) { timeline {
      at event status reason actor { id } worker iteration attempt error { type } message isDerived run { id name }
    } } }"""
TIMELINES = "{ taskRuns { nodes { id timeline { event status } } } }"


async def test_a_run_tells_what_happened_to_it_and_to_its_reruns(gql: GraphQLClient, worker: HandWorker) -> None:
    id = await gql.run(name="First")
    await (await worker.claim(id)).fail("OSError", "disk is full")
    again = (await gql(RERUN, id=id))["rerunTask"]["run"]["id"]
    told = (await gql(TIMELINE, id=id))["taskRun"]["timeline"]
    assert [(entry["event"], entry["status"], entry["reason"]) for entry in told] == [
        ("TRIGGERED", "QUEUED", None), ("STARTED", "RUNNING", None), ("ENDED", "FAILED", "ERROR"),
        ("RERUN", "QUEUED", None),
    ]  # fmt: skip
    assert told[0]["actor"] == {"id": "local-admin"}
    assert (told[2]["worker"], told[2]["iteration"], told[2]["error"]) == ("testhost:4711", 1, {"type": "OSError"})
    assert told[3]["run"] == {"id": again, "name": "First"}
    assert (await gql(TIMELINE, id=again))["taskRun"]["timeline"][0]["run"]["id"] == id


async def test_the_timelines_of_a_list_are_told_together(gql: GraphQLClient, statements: list[str]) -> None:
    for _ in range(3):
        await gql.run()
    statements.clear()
    runs = (await gql(TIMELINES))["taskRuns"]["nodes"]
    assert [run["timeline"] for run in runs] == [[{"event": "TRIGGERED", "status": "QUEUED"}]] * 3
    assert len([statement for statement in statements if "task_iterations" in statement]) == 1
    assert len([statement for statement in statements if "WITH RECURSIVE" in statement]) == 2
