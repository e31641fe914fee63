"""Which runs a bulk action is for: by ids or by a filter, checked when it is asked and stored as JSON."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement

from app import run_filters
from app.errors import ConfirmationRequired, InvalidArgument
from app.ids import parse_id
from app.run_filters import TABLE, RunFilter
from app.states import TaskRunStatus

Parts = list[list[ColumnElement[bool]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSelection:
    """Runs by their ids or by a filter: one of the two.

    Args:
        ids: the runs' ids, up to TASKLOOM_MAX_BULK_ITEMS.
        filter: those that fit when the action begins; what is triggered later is not touched.
        all: says that a filter which every run fits is meant as it is.
    """

    ids: Sequence[UUID | str] | None = None
    filter: RunFilter | None = None
    all: bool = False

    def stored(self, limit: int) -> dict[str, Any]:
        """The selection as JSON.

        Raises ``InvalidArgument`` for ids that are none or more than ``limit``, for ids together with a filter, and
        ``ConfirmationRequired`` for a filter that every run fits, unless ``all``.
        """
        if (self.ids is None) == (self.filter is None):
            raise InvalidArgument("Select by 'ids' or by 'filter': one of the two.", path=("input", "select"))
        if self.ids is not None:
            return {"ids": checked_ids(self.ids, limit)}
        run_filters.conditions(self.filter)
        if not self.all and fits_everything(self.filter):
            raise ConfirmationRequired(
                "The filter is empty, so that every run fits it. Pass all: true when that is meant.", ("input", "all")
            )
        return {"filter": _adapter().dump_python(self.filter or RunFilter(), mode="json", exclude_none=True)}


def checked_ids(ids: Sequence[UUID | str], limit: int) -> list[str]:
    """Ids as text, each once, in their order. Raises ``InvalidArgument``."""
    path = ("input", "select", "ids")
    if not 1 <= len(ids) <= limit:
        raise InvalidArgument(
            f"'ids' has {len(ids)} items, but must have 1 to {limit} (TASKLOOM_MAX_BULK_ITEMS). "
            "Select more than that by a filter.",
            path=path,
        )
    return [str(id) for id in sorted({_parsed(id, path) for id in ids})]


def _parsed(text: UUID | str, path: tuple[str, ...]) -> UUID:
    found = parse_id(text)
    if found is None:
        raise InvalidArgument(f"'{str(text)[:100]}' is no id: ids are UUIDs.", path=path)
    return found


def _conditions(filter: RunFilter) -> Sequence[Any]:
    """What a filter of runs says. ``{}`` is in every input that is an object, as nearly all are: it says nothing."""
    return run_filters.conditions(replace(filter, input_contains=filter.input_contains or None))


def fits_everything(filter: Any, conditions: Callable[[Any], Sequence[Any]] = _conditions) -> bool:
    """Whether a filter of runs (or of tasks, by their ``conditions``) says nothing, so that everything fits it."""
    if filter is None:
        return True
    if filter.or_ is not None and not any(fits_everything(part, conditions) for part in filter.or_):
        return False
    if filter.not_ is not None or not all(fits_everything(part, conditions) for part in filter.and_ or ()):
        return False
    return not conditions(replace(filter, and_=None, or_=None, not_=None))


@cache
def _adapter() -> TypeAdapter[RunFilter]:
    return TypeAdapter(RunFilter)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A stored selection of runs, read back: the ids, or the filter."""

    ids: list[UUID] | None
    filter: RunFilter
    batch_id: UUID | None

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Chosen:
        """The selection that was stored."""
        ids = [UUID(id) for id in stored["ids"]] if "ids" in stored else None
        batch_id = UUID(stored["batch"]) if "batch" in stored else None
        return cls(ids, _adapter().validate_python(stored.get("filter", {})), batch_id)

    def conditions(self) -> list[ColumnElement[bool]]:
        """What the runs of the filter meet."""
        found = run_filters.conditions(self.filter)
        if self.batch_id is not None:
            found.append(TABLE.c.batch_id == self.batch_id)
        return found

    def statuses(self, among: Collection[TaskRunStatus] | None) -> list[TaskRunStatus] | None:
        """The statuses in which runs can be found at all; None where any may fit."""
        if self.filter.statuses is None:
            return None if among is None else sorted(among)
        return sorted({TaskRunStatus(status) for status in self.filter.statuses} & set(among or TaskRunStatus))

    def parts(self, among: Collection[TaskRunStatus] | None, extra: Sequence[ColumnElement[bool]]) -> Parts:
        """The conditions, once for each status: so that each part comes in the order of ids from an index."""
        every = [*self.conditions(), *extra]
        statuses = self.statuses(among)
        if statuses is None:
            return [every]
        return [[TABLE.c.status == status.value, *every] for status in statuses]

    def together(self, among: Collection[TaskRunStatus] | None) -> list[ColumnElement[bool]]:
        """The conditions of all parts at once, to count by."""
        found = self.conditions()
        if self.ids is not None:
            found.append(TABLE.c.id.in_(self.ids))
        statuses = self.statuses(among)
        if statuses is not None:
            found.append(TABLE.c.status.in_([status.value for status in statuses]))
        return found


def confirm_phrase(given: str, phrase: str) -> None:
    """Check that somebody has said in words what is meant. Raises ``ConfirmationRequired``."""
    if given != phrase:
        raise ConfirmationRequired(
            f'This touches the whole system. Pass confirm: "{phrase}" when that is meant, or dryRun: true to see '
            "what it would do.",
            ("input", "confirm"),
        )
