"""``taskloom new-task``: a first module of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.outcomes import Refusal
from app.cli.terminal import out


def new_task(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The id of the definition, as in nightly-report.")],
    directory: Annotated[Path, typer.Option("--directory", "-d", help="Where to write the module.")] = Path("."),
) -> None:
    """Write a commented example of a task definition, ready to be run and changed."""
    from app.new_task import NewTaskRefused, example_input, write

    try:
        path = write(name, directory)
    except NewTaskRefused as refusal:
        raise Refusal(str(refusal)) from None
    where = f"PYTHONPATH={directory} " if directory != Path(".") else "PYTHONPATH=. "
    out.print(
        f"Wrote {path}. Load it in a worker, then trigger it:\n\n"
        f"  {where}TASKLOOM_TASKS={path.stem} taskloom worker\n"
        f"  taskloom trigger {name} --input '{example_input()}' --follow\n\n"
        f"With `make run`: {where}TASKLOOM_TASKS={path.stem} make run",
        soft_wrap=True,
    )
