"""The commands that are processes of an installation: ``dev``, ``serve``, ``worker`` and ``migrate``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Annotated

import typer

from app import ctrl_c
from app.cli.environment import given_settings, settings
from app.cli.outcomes import ExitCode
from app.cli.terminal import out
from app.hosts import check_host, free_port
from app.reporting import configure_logging
from app.settings import Settings

Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="The port to listen on; PORT or 8000 by default.", metavar="PORT")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (dev, serve, worker, migrate):
        app.command()(command)


def dev(port: Port = None) -> None:
    """Run everything here: PostgreSQL, Valkey, the server and a worker. Ctrl-C stops it."""
    from app.dev.supervisor import run_dev

    raise typer.Exit(run_dev(_changed(given_settings(), port=port)))


def serve(
    host: Annotated[
        str | None, typer.Option(help="The address to listen on; TASKLOOM_HOST or 127.0.0.1 by default.")
    ] = None,
    port: Port = None,
) -> None:
    """Run the HTTP server. It waits for a database that is away."""
    chosen = _changed(settings(), host=host, port=port)
    configure_logging(chosen)
    from app import main
    from app.registry import registry

    check_host(chosen)
    free_port(chosen.host, chosen.port)
    # uvicorn hands the signal on when it has stopped: that is the end of a server that was asked to stop, and no crash.
    signal.signal(signal.SIGTERM, _end)
    registry.load(chosen.task_modules)
    main.serve(chosen)


def worker(
    queue: Annotated[
        list[str] | None, typer.Option(help="A queue to serve, once for each; TASKLOOM_QUEUES by default.")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000, help="How many runs to execute at a time; TASKLOOM_CONCURRENCY or 100 by default."
        ),
    ] = None,
) -> None:
    """Run a worker. It waits for a database that is away; SIGTERM lets its runs reach a checkpoint first."""
    if queue:
        os.environ["TASKLOOM_QUEUES"] = ",".join(queue)
    if concurrency is not None:
        os.environ["TASKLOOM_CONCURRENCY"] = str(concurrency)
    settings()
    # In this process still, for whom signals and waits by its number; -P when this command does not import from the
    # directory that it was started in either.
    options = [] if os.getcwd() in sys.path else ["-P"]
    ctrl_c.keep_back()
    os.execv(sys.executable, [sys.executable, *options, "-m", "workers"])


def migrate(
    create_database: Annotated[
        bool, typer.Option("--create-database", help="Create the database first when it is not there.")
    ] = False,
) -> None:
    """Bring the database's tables to this version. Safe to run at any time, also by several at once."""
    url = settings().database_url
    from app import migrations

    async def run() -> tuple[str | None, str | None]:
        if create_database:
            await migrations.create_database(url)
        before = await migrations.current(url)
        return before, await migrations.upgrade(url)

    before, after = asyncio.run(run())
    if before == after:
        out.print(f"The database is at version {after}, which is the newest.")
    else:
        out.print(f"The database went from version {before or 'none'} to {after}.")


def _end(_signal: int, _frame: object) -> None:
    raise SystemExit(ExitCode.OK)


def _changed(settings: Settings, **changes: object) -> Settings:
    """The settings with those options that were given."""
    return settings.model_copy(update={name: value for name, value in changes.items() if value is not None})
