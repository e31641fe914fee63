"""docs/operations.md tells of every metric, and of none that there is not; its times are those of the settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric

from app import diagnosis, lifecycle, metrics, patience
from app.backlog import Backlog, Queue
from app.exposition import families
from app.settings import Settings
from workers import engine

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
METRIC = r"\btaskloom_[a-z_]+"


def named(family: Metric) -> str:
    """A family as it is asked for."""
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    return family.name.removesuffix(suffix) + suffix


def existing() -> set[str]:
    """The name of every metric of servers and workers."""
    assert metrics.BUILD
    found = Backlog((Queue("default", 1, 1.0),), 0, 0, 0.0, 1, 0)
    all_families = [*REGISTRY.collect(), *families(found, {"default": 1})]
    return {named(family) for family in all_families if family.name.startswith("taskloom_")}


def times() -> list[tuple[str, str]]:
    """What takes how long, as the page has to say by the defaults of the settings and by what is fixed."""
    by, margin = Settings.model_construct(), lifecycle.OVERRUN_MARGIN_SECONDS
    grace, reap = by.abort_grace_seconds, by.reap_seconds
    return [
        ("… while Redis is away", f"within {by.poll_seconds:g} s"),
        ("… until a worker has found out that Redis hangs", f"within {patience.ANSWER_SECONDS:g} s"),
        ("… when Redis lost its ring", f"about {lifecycle.LOST_RING_SECONDS + by.dispatch_seconds:g} s"),
        ("a delayed run is due", f"up to {by.dispatch_seconds:g} s late"),
        ("a run that waits for a slot", f"milliseconds after one is free; within {by.dispatch_seconds:g} s"),
        ("a run that waits for its rate", f"up to {by.dispatch_seconds:g} s late"),
        ("a run that waits for children", f"milliseconds after the child's end; within {by.dispatch_seconds:g} s"),
        ("a run that replaces another one", f"up to {by.dispatch_seconds:g} s after"),
        ("the lease is renewed", f"every {by.heartbeat_seconds:g} s"),
        ("the lease lasts", f"{by.lease_seconds:g} s"),
        ("runs of a dead worker", f"within {diagnosis.TAKEOVER_SECONDS:g} s"),
        ("… when nobody was left", f"within {by.heartbeat_seconds + reap:g} s of the next worker's start"),
        ("a worker notices an abort", f"at once; within {engine.ABORT_POLL_SECONDS:g} s"),
        ("an abort is enforced", f"after {grace:g} s by its own worker; where that cannot, by others after "
            f"{grace + margin:g} to {grace + margin + reap:g} s"),
        ("a drain gives runs back", f"after {by.drain_seconds:g} s"),
        ("a run is ended", f"{margin:g} to {margin + reap:g} s late"),
        ("a claimed run goes on", f"after {lifecycle.DISOWNED_SECONDS + reap:g} s"),
        ("a list or count", f"after {by.query_seconds:g} s"),
        ("… what another one has decided", f"within {reap:g} s"),
        ("a worker with a stuck event loop", f"after {by.stall_seconds:g} s"),
    ]  # fmt: skip


@pytest.mark.parametrize(("what", "how_long"), times(), ids=lambda value: value)
def test_the_page_tells_the_times_of_the_settings(what: str, how_long: str) -> None:
    assert re.search(rf"^\| {re.escape(what)}[^|]* \| {re.escape(how_long)}", PAGE, re.MULTILINE)


def test_a_dead_workers_runs_are_taken_over_in_the_time_that_the_page_tells() -> None:
    by = Settings.model_construct()
    assert by.lease_seconds + 2 * by.reap_seconds <= diagnosis.TAKEOVER_SECONDS


def test_the_page_names_every_metric_and_no_other() -> None:
    shown = {name.removesuffix("_bucket") for name in re.findall(METRIC, PAGE)}
    assert shown == existing()
