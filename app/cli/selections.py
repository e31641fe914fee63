"""Runs and saved tasks that a command acts on: by ids or by the options of a filter, the same for all such commands.

``runs_chosen`` and ``tasks_chosen`` put these options before those of a command, and hand the selection to it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from app.cli import arguments, run_options, task_options
from app.cli.outcomes import Refusal

All = Annotated[bool, typer.Option("--all", help="Say that a filter which everything fits is meant as it is.")]


def _runs(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Just these runs.")] = None,
    status: run_options.Status = None,
    definition: run_options.Definition = None,
    queue: Annotated[list[str] | None, typer.Option(help="Only runs of this queue, once for each.")] = None,
    tag: run_options.Tag = None,
    task: run_options.Task = None,
    group: run_options.Group = None,
    owner: run_options.Owner = None,
    schedule: run_options.Schedule = None,
    batch: run_options.Batch = None,
    search: run_options.Search = None,
    all: All = False,
) -> Any:
    from app.conditions import TagFilter
    from app.run_filters import RunFilter
    from app.service.bulk import RunSelection

    filter = RunFilter(
        statuses=status or None,
        definition_ids=definition or None,
        queues=queue or None,
        tags=TagFilter(all=tag) if tag else None,
        task_ids=arguments.ids(task, "--task"),
        groups=group or None,
        owners=owner or None,
        schedule_ids=arguments.ids(schedule, "--schedule"),
        batch_ids=arguments.ids(batch, "--batch"),
        search=search,
    )
    if not ids:
        return RunSelection(filter=filter, all=all)
    _one_way(filter != RunFilter() or all)
    return RunSelection(ids=ids)


def _tasks(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Just these tasks.")] = None,
    definition: task_options.Definition = None,
    group: task_options.Group = None,
    owner: task_options.Owner = None,
    tag: task_options.Tag = None,
    search: Annotated[str | None, typer.Option(help="Words in names and descriptions.")] = None,
    all: All = False,
) -> Any:
    from app.conditions import TagFilter
    from app.service.bulk import TaskSelection
    from app.service.saved_reading import TaskQuestion
    from app.task_filters import TaskFilter

    filter = TaskFilter(
        definition_ids=definition or None,
        groups=group or None,
        owners=owner or None,
        tags=TagFilter(all=tag) if tag else None,
    )
    if not ids:
        return TaskSelection(question=TaskQuestion(filter=filter, search=search), all=all)
    _one_way(filter != TaskFilter() or search is not None or all)
    return TaskSelection(ids=ids)


def _one_way(is_filtered: bool) -> None:
    if is_filtered:
        raise Refusal("Name items by their ids, or choose them by options, not both.")


def runs_chosen(command: Callable[..., None]) -> Callable[..., None]:
    """A command on runs: its first parameter is the ``RunSelection`` that ids and options say."""
    return _with_selection(command, _runs)


def tasks_chosen(command: Callable[..., None]) -> Callable[..., None]:
    """A command on saved tasks: its first parameter is the ``TaskSelection`` that ids and options say."""
    return _with_selection(command, _tasks)


def _with_selection(command: Callable[..., None], select: Callable[..., Any]) -> Callable[..., None]:
    choice = inspect.signature(select, eval_str=True).parameters
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    def chosen(**given: Any) -> None:
        selection = select(**{name: given.pop(name) for name in choice})
        command(selection, **given)

    # The command line is made from the signature.
    parameters = [*choice.values(), *own]
    kind = inspect.Parameter.KEYWORD_ONLY
    chosen.__signature__ = inspect.Signature([each.replace(kind=kind) for each in parameters])  # type: ignore[attr-defined]
    chosen.__annotations__ = {each.name: each.annotation for each in parameters}
    chosen.__doc__, chosen.__name__ = command.__doc__, command.__name__
    return chosen
