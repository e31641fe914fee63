"""Options that say what a run was made from: a saved task, its group and owner, a schedule, a batch."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.arguments import principals

Task = Annotated[list[str] | None, typer.Option(help="Only runs of the saved task of this id, once for each.")]
Group = Annotated[list[str] | None, typer.Option(help="Only runs of saved tasks of this group, once for each.")]
Owner = Annotated[
    list[str] | None,
    typer.Option(callback=principals, help="Only runs of saved tasks of this owner, as in USER:ada, once for each."),
]
Schedule = Annotated[list[str] | None, typer.Option(help="Only runs of the schedule of this id, once for each.")]
Batch = Annotated[list[str] | None, typer.Option(help="Only runs of the batch of this id, once for each.")]
