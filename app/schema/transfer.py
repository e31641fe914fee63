"""``exportTasks`` and ``importTasks``: saved tasks with their schedules as text, to move them between environments."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import strawberry
from strawberry import UNSET

from app import task_errors
from app.interchange import TextFormat
from app.schema.connections import given
from app.schema.context import Info
from app.schema.mutations.bulk_tasks import TaskSelection, selection_of
from app.schema.refusals import Error, InvalidArgument, refusal
from app.schema.vocabulary import ErrorCode, describe
from app.service.transfer import ImportStep, OnConflict
from app.service.transfer import importing as service
from app.service.transfer import planning as plans

describe(TextFormat, "How tasks are written as text.", {"JSON": "As JSON.", "YAML": "As YAML, for people to read."})
describe(
    OnConflict,
    "What becomes of an imported task whose name is taken within its group.",
    {
        "SKIP": "The task that there is stays as it is.",
        "RENAME": 'The imported one is saved as "Name (imported)", "Name (imported 2)" and so on.',
        "REPLACE": "The task that there is becomes, by a new revision, what the text says, schedules included.",
    },
    name="ImportConflictPolicy",
)
describe(
    ImportStep,
    "What an import does with a task.",
    {
        "CREATE": "Saves it.",
        "RENAME": "Saves it by another name, because its own is taken.",
        "REPLACE": "Makes the task of that name what the text says.",
        "SKIP": "Leaves the task of that name as it is.",
        "UNCHANGED": "Nothing: the task of that name is what the text says already.",
    },
)


@strawberry.type(description="Why a task cannot be imported.")
class ImportProblem:
    """What is wrong, and where."""

    path: list[str] = strawberry.field(
        description='The place in the text, as in `["tasks", "3", "input", "depth"]`, counted from 0.'
    )
    code: ErrorCode = strawberry.field(description="What is wrong, for programs.")
    message: str = strawberry.field(description="What is wrong, as a sentence for people.")


@strawberry.type(description="What becomes of one task of a text.")
class ImportItem:
    """One line of the plan."""

    index: int = strawberry.field(description="Which task of the text, counted from 0.")
    name: str | None = strawberry.field(description="Its name in the text; null when it has none.")
    group: str | None = strawberry.field(description="Its group in the text.")
    step: ImportStep | None = strawberry.field(description="What is done; null when problems stand against it.")
    saved_as: str | None = strawberry.field(description="The name that it gets.")
    task_id: UUID | None = strawberry.field(
        graphql_type=strawberry.ID | None, description="The task that there is, or that was made; null before that."
    )
    schedules_added: int = strawberry.field(description="How many schedules are made.")
    schedules_removed: int = strawberry.field(description="How many schedules are deleted.")
    notes: list[str] = strawberry.field(description="What is worth knowing and stands against nothing.")
    problems: list[ImportProblem] = strawberry.field(description="What stands against it.")

    @classmethod
    def of(cls, item: plans.ImportItem) -> ImportItem:
        """The line from the service's."""
        return cls(
            index=item.prepared.index, name=item.prepared.name, group=item.prepared.group, step=item.step,
            saved_as=item.name, task_id=item.task_id, schedules_added=len(item.added),
            schedules_removed=len(item.removed), notes=item.notes, problems=_problems(item.problems),
        )  # fmt: skip


def _problems(found: list[plans.ImportProblem]) -> list[ImportProblem]:
    return [ImportProblem(path=list(one.path), code=ErrorCode(one.code), message=one.message) for one in found]


@strawberry.type(description="What an import does, task by task.")
class ImportPlan:
    """All lines, and how many there are of each kind."""

    created: int = strawberry.field(description="How many tasks are saved.")
    renamed: int = strawberry.field(description="How many are saved by another name.")
    replaced: int = strawberry.field(description="How many take the place of what there is.")
    skipped: int = strawberry.field(description="How many are left out, because their names are taken.")
    unchanged: int = strawberry.field(description="How many are there already as the text says.")
    problems: list[ImportProblem] = strawberry.field(
        description="All that stands against the import; none in the best case."
    )
    items: list[ImportItem] = strawberry.field(description="What becomes of each task, in the order of the text.")

    @classmethod
    def of(cls, plan: plans.ImportPlan) -> ImportPlan:
        """The plan from the service's."""
        return cls(
            created=plan.count(ImportStep.CREATE),
            renamed=plan.count(ImportStep.RENAME),
            replaced=plan.count(ImportStep.REPLACE),
            skipped=plan.count(ImportStep.SKIP),
            unchanged=plan.count(ImportStep.UNCHANGED),
            problems=_problems(plan.problems),
            items=[ImportItem.of(item) for item in plan.items],
        )


