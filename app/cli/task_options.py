"""What commands on saved tasks take alike: a task's id, and the options that choose tasks."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.arguments import principals

TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task's id.")]
Definition = Annotated[
    list[str] | None, typer.Option("--definition", "-d", help="Only tasks of this definition, once for each.")
]
Group = Annotated[list[str] | None, typer.Option(help="Only tasks of this group, once for each.")]
Owner = Annotated[
    list[str] | None,
    typer.Option(callback=principals, help="Only tasks of this owner, as in USER:ada, once for each."),
]
Tag = Annotated[list[str] | None, typer.Option("--tag", "-t", help="Only tasks with this tag; of several, all.")]
