"""``taskloom schema``: the file ``schema.graphql``, exported from the code and compared with it."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer

from app.cli.outcomes import ExitCode, Refusal
from app.cli.terminal import complain, err, out
from app.counting import counted

commands = typer.Typer(help="Export the GraphQL schema, or check the exported file.", no_args_is_help=True)

DIFF_LINES = 30


@commands.command()
def export(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; - prints it. schema.graphql by default.")
    ] = None,
) -> None:
    """Write the GraphQL schema to a file."""
    from app.schema import export as schema

    if output == Path("-"):
        print(schema.export(), end="")
        return
    path = output or schema.SCHEMA_FILE
    try:
        schema.write(path)
    except OSError as error:
        raise Refusal(f"{path} cannot be written: {error.strerror}. Choose another file with --output.") from None
    out.print(f"The schema is in {path}.", soft_wrap=True)


@commands.command()
def check(
    path: Annotated[Path | None, typer.Argument(help="The file to check; schema.graphql by default.")] = None,
) -> None:
    """Check that the exported schema is what the code says; ends with 1 and a diff when it is not."""
    from app.schema import export as schema

    path = path or schema.SCHEMA_FILE
    if not path.is_file():
        raise Refusal(f"There is no file {path}. `taskloom schema export --output {path}` writes it.")
    if schema.is_in_step(path):
        out.print(f"{path.name} is what the code says.", soft_wrap=True)
        return
    _show_difference(path.read_text(encoding="utf-8"), schema.export(), path.name)
    complain(f"{path.name} is out of step with the code: run `taskloom schema export`, and commit the file.")
    raise typer.Exit(ExitCode.FAILED)


def _show_difference(there: str, expected: str, name: str) -> None:
    lines = list(difflib.unified_diff(there.splitlines(), expected.splitlines(), name, "the code", n=1, lineterm=""))
    for line in lines[:DIFF_LINES]:
        colour = {"+": "green", "-": "red"}.get(line[:1])
        err.print(line, style=colour, soft_wrap=True)
    if len(lines) > DIFF_LINES:
        err.print(f"… and {counted(len(lines) - DIFF_LINES, 'more line')}", style="dim")
