"""Which columns of a run a query needs, found from the fields it selects: a list reads no others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from strawberry import Info
from strawberry.types.nodes import SelectedField, Selection
from strawberry.utils.str_converters import to_snake_case

ABORT = ("abort_requested_at", "abort_requested_by", "abort_message", "abort_forced")
LOG_COUNTS = ("log_debug", "log_info", "log_warning", "log_error")

SOURCES: dict[str, tuple[str, ...]] = {
    "definition": ("definition_id",),
    "progress": ("progress", "status_changed_at"),
    "abort": ABORT,
    "durationMs": ("started_at", "finished_at"),
    "parent": ("parent_id",),
    "logCounts": LOG_COUNTS,
    "task": ("task_id",),
    "triggeredBy": ("schedule_id",),
    "taskRevision": ("task_id", "task_version"),
    "children": (),
    "iterations": (),
    "logs": (),
    "timeline": (),
    "__typename": (),
}
"""Where the fields of a run come from that are not the column of the same name."""


def selected_columns(info: Info, *path: str) -> tuple[str, ...]:
    """The columns for the runs selected at this field, or below it at a path of fields as in ``("run",)``."""
    return columns_of(frozenset(field.name for field in _at(info.selected_fields, path)))


def page_columns(info: Info, *path: str) -> tuple[str, ...]:
    """The columns for the runs of the connection that this field returns, or below its items at a path of fields."""
    return columns_of(page_fields(info, *path))


def page_fields(info: Info, *path: str) -> frozenset[str]:
    """The fields selected of the items of the connection that this field returns, or below them at a path of fields."""
    nodes, edges = _at(info.selected_fields, ("nodes", *path)), _at(info.selected_fields, ("edges", "node", *path))
    return frozenset(field.name for field in (*nodes, *edges))


@lru_cache(maxsize=1024)
def columns_of(names: frozenset[str]) -> tuple[str, ...]:
    """The columns that these fields of a run are made from, in a fixed order; ``id`` is always among them."""
    columns = {column for name in names for column in SOURCES.get(name, (to_snake_case(name),))}
    return tuple(sorted(columns | {"id"}))


def _at(selections: Iterable[Selection], path: tuple[str, ...]) -> Iterator[SelectedField]:
    """The fields selected on the type at the end of a path that starts at the current field."""
    for field in selections:
        assert isinstance(field, SelectedField)
        yield from _below(field, path)


def _below(selection: Selection, path: tuple[str, ...]) -> Iterator[SelectedField]:
    for child in selection.selections:
        if not isinstance(child, SelectedField):
            yield from _below(child, path)
        elif not path:
            yield child
        elif child.name == path[0]:
            yield from _below(child, path[1:])
