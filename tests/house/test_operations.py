"""docs/operations.md tells of every metric, and of none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric

from app import metrics
from app.backlog import Backlog, Queue
from app.exposition import families

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


def test_the_page_names_every_metric_and_no_other() -> None:
    shown = {name.removesuffix("_bucket") for name in re.findall(METRIC, PAGE)}
    assert shown == existing()
