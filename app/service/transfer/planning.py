"""What an import does with each task of a document: decided here, apart from all doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.service.task_fields import names_after
from app.service.transfer.entries import schedule_document
from app.tasks import CHANGEABLE
from app.transfers import TaskKey


class OnConflict(StrEnum):
    """What becomes of an imported task whose name is taken within its group."""

    SKIP = "SKIP"
    RENAME = "RENAME"
    REPLACE = "REPLACE"


class ImportStep(StrEnum):
    """What an import does with a task."""

    CREATE = "CREATE"
    RENAME = "RENAME"
    REPLACE = "REPLACE"
    SKIP = "SKIP"
    UNCHANGED = "UNCHANGED"


@dataclass(frozen=True, slots=True)
class ImportProblem:
    """Why a task cannot be imported: where in the document, as in ``("tasks", "3", "input", "depth")``, and what."""

    path: tuple[str, ...]
    code: str
    message: str


@dataclass(slots=True)
class Prepared:
    """A task of a document, checked: its columns, its schedules with theirs, and what is wrong with it."""

    index: int
    name: str | None = None
    group: str | None = None
    columns: dict[str, Any] = field(default_factory=dict[str, Any])
    schedules: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    problems: list[ImportProblem] = field(default_factory=list[ImportProblem])
    notes: list[str] = field(default_factory=list[str])

    @property
    def key(self) -> TaskKey:
        """What its name is unique by."""
        return (self.group or "", self.name or "")


@dataclass(slots=True)
class ImportItem:
    """What becomes of a task of a document.

    ``step`` is None where problems stand against it; ``name`` is what it will be called; ``task_id`` the task that
    there is, and after the import the one that was made. ``added`` and ``removed`` count schedules.
    """

    prepared: Prepared
    step: ImportStep | None
    name: str | None
    task_id: UUID | None = None
    version: int = 1
    added: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    removed: list[UUID] = field(default_factory=list[UUID])

    @property
    def problems(self) -> list[ImportProblem]:
        """What stands against it; nothing does where the task that there is stays as it is."""
        return [] if self.step is ImportStep.SKIP else self.prepared.problems

    @property
    def notes(self) -> list[str]:
        """What is worth knowing of what the import writes."""
        return self.prepared.notes if self.is_written else []

    @property
    def is_written(self) -> bool:
        """Whether the import changes anything for it."""
        return self.step in (ImportStep.CREATE, ImportStep.RENAME, ImportStep.REPLACE)


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an import does, task by task in the order of the document."""

    items: Sequence[ImportItem]

    def count(self, step: ImportStep) -> int:
        """How many tasks a step is taken for."""
        return sum(item.step is step for item in self.items)

    @property
    def problems(self) -> list[ImportProblem]:
        """All that stands against the import."""
        return [problem for item in self.items for problem in item.problems]


@dataclass(frozen=True, slots=True)
class Present:
    """What is there already: tasks by group and name, their schedules, and all names of the groups concerned."""

    tasks: Mapping[TaskKey, Mapping[str, Any]]
    schedules: Mapping[UUID, Sequence[Mapping[str, Any]]]
    names: AbstractSet[TaskKey]


def decide(prepared: Sequence[Prepared], present: Present, policy: OnConflict) -> ImportPlan:
    """What becomes of each task, given what is there. Pure."""
    taken = set(present.names) | {one.key for one in prepared}
    return ImportPlan([_decide(one, present, policy, taken) for one in prepared])


def _decide(one: Prepared, present: Present, policy: OnConflict, taken: set[TaskKey]) -> ImportItem:
    there = present.tasks.get(one.key) if one.name else None
    if there is not None and policy is OnConflict.SKIP:
        return ImportItem(one, ImportStep.SKIP, one.name, there["id"], there["version"])
    if one.problems:
        return ImportItem(one, None, one.name, there["id"] if there else None)
    if there is None:
        return ImportItem(one, ImportStep.CREATE, one.name, added=one.schedules)
    if policy is OnConflict.RENAME:
        name = next(name for name in names_after(one.name or "", "imported") if (one.key[0], name) not in taken)
        taken.add((one.key[0], name))
        return ImportItem(one, ImportStep.RENAME, name, added=one.schedules)
    return _replacement(one, there, present.schedules.get(there["id"], ()))


def _replacement(one: Prepared, there: Mapping[str, Any], schedules: Sequence[Mapping[str, Any]]) -> ImportItem:
    """What is as it is to be stays, so that a second import of a document changes nothing."""
    left = list(one.schedules)
    removed: list[UUID] = []
    for schedule in schedules:
        document = schedule_document(schedule)
        same = next((new for new in left if schedule_document(new) == document), None)
        if same is None:
            removed.append(schedule["id"])
        else:
            left.remove(same)
    is_same = all(one.columns[name] == there[name] for name in CHANGEABLE)
    step = ImportStep.UNCHANGED if is_same and not left and not removed else ImportStep.REPLACE
    version = there["version"] + (step is ImportStep.REPLACE)
    return ImportItem(one, step, one.name, there["id"], version, left, removed)
