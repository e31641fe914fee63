"""Options that choose runs: how they are, and the task, schedule or batch that they were made from."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.arguments import principals
from app.states import TaskRunStatus

Status = Annotated[
    list[TaskRunStatus] | None,
    typer.Option("--status", "-s", case_sensitive=False, help="Only runs that stand here, once for each."),
]
Definition = Annotated[
    list[str] | None, typer.Option("--definition", "-d", help="Only runs of this definition, once for each.")
]
Tag = Annotated[list[str] | None, typer.Option("--tag", "-t", help="Only runs with this tag; of several, all.")]
Task = Annotated[list[str] | None, typer.Option(help="Only runs of the saved task of this id, once for each.")]
Group = Annotated[list[str] | None, typer.Option(help="Only runs of saved tasks of this group, once for each.")]
Owner = Annotated[
    list[str] | None,
    typer.Option(callback=principals, help="Only runs of saved tasks of this owner, as in USER:ada, once for each."),
]
Schedule = Annotated[list[str] | None, typer.Option(help="Only runs of the schedule of this id, once for each.")]
Batch = Annotated[list[str] | None, typer.Option(help="Only runs of the batch of this id, once for each.")]
Search = Annotated[
    str | None,
    typer.Option(help="Words; each is in the name of the run, task or definition, in the error, or is a tag."),
]
