"""``/metrics`` of real processes: after known work the figures are exactly right, and they are there in an outage."""

from __future__ import annotations

from datetime import timedelta
from math import isnan
from typing import Any

import asyncpg
import httpx2
import pytest

from app import TaskService, TriggerRequest
from app.backlog import queues
from app.db import Database, plain_url
from app.dev.http_probe import free_port
from app.dev.postgres import EmbeddedPostgres
from app.settings import Settings
from app.states import TaskRunStatus
from app.version import VERSION
from tests.faults.processes import worker_process
from tests.operations.processes import Figures, figure, scraped, server_process
from tests.workbench import until, until_status
from workers import metrics_port

SOON = timedelta(seconds=60)
TRIGGER = """mutation ($input: TriggerTaskInput!) { triggerTask(input: $input) {
    __typename ... on TriggerTaskSuccess { run { id } } } }"""
TASKS = {"TASKLOOM_TASKS": "tests.faults.definitions"}


async def ask(http: httpx2.AsyncClient, query: str, **variables: Any) -> Any:
    response = await http.post("/graphql", json={"query": query, "variables": variables})
    return response.json()


async def test_a_worker_tells_exactly_what_it_did(settings: Settings, tasks: TaskService) -> None:
    port = str(free_port("127.0.0.1", 0))
    async with worker_process(settings, TASKLOOM_METRICS_PORT=port) as worker, httpx2.AsyncClient() as http:
        for definition, input in (("fault-nothing", None), ("fault-nothing", None), ("fault-retry", None)):
            await tasks.wait((await tasks.trigger(definition, input=input)).id, timeout=SOON)
        await tasks.wait((await tasks.trigger("fault-iterations", input={"steps": 3})).id, timeout=SOON)

        async def told() -> Figures | None:
            figures = await scraped(http, f"http://127.0.0.1:{port}/metrics")
            return figures if figure(figures, "taskloom_slots_in_use") == 0 else None

        figures = await until(told)
        assert worker.pid
    assert figure(figures, "taskloom_build_info", version=VERSION) == 1
    finished = {key: value for key, value in figures.items() if key[0] == "taskloom_runs_finished_total"}
    assert {(dict(labels)["definition"], dict(labels)["status"]): n for (_, labels), n in finished.items()} == {
        ("fault-nothing", "SUCCEEDED"): 2, ("fault-retry", "SUCCEEDED"): 1, ("fault-iterations", "SUCCEEDED"): 1,
    }  # fmt: skip
    assert figure(figures, "taskloom_runs_claimed_total", source="rung") == 2 + 2 + 3
    assert figure(figures, "taskloom_runs_claimed_total", source="polled") == 0
    assert figure(figures, "taskloom_run_wait_seconds_count", queue="default") == 2 + 2 + 3
    assert figure(figures, "taskloom_run_seconds_count", definition="fault-iterations") == 1
    assert figure(figures, "taskloom_attempt_seconds_count", definition="fault-iterations") == 3
    assert figure(figures, "taskloom_attempt_seconds_count", definition="fault-retry") == 2
    assert figure(figures, "taskloom_runs_dispatched_total", kind="due") == 1
    assert figure(figures, "taskloom_runs_reaped_total", kind="lease") == 0
    assert figure(figures, "taskloom_flush_writes_sum") == 2 + 2 + 3
    assert figure(figures, "taskloom_flush_seconds_count") == figure(figures, "taskloom_flush_writes_count")
    assert figure(figures, "taskloom_slots") == settings.concurrency
    assert figure(figures, "taskloom_doorbell_up") == 1
    assert (figure(figures, "taskloom_lease_renewals_total", outcome="renewed") or 0) >= 1
    assert figure(figures, "taskloom_lease_renewals_total", outcome="failed") == 0


async def test_the_worker_that_takes_over_counts_what_it_took(settings: Settings, tasks: TaskService) -> None:
    port = str(free_port("127.0.0.1", 0))
    async with worker_process(settings) as first:
        run = await tasks.trigger("fault-steps", input={"steps": 1_000_000, "pause": 0.05})
        await until_status(tasks, run.id, TaskRunStatus.RUNNING)
        async with worker_process(settings, TASKLOOM_METRICS_PORT=port), httpx2.AsyncClient() as http:

            async def told(slots_in_use: int) -> Figures | None:
                figures = await scraped(http, f"http://127.0.0.1:{port}/metrics")
                return figures if figure(figures, "taskloom_slots_in_use") == slots_in_use else None

            await first.kill()
            await until(lambda: told(1), patience=SOON.total_seconds())
            await tasks.abort(run.id)
            await tasks.wait(run.id, timeout=SOON)
            figures = await until(lambda: told(0))
    assert figure(figures, "taskloom_runs_reaped_total", kind="lease") == 1
    assert figure(figures, "taskloom_runs_claimed_total", source="rung") == 1
    assert figure(figures, "taskloom_attempt_seconds_count", definition="fault-steps") == 1
    lease = 1.5
    assert (figure(figures, "taskloom_run_seconds_sum", definition="fault-steps") or 0) > lease, "from the first start"
    assert figure(figures, "taskloom_runs_finished_total", definition="fault-steps", status="ABORTED") == 1


