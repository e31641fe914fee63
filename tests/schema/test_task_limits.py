"""Limits as clients see them: on the definition, on the run, and as a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app import Limits, WhenFull
from app.registry import registry, task
from tests.schema.conftest import GraphQLClient, GreetInput

LIMITS = Limits(
    max_concurrency=5, key="whom", max_concurrency_per_key=1, rate_per_key="9/hour", when_full=WhenFull.REJECT
)
DEFINITION = """
    query ($id: ID!) { taskDefinition(id: $id) {
      limits { maxConcurrency rate key maxConcurrencyPerKey ratePerKey whenFull }
    } }"""
TRIGGER = """
    mutation ($input: TriggerTaskInput!) { triggerTask(input: $input) {
      __typename
      ... on TriggerTaskSuccess { run { id limitKey status statusReason } }
      ... on LimitReached { message code path key retryAt }
    } }"""


@pytest.fixture(autouse=True)
def limited_definition() -> Iterator[None]:
    """A definition with limits, in the registry while these tests run."""

    @task(id="limited-greet", limits=LIMITS)
    async def limited_greet(ctx: Any, input: GreetInput) -> None:
        """Never runs."""

    yield
    registry.remove("limited-greet")


async def trigger(gql: GraphQLClient, whom: str) -> dict[str, Any]:
    given = {"definitionId": "limited-greet", "input": {"whom": whom}}
    return (await gql(TRIGGER, input=given))["triggerTask"]


async def test_a_definition_shows_its_limits(gql: GraphQLClient) -> None:
    await trigger(gql, "Ada")
    assert (await gql(DEFINITION, id="limited-greet"))["taskDefinition"]["limits"] == {
        "maxConcurrency": 5,
        "rate": None,
        "key": "whom",
        "maxConcurrencyPerKey": 1,
        "ratePerKey": "9/hour",
        "whenFull": "REJECT",
    }
    assert (await gql(DEFINITION, id="plain"))["taskDefinition"] == {"limits": None}


async def test_a_full_limit_is_a_refusal_as_data(gql: GraphQLClient) -> None:
    first = await trigger(gql, "Ada")
    assert first["run"]["limitKey"] == "Ada"
    refusal = await trigger(gql, "Ada")
    assert (refusal["__typename"], refusal["code"], refusal["key"]) == ("LimitReached", "LIMIT_REACHED", "Ada")
    assert (refusal["path"], refusal["retryAt"]) == (["input", "definitionId"], None)
    assert (await trigger(gql, "Grace"))["__typename"] == "TriggerTaskSuccess"
