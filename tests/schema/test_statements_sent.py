"""How many SQL statements an answer costs: as many as it has kinds of things, however many things it has."""

from __future__ import annotations

from tests.schema.conftest import GraphQLClient
from tests.schema.hand_worker import HandWorker

RUNS = """
    { taskRuns(first: 50) { totalCount nodes {
      id name status
      definition { title isAvailable }
      parent { name definition { id } }
      rerunOf { name }
      children(first: 2) { nodes { name status } totalCount }
      logs(first: 2) { nodes { message } totalCount }
      iterations(first: 2) { nodes { number outcome } totalCount }
    } } }"""


async def test_a_list_of_50_runs_with_everything_below_costs_12_statements(
    gql: GraphQLClient, worker: HandWorker, statements: list[str]
) -> None:
    parents = [await gql.run(name=f"parent {n}") for n in range(10)]
    for n in range(40):
        await gql.run(name=f"child {n}", parentId=parents[n % 10])
    for parent in parents:
        held = await worker.claim(parent)
        await held.log(*[("INFO", f"line {n}") for n in range(3)])
        await held.continue_({})
    statements.clear()
    nodes = (await gql(RUNS))["taskRuns"]["nodes"]
    # The page and its total; definitions, availability, parents and reruns; children, logs and iterations with totals.
    reads = [text for text in statements if text.lstrip().startswith("SELECT")]
    assert len(reads) <= 12, "\n\n".join(reads)
    assert len(nodes) == 50
    parent = nodes[-1]
    assert parent["name"] == "parent 0"
    assert [run["name"] for run in parent["children"]["nodes"]] == ["child 0", "child 10"]
    assert parent["children"]["totalCount"] == 4
    assert [line["message"] for line in parent["logs"]["nodes"]] == ["line 0", "line 1"]
    assert parent["logs"]["totalCount"] == 3
    assert parent["iterations"] == {"nodes": [{"number": 1, "outcome": "CONTINUED"}], "totalCount": 1}
    child = nodes[0]
    assert child["parent"] == {"name": "parent 9", "definition": {"id": "greet"}}
    assert (child["children"]["totalCount"], child["logs"]["totalCount"]) == (0, 0)
    assert child["definition"] == {"title": "Greet somebody", "isAvailable": True}


async def test_the_same_list_under_two_names_keeps_its_own_arguments(gql: GraphQLClient) -> None:
    parent = await gql.run(name="parent")
    for name in "ab":
        await gql.run(name=name, parentId=parent)
    data = await gql("""
        { taskRuns(filter: { name: { eq: "parent" } }) { nodes {
          one: children(first: 1) { nodes { id } } both: children(last: 2) { nodes { name priority } totalCount }
        } } }""")
    [run] = data["taskRuns"]["nodes"]
    assert len(run["one"]["nodes"]) == 1
    assert run["both"] == {"nodes": [{"name": name, "priority": 0} for name in "ab"], "totalCount": 2}


async def test_the_runs_of_many_definitions_cost_one_statement(gql: GraphQLClient, statements: list[str]) -> None:
    await gql.run(name="greeting")
    await gql.trigger("plain", {}, name="plain")
    statements.clear()
    data = await gql("""
        { taskDefinitions(filter: { ids: ["greet", "plain", "guarded"] }) { nodes {
          id runs(first: 5, filter: { statuses: [QUEUED] }, orderBy: { field: PRIORITY }) { nodes { name } totalCount }
        } } }""")
    found = {node["id"]: node["runs"] for node in data["taskDefinitions"]["nodes"]}
    assert found == {
        "greet": {"nodes": [{"name": "greeting"}], "totalCount": 1},
        "guarded": {"nodes": [], "totalCount": 0},
        "plain": {"nodes": [{"name": "plain"}], "totalCount": 1},
    }
    assert len([text for text in statements if text.lstrip().startswith("SELECT")]) == 3
