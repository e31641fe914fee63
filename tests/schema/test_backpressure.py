"""A full queue as clients see it: one refusal, wherever a run would be stored."""

from __future__ import annotations

from typing import Any

import pytest

from app.settings import Settings
from tests.schema.conftest import GraphQLClient

REFUSAL = "__typename ... on QueueFull { message code path queue depth limit }"
TRIGGER = f"mutation ($input: TriggerTaskInput!) {{ refused: triggerTask(input: $input) {{ {REFUSAL} }} }}"
RERUN = f"mutation ($input: RerunTaskInput!) {{ refused: rerunTask(input: $input) {{ {REFUSAL} }} }}"
EXECUTE = f"mutation ($input: ExecuteTaskInput!) {{ refused: executeTask(input: $input) {{ {REFUSAL} }} }}"
TICK = f"mutation ($input: TriggerScheduleInput!) {{ refused: triggerSchedule(input: $input) {{ {REFUSAL} }} }}"
MANY = f"""mutation ($input: TriggerTasksInput!) {{ triggerTasks(input: $input) {{
    ... on TriggerTasksSuccess {{ results {{ {REFUSAL} }} batch {{ total }} }} }} }}"""
SAVE = (
    """mutation ($input: CreateTaskInput!) { createTask(input: $input) { ... on SaveTaskSuccess { task { id } } } }"""
)
SCHEDULE = """mutation ($input: CreateScheduleInput!) { createSchedule(input: $input) {
    ... on ScheduleSuccess { schedule { id } } } }"""
GREET = {"definitionId": "greet", "input": {"whom": "Ada"}}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Two runs may wait in the queue."""
    return settings.model_copy(update={"queue_limits": (("default", 2),)})


async def test_every_way_to_a_new_run_ends_in_the_same_refusal(gql: GraphQLClient) -> None:
    run = await gql.run()
    await gql.run()
    saved = (await gql(SAVE, input={"name": "Mine", **GREET}))["createTask"]["task"]["id"]
    timing = {"cron": "@daily"}
    schedule = (await gql(SCHEDULE, input={"taskId": saved, "timing": timing}))["createSchedule"]["schedule"]["id"]
    ways: list[tuple[str, dict[str, Any]]] = [
        (TRIGGER, GREET), (RERUN, {"id": run}), (EXECUTE, {"id": saved}), (TICK, {"id": schedule}),
    ]  # fmt: skip
    for mutation, given in ways:
        refused = (await gql(mutation, input=given))["refused"]
        assert refused.pop("message").startswith("Queue 'default' is full: about 2 runs wait in it, and it takes 2 (")
        assert refused == {
            "__typename": "QueueFull", "code": "QUEUE_FULL", "path": None, "queue": "default", "depth": 2, "limit": 2,
        }  # fmt: skip


async def test_a_bulk_trigger_fills_the_queue_and_is_refused_from_there_on_item_by_item(gql: GraphQLClient) -> None:
    data = (await gql(MANY, input={"tasks": [GREET, {**GREET, "queue": "other"}, GREET, GREET]}))["triggerTasks"]
    kinds = [result["__typename"] for result in data["results"]]
    assert kinds == [*["TriggerTaskSuccess"] * 3, "QueueFull"]
    assert data["batch"]["total"] == 3