async def test_a_server_tells_exactly_what_it_answered_and_what_waits(settings: Settings) -> None:
    async with server_process(settings, **TASKS) as server:
        http = server.http
        for _ in range(3):
            assert (await ask(http, TRIGGER, input={"definitionId": "fault-nothing"}))["data"]
        later = {"definitionId": "fault-nothing", "delaySeconds": 3600}
        run = (await ask(http, TRIGGER, input=later))["data"]["triggerTask"]["run"]["id"]
        await ask(http, "mutation ($id: ID!) { abortTask(input: {id: $id}) { __typename } }", id=run)
        await ask(http, TRIGGER, input=later)
        await ask(http, "{ viewer { version } }")
        await ask(http, "{ nothingLikeIt }")
        await http.get("/no-such-page")

        async def told() -> Figures | None:
            figures = await scraped(http)
            return figures if figure(figures, "taskloom_queue_rings", queue="default") == 3 else None

        figures = await until(told)
    assert figure(figures, "taskloom_runs_triggered_total", definition="fault-nothing") == 5
    assert figure(figures, "taskloom_runs_finished_total", definition="fault-nothing", status="ABORTED") == 1
    assert figure(figures, "taskloom_queue_runs", queue="default") == 3
    assert (figure(figures, "taskloom_queue_oldest_seconds", queue="default") or 0) > 0
    assert figure(figures, "taskloom_runs_asleep") == 1
    assert figure(figures, "taskloom_runs_held") == 0
    assert figure(figures, "taskloom_workers", state="taking") == 0
    assert isnan(figure(figures, "taskloom_lease_renewed_timestamp_seconds") or 0)
    assert figure(figures, "taskloom_database_up") == 1
    assert figure(figures, "taskloom_graphql_operations_total", type="mutation", outcome="answered") == 6
    assert figure(figures, "taskloom_graphql_operation_seconds_count", type="mutation") == 6
    assert figure(figures, "taskloom_graphql_operations_total", type="query", outcome="answered") == 1
    assert figure(figures, "taskloom_graphql_operations_total", type="unknown", outcome="refused") == 1
    assert figure(figures, "taskloom_http_requests_total", path="other", status="404") == 1
    assert figure(figures, "taskloom_http_requests_total", path="/graphql", status="200") == 8


async def test_each_queue_is_counted_and_its_oldest_run_found_whatever_its_priority(
    settings: Settings, tasks: TaskService
) -> None:
    for queue, priority in (("a", 5), ("a", 0), ("b", -3), ("a", 5), ("default", 9), ("limited", 0)):
        await tasks.trigger("fault-nothing", queue=queue, priority=priority)
    connection: Any = await asyncpg.connect(plain_url(settings.database_url))
    await connection.execute(
        "UPDATE task_runs SET due_at = now() - interval '1 hour' WHERE queue = 'a' AND priority = 0"
    )
    await connection.execute("UPDATE task_runs SET parked = 'DEFINITION' WHERE queue = 'limited'")
    await connection.close()
    async with server_process(settings) as server:
        figures = await scraped(server.http)
    assert {queue: figure(figures, "taskloom_queue_runs", queue=queue) for queue in ("a", "b", "default")} == {
        "a": 3, "b": 1, "default": 1,
    }  # fmt: skip
    assert figure(figures, "taskloom_queue_runs", queue="limited") is None
    assert figure(figures, "taskloom_runs_limited") == 1
    assert 3600 <= (figure(figures, "taskloom_queue_oldest_seconds", queue="a") or 0) < 3700
    assert 0 <= (figure(figures, "taskloom_queue_oldest_seconds", queue="b") or 0) < 100


async def test_a_queue_is_seen_behind_one_with_any_number_of_priorities(tasks: TaskService, settings: Settings) -> None:
    many = [TriggerRequest(definition_id="fault-nothing", queue="many", priority=n) for n in range(600)]
    await tasks.trigger_many([*many, TriggerRequest(definition_id="fault-nothing", queue="one")])
    db = Database(settings.database_url)
    async with db.autocommit() as pipe:
        found = await queues(pipe)
    await db.close()
    assert [(queue.name, queue.queued) for queue in found] == [("many", 600), ("one", 1)]


async def test_without_postgresql_the_process_s_own_figures_are_told_all_the_same(
    settings: Settings, embedded_postgres: EmbeddedPostgres
) -> None:
    async with server_process(settings) as server:
        await embedded_postgres.stop()
        try:

            async def told() -> Figures | None:
                figures = await scraped(server.http)
                return figures if figure(figures, "taskloom_database_up") == 0 else None

            figures = await until(told)
        finally:
            await embedded_postgres.start()
    assert figure(figures, "taskloom_queue_runs", queue="default") is None
    assert figure(figures, "taskloom_doorbell_up") == 1
    assert (figure(figures, "process_resident_memory_bytes") or 0) > 1e6


async def test_a_worker_on_loopback_shows_its_metrics_to_no_web_page_of_another_name(settings: Settings) -> None:
    with metrics_port.serving(settings.model_copy(update={"metrics_port": 0})) as port:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            assert (await http.get("/metrics")).status_code == 200
            assert (await http.get("/metrics", headers={"host": "evil.example"})).status_code == 400


def test_a_port_that_is_taken_or_open_to_others_is_refused_with_what_to_do(settings: Settings) -> None:
    with metrics_port.serving(settings.model_copy(update={"metrics_port": 0})) as port:
        taken = settings.model_copy(update={"metrics_port": port})
        with (
            pytest.raises(metrics_port.CannotListen, match="TASKLOOM_METRICS_PORT of its own"),
            metrics_port.serving(taken),
        ):
            pass
    open_to_all = settings.model_copy(update={"metrics_port": 0, "host": "0.0.0.0"})
    with pytest.raises(metrics_port.CannotListen, match="TASKLOOM_ALLOW_ANONYMOUS"), metrics_port.serving(open_to_all):
        pass


def test_a_worker_without_a_metrics_port_listens_nowhere(settings: Settings) -> None:
    with metrics_port.serving(settings) as port:
        assert port is None
