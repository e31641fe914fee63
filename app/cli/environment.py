"""Which servers a command talks to: those of the environment, or else those that ``make run`` has started here."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from pydantic import ValidationError

from app.cli.outcomes import Refusal
from app.cli.terminal import note
from app.settings import Settings, get_settings

SCHEMES = {
    "DATABASE_URL": ("postgresql", "postgres", "postgresql+asyncpg"),
    "REDIS_URL": ("redis", "rediss", "unix"),
}


def settings() -> Settings:
    """The settings of a command that talks to servers. Raises ``Refusal`` for one that cannot be used."""
    _use_servers_of_make_run()
    found = given_settings()
    _check_url("DATABASE_URL", found.database_url)
    _check_url("REDIS_URL", found.redis_url)
    return found


def given_settings() -> Settings:
    """The settings as the environment has them. Raises ``Refusal`` for one that cannot be read."""
    try:
        return get_settings()
    except ValidationError as error:
        raise Refusal(_unreadable(error)) from None


def database_place() -> str:
    """Where the database is meant to be, as people say it and without the password."""
    return place(get_settings().database_url)


def place(url: str) -> str:
    """Host and port of a URL, or its directory for a Unix socket; never the password."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    if directory := parse_qs(parts.query).get("host"):
        return directory[0]
    return f"{parts.hostname or 'localhost'}:{parts.port}" if parts.port else parts.hostname or "localhost"


def _use_servers_of_make_run() -> None:
    """Take over the URLs of this checkout's ``make run``; in the environment, so that task code finds them as well."""
    if os.environ.get("DATABASE_URL"):
        return
    from app.cli.nearby import running_servers

    servers = running_servers()
    if servers is None:
        return
    os.environ["DATABASE_URL"] = servers.database_url
    os.environ.setdefault("REDIS_URL", servers.redis_url)
    note(f"Using the servers of `make run` in {Path(servers.state)}; DATABASE_URL and REDIS_URL name others.")


def _check_url(name: str, url: str) -> None:
    try:
        scheme, port = urlsplit(url).scheme, urlsplit(url).port
    except ValueError as error:
        raise Refusal(f"{name} is no URL: {error}.") from None
    if scheme not in SCHEMES[name] or port == 0:
        raise Refusal(f"{name} must begin with {' or '.join(f'{known}://' for known in SCHEMES[name][:3])}.")


def _unreadable(error: ValidationError) -> str:
    """What is wrong with the settings, without the value, which may be a secret."""
    lines = error.errors(include_input=False, include_url=False)
    problems = [f"{_variable(line['loc'][0])}: {line['msg']}" for line in lines]
    return f"A setting in the environment cannot be used. {'; '.join(problems)}."


def _variable(field: int | str) -> str:
    """The environment's name of a setting, which an error calls by its own where it is not read under an alias."""
    return f"TASKLOOM_{str(field).upper()}" if field in Settings.model_fields else str(field)