# Exporting.


@strawberry.input(description="Which saved tasks to write, and how.")
class ExportTasksInput:
    """The arguments of an export."""

    select: TaskSelection | None = strawberry.field(default=UNSET, description="Which tasks; all when left out.")
    format: TextFormat = strawberry.field(default=TextFormat.YAML, description="How they are written.")


@strawberry.type(description="Saved tasks with their schedules as text, without ids, runs and times of change.")
class ExportTasksSuccess:
    """A text for `importTasks`."""

    text: str = strawberry.field(description="The text; of the same tasks it is always the same.")
    tasks: int = strawberry.field(description="How many tasks it holds.")
    schedules: int = strawberry.field(description="How many schedules they have.")


ExportTasksResult = Annotated[
    ExportTasksSuccess | InvalidArgument,
    strawberry.union("ExportTasksResult", description="The text, or why there is none."),
]


@strawberry.type
class TransferQueries:
    """What can be taken elsewhere."""

    @strawberry.field(description="Saved tasks with their schedules as text, for `importTasks` here or elsewhere.")
    async def export_tasks(
        self,
        info: Info,
        input: Annotated[ExportTasksInput | None, strawberry.argument(description="Which, and how.")] = UNSET,
    ) -> ExportTasksResult:
        """Hand the wish to the service."""
        wish = given(input) or ExportTasksInput()
        selection = selection_of(wish.select, True) if given(wish.select) and wish.select else service.ALL
        transfer = info.context.service.transfer
        made = await transfer.export_tasks(selection, wish.format, principal=info.context.principal)
        return ExportTasksSuccess(text=made.text, tasks=made.tasks, schedules=made.schedules)


# Importing.


@strawberry.input(description="A text with saved tasks, and what becomes of them.")
class ImportTasksInput:
    """The arguments of an import."""

    text: str = strawberry.field(description="What `exportTasks` has written, or somebody by hand.")
    format: TextFormat | None = strawberry.field(
        default=UNSET, description="How it is written; by default JSON when it begins with a brace, else YAML."
    )
    on_conflict: OnConflict = strawberry.field(
        default=OnConflict.SKIP, description="What becomes of a task whose name is taken within its group."
    )
    pause_schedules: bool = strawberry.field(
        default=False, description="Whether all schedules are stored paused; else they tick from now on."
    )
    dry_run: bool = strawberry.field(default=False, description="Only say what would be done, with every problem.")


@strawberry.type(description="All tasks of the text are as the plan says; in a dry run nothing was done.")
class ImportTasksSuccess:
    """A plan, carried out or not."""

    done: bool = strawberry.field(description="Whether it was carried out; false in a dry run.")
    plan: ImportPlan = strawberry.field(description="What becomes of each task.")


@refusal(task_errors.ImportImpossible, lambda error: {"plan": ImportPlan.of(error.plan)})
class ImportImpossible(Error):
    """Some tasks of the text cannot be imported, so none was."""

    plan: ImportPlan = strawberry.field(description="Which tasks, and what is wrong with them.")


ImportTasksResult = Annotated[
    ImportTasksSuccess | ImportImpossible | InvalidArgument,
    strawberry.union("ImportTasksResult", description="What was imported, or why nothing was."),
]


@strawberry.mutation(description="Save the tasks of a text with their schedules: all as the plan says, or none.")
async def import_tasks(
    info: Info, input: Annotated[ImportTasksInput, strawberry.argument(description="The text, and how it is taken.")]
) -> ImportTasksResult:
    """Hand the wish to the service."""
    imported = await info.context.service.transfer.import_tasks(
        input.text,
        form=given(input.format),
        on_conflict=input.on_conflict,
        pause_schedules=input.pause_schedules,
        dry_run=input.dry_run,
        principal=info.context.principal,
        allow_private=False,
    )
    return ImportTasksSuccess(done=imported.is_done, plan=ImportPlan.of(imported.plan))
