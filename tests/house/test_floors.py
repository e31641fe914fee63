"""Imports go down only: the floors of the house, kept by reading the imports of every module."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

FLOORS: dict[str, int] = {
    # 0 words
    "app.states": 0, "app.errors": 0, "app.settings": 0, "app.clock": 0, "app.ids": 0, "app.batching": 0,
    "app.garbage": 0, "app.concern": 0, "app.metrics": 0, "app.version": 0, "app.hosts": 0, "app.limits": 0,
    "app.task_errors": 0, "app.task_words": 0, "app.interchange": 0, "app.yaml_text": 0, "app.kinds": 0,
    "app.ticks": 0, "app.schedule_states": 0, "app.fingerprint": 0, "app.timeline": 0, "app.nesting": 0,
    "app.histogram": 0, "app.periods": 0, "app.threads": 0, "app.ctrl_c": 0, "app.counting": 0,
    "app.time_zones": 0,
    # 1 shapes
    "app.models": 1, "app.db": 1, "app.at_hand": 1, "app.registry": 1, "app.retry": 1, "app.auth": 1,
    "app.paging": 1, "app.rows": 1, "app.patience": 1, "app.tick_decisions": 1, "app.fitting": 1,
    "app.database_clock": 1, "app.lost_connections": 1,
    # 2 the outside world
    "app.runs": 2, "app.definitions": 2, "app.logs": 2, "app.leases": 2, "app.lease_statements": 2,
    "app.doorbell": 2, "app.events": 2, "app.backlog": 2, "app.limited_runs": 2, "app.unique_keys": 2,
    "app.tasks": 2, "app.task_filters": 2, "app.task_search": 2, "app.cooldowns": 2, "app.summaries": 2,
    "app.searches": 2, "app.schedules": 2, "app.due_schedules": 2,
    "app.history": 2, "app.vital_signs": 2, "app.conditions": 2, "app.run_filters": 2, "app.nested": 2,
    "app.run_search": 2, "app.error_groups": 2, "app.error_grouping": 2, "app.kinship": 2,
    "app.audit": 2, "app.bulk_actions": 2, "app.batches": 2, "app.transfers": 2, "app.records": 2,
    "app.rollups": 2, "app.rollup_statements": 2, "app.rollup_reading": 2,
    "app.retention": 2, "app.partitions": 2, "app.parents": 2, "app.tables": 2, "app.windows": 2,
    # 3 use cases
    "app.service": 3, "app.lifecycle": 3, "app.claiming": 3, "app.outages": 3, "app.gate": 3, "app.family": 3,
    # 4 edges
    "app.schema": 4, "app.dashboard": 4, "workers": 4,
    # 5 composition
    "app.main": 5, "app.cli": 5, "app.dev": 5, "app.migrations": 5, "workers.main": 5, "workers.__main__": 5, "app": 5,
    "app.reporting": 5, "app.doctor": 5, "app.exposition": 5, "app.diagnosis": 5, "app.new_task": 5,
    "app.readiness": 5, "app.connections": 5,
}  # fmt: skip
EDGES = ("app.schema", "app.dashboard", "workers")
NEVER_IN_SERVICE = {"strawberry", "starlette", "arq", "uvicorn"}


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of ours by its name, read once."""
    found = {}
    for path in sorted([*ROOT.glob("app/**/*.py"), *ROOT.glob("workers/**/*.py")]):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if "node_modules" not in path.parts and ".migrations.versions" not in name:
            found[name] = ast.parse(path.read_text())
    return found


def modules_in(place: str) -> list[str]:
    """The modules whose names begin so; a rule about none would hold nothing."""
    found = [name for name in modules() if name.startswith(place)]
    assert found
    return found


@cache
def imports(module: str) -> set[str]:
    """The modules that a module imports, as full names; ``from app import states`` counts as ``app.states``."""
    found = set()
    for node in ast.walk(modules()[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            present = {name for name in submodules if name in modules()}
            found |= present or {node.module}
    return found


def home(module: str) -> str | None:
    """The entry of ``FLOORS`` that a module belongs to: the longest one that it is or lies in."""
    candidates = [name for name in FLOORS if module == name or module.startswith(name + ".")]
    return max(candidates, key=len, default=None)


def test_every_module_has_a_floor() -> None:
    assert [module for module in modules() if home(module) in (None, "app" if module != "app" else None)] == []


def test_every_module_imports_only_from_its_own_floor_or_lower_ones() -> None:
    wrong = [(module, name) for module in modules() for name in imports(module) if is_above(name, module)]
    assert wrong == []


def is_above(imported: str, module: str) -> bool:
    place, target = home(module), home(imported)
    if module == "app" or place is None or target is None:
        return False
    return FLOORS[target] > FLOORS[place]


def test_app_never_imports_workers() -> None:
    assert imported_by(modules_in("app"), ["workers"]) == []


def test_the_edges_never_import_each_other() -> None:
    for own in EDGES:
        others = [edge for edge in EDGES if edge != own and {edge, own} & {"workers"}]
        assert imported_by(modules_in(own), others) == []


def test_the_service_never_sees_the_web_or_the_queue() -> None:
    assert imported_by(modules_in("app.service"), NEVER_IN_SERVICE) == []


def imported_by(importers: Iterable[str], forbidden: Iterable[str]) -> list[tuple[str, str]]:
    """Who imports what, where that is, or lies in, something forbidden."""
    return [
        (module, name)
        for module in importers
        for name in imports(module)
        if any(name == place or name.startswith(f"{place}.") for place in forbidden)
    ]


def test_shipped_tasks_use_what_task_code_may_use_and_nothing_else() -> None:
    allowed = ("workers", "app.service", "app.settings", "app.registry", "app.counting")
    ours = [(module, name) for module in modules_in("workers.tasks.") for name in imports(module) if is_ours(name)]
    assert [pair for pair in ours if pair[1] not in allowed and not pair[1].startswith("workers.tasks")] == []


def is_ours(module: str) -> bool:
    return module.split(".")[0] in ("app", "workers")


def test_only_the_database_module_commits() -> None:
    committing = {
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit"
    }
    # Migrations run by Alembic on a connection of their own.
    assert committing - {"app.migrations", "app.migrations.env"} == {"app.db"}
