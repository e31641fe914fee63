"""What ``taskloom dev`` runs: the commands of its child processes and how the database is brought up to date."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path


def home_of(source: Path) -> Path:
    """The directory whose ``.taskloom`` holds the data of what is run from ``source``: a checkout's is its own.

    Of an installed package it is where the command is started, because site-packages go with every reinstallation.
    """
    return source if (source / "pyproject.toml").is_file() else Path.cwd()


CHECKOUT = home_of(Path(__file__).resolve().parents[2])


def _taskloom(command: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "app.cli", command)


async def _upgrade(database_url: str) -> str | None:
    # Imported here: Alembic takes a second, which a taken port or a second run need not wait for.
    from app.migrations import upgrade

    return await upgrade(database_url)


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What the supervisor runs and where; the defaults are those of ``taskloom dev``."""

    # The checkout, whose directory .taskloom holds the data.
    checkout: Path = CHECKOUT
    # The command of the HTTP server, which is told PORT and TASKLOOM_HOST and must answer GET /healthz.
    server: tuple[str, ...] = _taskloom("serve")
    # The command of the worker.
    worker: tuple[str, ...] = _taskloom("worker")
    # The command that builds GraphiQL when it is not built yet, and then ends; the server does not wait for it.
    graphiql: tuple[str, ...] = (sys.executable, "-m", "app.dashboard.build")
    # Brings the database with the given URL up to date and returns its version.
    migrate: Callable[[str], Awaitable[object]] = _upgrade
