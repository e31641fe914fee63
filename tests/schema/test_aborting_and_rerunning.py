"""``abortTask`` and ``rerunTask``, with what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from tests.schema.conftest import GraphQLClient
from tests.schema.hand_worker import HandWorker
from tests.schema.test_trigger_task import UNKNOWN_RUN

ABORT = """
    mutation ($input: AbortTaskInput!) {
      abortTask(input: $input) {
        __typename
        ... on AbortTaskSuccess { run { id status statusReason finishedAt worker
          abort { message requestedAt isForced requestedBy { id kind name } } } }
        ... on Error { message code path }
      }
    }"""
RERUN = """
    mutation ($input: RerunTaskInput!) {
      rerunTask(input: $input) {
        __typename
        ... on RerunTaskSuccess { run { id status iteration input rerunOf { id name } } }
        ... on Error { message code path }
        ... on InvalidTaskInput { issues { path } }
      }
    }"""


async def abort(gql: GraphQLClient, id: str, **arguments: Any) -> dict[str, Any]:
    """The result of an abort."""
    return (await gql(ABORT, input={"id": id, **arguments}))["abortTask"]


async def rerun(gql: GraphQLClient, id: str, **arguments: Any) -> dict[str, Any]:
    """The result of a rerun."""
    return (await gql(RERUN, input={"id": id, **arguments}))["rerunTask"]


async def test_a_run_that_nobody_holds_is_aborted_at_once_with_who_and_why(gql: GraphQLClient) -> None:
    id = await gql.run()
    run = (await abort(gql, id, message="superseded"))["run"]
    assert (run["status"], run["statusReason"]) == ("ABORTED", "ABORT_REQUESTED")
    assert run["finishedAt"]
    assert run["abort"]["message"] == "superseded"
    assert run["abort"]["isForced"] is False
    assert run["abort"]["requestedBy"]["id"] == "local-admin"


async def test_a_run_that_a_worker_holds_is_aborting_until_its_checkpoint(
    gql: GraphQLClient, worker: HandWorker
) -> None:
    id = await gql.run()
    held = await worker.claim(id)
    run = (await abort(gql, id, force=True))["run"]
    assert (run["status"], run["finishedAt"], run["worker"]) == ("ABORTING", None, "testhost:4711")
    assert run["abort"]["isForced"] is True
    await held.acknowledge_abort()
    assert (await gql("query ($id: ID!) { taskRun(id: $id) { status } }", id=id))["taskRun"]["status"] == "ABORTED"


@pytest.mark.parametrize(("cascade", "expected"), [(True, "ABORTED"), (False, "QUEUED"), (None, "ABORTED")])
async def test_children_are_aborted_with_their_parent_unless_told_not_to(
    gql: GraphQLClient, cascade: bool | None, expected: str
) -> None:
    parent = await gql.run()
    child = await gql.run(parentId=parent)
    await abort(gql, parent, cascade=cascade)
    assert (await gql("query ($id: ID!) { taskRun(id: $id) { status } }", id=child))["taskRun"]["status"] == expected


async def test_a_final_run_cannot_be_aborted(gql: GraphQLClient) -> None:
    id = await gql.run()
    await abort(gql, id)
    refusal = await abort(gql, id)
    assert (refusal["__typename"], refusal["code"]) == ("TaskRunNotAbortable", "TASK_RUN_NOT_ABORTABLE")
    assert "ABORTED, which is final" in refusal["message"]


@pytest.mark.parametrize("id", ["not-a-uuid", "", UNKNOWN_RUN, "0" * 36])
async def test_a_run_that_does_not_exist_cannot_be_aborted_or_rerun(gql: GraphQLClient, id: str) -> None:
    for refusal in (await abort(gql, id), await rerun(gql, id)):
        assert (refusal["__typename"], refusal["code"]) == ("TaskRunNotFound", "TASK_RUN_NOT_FOUND")
        assert refusal["path"] == ["input", "id"]
        assert "UUID" in refusal["message"]


async def test_an_abort_message_that_is_too_long_is_refused(gql: GraphQLClient) -> None:
    refusal = await abort(gql, await gql.run(), message="x" * 1001)
    assert (refusal["__typename"], refusal["path"]) == ("InvalidArgument", ["input", "message"])


async def test_a_rerun_repeats_a_run_with_its_input_and_names_it(gql: GraphQLClient) -> None:
    id = await gql.run(name="Original")
    again = (await rerun(gql, id))["run"]
    assert again["id"] != id
    assert (again["status"], again["rerunOf"]) == ("QUEUED", {"id": id, "name": "Original"})
    assert again["input"]["whom"] == "Ada"


async def test_a_rerun_can_have_another_input(gql: GraphQLClient) -> None:
    assert (await rerun(gql, await gql.run(), input={"whom": "Grace"}))["run"]["input"]["whom"] == "Grace"


async def test_a_rerun_with_an_input_that_does_not_fit_is_refused(gql: GraphQLClient) -> None:
    refusal = await rerun(gql, await gql.run(), input={"whom": ""})
    assert (refusal["__typename"], refusal["issues"]) == ("InvalidTaskInput", [{"path": ["whom"]}])


async def test_a_rerun_from_the_last_state_goes_on_in_its_iteration(gql: GraphQLClient, worker: HandWorker) -> None:
    id = await gql.run()
    await (await worker.claim(id)).continue_({"done": 3})
    refusal = await rerun(gql, id, **{"from": "LAST_STATE"})
    assert (refusal["__typename"], refusal["code"]) == ("TaskRunNotFinal", "TASK_RUN_NOT_FINAL")
    await abort(gql, id)
    run = (await rerun(gql, id, **{"from": "LAST_STATE"}))["run"]
    assert (run["status"], run["rerunOf"]["id"]) == ("QUEUED", id)
    assert (await worker.claim(run["id"])).state is not None
