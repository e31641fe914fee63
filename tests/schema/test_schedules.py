"""Schedules by GraphQL: made, changed, paused, triggered, previewed, and refused by name."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from app.settings import Settings
from tests.schema.conftest import GraphQLClient
from tests.service.scheduled import saved_task

FIELDS = """id taskId task { id nextRunAt schedules { id } } name kind cron everySeconds timeZone overlap catchUp
    maxFailures status pauseReason pauseMessage nextRunAt nextRuns(count: 2) version owner { kind id }
    ticks { nodes { tickAt outcome } totalCount } runs { totalCount }"""
RESULT = f"""__typename ... on ScheduleSuccess {{ schedule {{ {FIELDS} }} }} ... on Error {{ message code path }}
    ... on ScheduleConflict {{ version editor {{ id }} }}"""


async def change(gql: GraphQLClient, mutation: str, **input: Any) -> dict[str, Any]:
    """The result of a mutation of schedules."""
    kind = mutation[0].upper() + mutation[1:]
    if mutation in ("pauseSchedule", "triggerSchedule", "createSchedule", "updateSchedule"):
        kind += "Input"
    else:
        kind = "ScheduleIdInput"
    more = "... on TriggerScheduleSuccess { run { id triggeredBy { id } onBehalfOf { id } tickAt createdBy { id } } }"
    wanted = {"deleteSchedule": "... on DeleteScheduleSuccess { id }", "triggerSchedule": more}.get(mutation)
    body = f"__typename {wanted} ... on Error {{ message code path }}" if wanted else RESULT
    if mutation != "updateSchedule":
        body = body.replace("... on ScheduleConflict { version editor { id } }", "")
    return (await gql(f"mutation ($input: {kind}!) {{ {mutation}(input: $input) {{ {body} }} }}", input=input))[
        mutation
    ]


@pytest.fixture
async def task_id(settings: Settings, gql: GraphQLClient) -> str:
    return str(await saved_task(settings, "plain", "{}"))


async def test_a_schedule_is_made_changed_paused_resumed_and_deleted(gql: GraphQLClient, task_id: str) -> None:
    made = (
        await change(gql, "createSchedule", taskId=task_id, timing={"cron": "30 2 * * *"}, timeZone="Europe/Berlin")
    )["schedule"]
    assert (made["kind"], made["status"], made["overlap"], made["catchUp"]) == ("CRON", "ACTIVE", "SKIP", "LAST")
    assert made["task"] == {"id": task_id, "nextRunAt": made["nextRunAt"], "schedules": [{"id": made["id"]}]}
    assert made["nextRuns"][0] == made["nextRunAt"]
    assert made["owner"] == {"kind": "USER", "id": "local-admin"}
    input = {"id": made["id"], "version": 1, "timing": {"every": {"seconds": 60}}, "maxFailures": 3, "name": "Often"}
    changed = (await change(gql, "updateSchedule", **input))["schedule"]
    assert (changed["cron"], changed["everySeconds"], changed["version"]) == (None, 60, 2)
    assert (changed["name"], changed["maxFailures"], changed["timeZone"]) == ("Often", 3, "Europe/Berlin")
    conflict = await change(gql, "updateSchedule", **input)
    assert (conflict["code"], conflict["version"], conflict["editor"]) == (
        "SCHEDULE_CONFLICT",
        2,
        {"id": "local-admin"},
    )
    paused = (await change(gql, "pauseSchedule", id=made["id"], message="A freeze"))["schedule"]
    assert (paused["status"], paused["pauseReason"], paused["pauseMessage"]) == ("PAUSED", "REQUESTED", "A freeze")
    assert (paused["nextRunAt"], paused["nextRuns"], paused["task"]["nextRunAt"]) == (None, [], None)
    resumed = (await change(gql, "resumeSchedule", id=made["id"]))["schedule"]
    assert (resumed["status"], resumed["pauseReason"]) == ("ACTIVE", None)
    assert await change(gql, "deleteSchedule", id=made["id"]) == {
        "__typename": "DeleteScheduleSuccess",
        "id": made["id"],
    }
    assert (await gql("query ($id: ID!) { schedule(id: $id) { id } }", id=made["id"]))["schedule"] is None
    assert (await change(gql, "deleteSchedule", id=made["id"]))["code"] == "SCHEDULE_NOT_FOUND"
    deeds = await gql("{ auditEvents { nodes { action } } }")
    assert [node["action"] for node in deeds["auditEvents"]["nodes"]] == [
        "deleteSchedule", "resumeSchedule", "pauseSchedule", "updateSchedule", "createSchedule",
    ]  # fmt: skip


async def test_triggered_now_a_run_says_which_schedule_and_on_whose_behalf(gql: GraphQLClient, task_id: str) -> None:
    made = (await change(gql, "createSchedule", taskId=task_id, timing={"cron": "@daily"}, owner="SERVICE:ci"))[
        "schedule"
    ]
    await change(gql, "pauseSchedule", id=made["id"])
    first, again = [
        (await change(gql, "triggerSchedule", id=made["id"], idempotencyKey="once"))["run"] for _ in range(2)
    ]
    assert first == again
    assert (first["triggeredBy"], first["onBehalfOf"]) == ({"id": made["id"]}, {"id": "ci"})
    assert (first["tickAt"], first["createdBy"]) == (None, {"id": "local-admin"})
    listed = (await gql(f"{{ schedules(filter: {{ statuses: [PAUSED] }}) {{ nodes {{ {FIELDS} }} totalCount }} }}"))[
        "schedules"
    ]
    assert (listed["totalCount"], listed["nodes"][0]["runs"]["totalCount"]) == (1, 1)


async def test_a_schedule_that_is_not_saved_is_previewed(gql: GraphQLClient) -> None:
    query = """query ($input: PreviewScheduleInput!) { previewSchedule(input: $input) {
        ... on PreviewScheduleSuccess { nextRuns } ... on Error { message code path } } }"""
    input = {
        "timing": {"cron": "30 2 * * *"},
        "timeZone": "Europe/Berlin",
        "startsAt": "2099-03-28T12:00:00Z",
        "count": 2,
    }
    previewed = (await gql(query, input=input))["previewSchedule"]
    assert previewed["nextRuns"] == ["2099-03-29T01:00:00.000000Z", "2099-03-30T00:30:00.000000Z"]
    refused = (await gql(query, input={**input, "count": 101}))["previewSchedule"]
    assert (refused["code"], refused["path"]) == ("BAD_USER_INPUT", ["input", "count"])


@pytest.mark.parametrize(
    ("changes", "message", "path"),
    [
        ({"timing": {"cron": "61 * * * *"}}, "The minute of", ["input", "timing", "cron"]),
        ({"timeZone": "Europe/Berln"}, "Did you mean 'Europe/Berlin'?", ["input", "timeZone"]),
        ({"startsAt": "2030-01-02T00:00:00Z", "endsAt": "2030-01-01T00:00:00Z"}, "later than", ["input", "endsAt"]),
        ({"timing": {"at": "2020-01-01T00:00:00Z"}}, "never tick", ["input", "timing"]),
        ({"timing": {"every": {"seconds": 0.1}}}, "1 second", ["input", "timing", "every", "seconds"]),
        ({"timing": {"every": {"seconds": 1e300}}}, "longer than any time", ["input"]),
        ({"jitterSeconds": -1}, "must be 0 to", ["input", "jitterSeconds"]),
        ({"maxFailures": 0}, "from 1 to 1000", ["input", "maxFailures"]),
        ({"catchUpSeconds": -1}, "0 or more", ["input", "catchUpSeconds"]),
        ({"owner": "nobody"}, "no principal", ["input", "owner"]),
        ({"name": ""}, "1 to 200", ["input", "name"]),
    ],
)
async def test_bad_input_is_refused_and_leaves_nothing_behind(
    gql: GraphQLClient, task_id: str, changes: dict[str, Any], message: str, path: list[str]
) -> None:
    refused = await change(gql, "createSchedule", **{"taskId": task_id, "timing": {"cron": "@daily"}, **changes})
    assert (refused["code"], refused["path"]) == ("BAD_USER_INPUT", path)
    assert message in refused["message"]
    assert (await gql("{ schedules { totalCount } }"))["schedules"]["totalCount"] == 0


async def test_what_does_not_exist_or_does_not_fit_is_refused_by_name(
    gql: GraphQLClient, settings: Settings, task_id: str
) -> None:
    daily = {"timing": {"cron": "@daily"}}
    for none in (str(uuid4()), "nonsense"):
        refused = await change(gql, "createSchedule", taskId=none, **daily)
        assert (refused["code"], refused["path"]) == ("TASK_NOT_FOUND", ["input", "taskId"])
    greeting = str(await saved_task(settings, "greet"))
    assert (await change(gql, "createSchedule", taskId=greeting, input={}, **daily))["code"] == "INVALID_TASK_INPUT"
    for mutation in ("pauseSchedule", "resumeSchedule", "triggerSchedule"):
        assert (await change(gql, mutation, id=str(uuid4())))["code"] == "SCHEDULE_NOT_FOUND"
