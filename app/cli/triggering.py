"""``taskloom trigger``: a run of a definition, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import arguments
from app.cli.asking import Code, asked
from app.cli.outcomes import ExitCode
from app.cli.terminal import note, out, print_json
from app.cli.unserved import say_if_unserved

if TYPE_CHECKING:
    from app.models import TaskRun
    from app.service import TaskService

TIME = "as in 90s, 5m, 2h, 1d or PT5M"
Input = Annotated[
    str | None, typer.Option("--input", "-i", help="The input as JSON; @file reads a file, - standard input.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs, and nothing else.")]
Wait = Annotated[
    bool, typer.Option("--wait", "-w", help="Wait until the run is final; ends with 1 unless it succeeds.")
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Wait, and print the run's log as it is written.")]


def trigger(
    definition: Annotated[
        str, typer.Argument(metavar="DEFINITION", help="The id of the definition, as in checksum-tree.")
    ],
    input: Input = None,
    name: Annotated[str | None, typer.Option(help="What people see; the definition's title by default.")] = None,
    delay: Annotated[str | None, typer.Option(help=f"Start this long from now at the earliest, {TIME}.")] = None,
    start_at: Annotated[
        str | None, typer.Option(help="Start then at the earliest, as in 2026-03-01T09:30Z; local time without offset.")
    ] = None,
    priority: Annotated[int | None, typer.Option(help="-1000 to 1000; higher runs earlier.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A word to find the run by, once for each.")] = None,
    queue: Annotated[str | None, typer.Option(help="The queue whose workers execute it.")] = None,
    parent: Annotated[str | None, typer.Option(help="The run it belongs to; aborting that one aborts it.")] = None,
    timeout: Annotated[str | None, typer.Option(help=f"The longest time for one attempt, {TIME}.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="How often to try, the first try included.")] = None,
    ttl: Annotated[str | None, typer.Option(help=f"Expire when not started this long after its start, {TIME}.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key and input give the same run.")] = None,
    unique_key: Annotated[str | None, typer.Option(help="At most one live run holds this key.")] = None,
    unique_policy: Annotated[
        str | None,
        typer.Option(help="While another run holds the key: REJECT (the default), RETURN_EXISTING or REPLACE."),
    ] = None,
    wait: Wait = False,
    follow: Follow = False,
    json: Json = False,
) -> None:
    """Trigger a run of a task definition."""
    from app.service import TriggerRequest

    request = TriggerRequest(
        definition_id=definition,
        input=arguments.json_value(input),
        name=name,
        delay=arguments.duration(delay, "--delay"),
        start_at=arguments.moment(start_at, "--start-at"),
        priority=priority,
        tags=tag or (),
        queue=queue,
        parent_id=parent,
        timeout=arguments.duration(timeout, "--timeout"),
        max_attempts=max_attempts,
        ttl=arguments.duration(ttl, "--ttl"),
        idempotency_key=idempotency_key,
        unique_key=unique_key,
        unique_policy=unique_policy.upper() if unique_policy else None,
    )

    async def run(tasks: TaskService) -> ExitCode:
        triggered = await tasks.submit(request, allow_private=False)
        if triggered.deduplicated:
            note("An earlier trigger with one of these keys had made the run.")
        return await show_triggered(tasks, triggered.run, wait=wait, follow=follow, json=json)

    raise typer.Exit(asked(run, Code.OWN))


async def show_triggered(tasks: TaskService, run: TaskRun, *, wait: bool, follow: bool, json: bool) -> ExitCode:
    """Show a run that has just been triggered, and what becomes of it where that is wanted."""
    if not json:
        out.print(f"Run {run.id} of {run.definition_id} is {run.status}.", soft_wrap=True)
    if wait or follow:
        # Here, because its progress bars take memory that a worker, which is a command too, has no use for.
        from app.cli.following import follow_to_the_end

        await say_if_unserved(tasks, run)
        return await follow_to_the_end(tasks, run, logs=follow, json=json)
    if json:
        from app.cli.documents import run_document

        print_json(run_document(run))
    return ExitCode.OK
