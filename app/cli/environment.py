"""Which servers a command talks to: those of the environment, or else those that ``make run`` has started here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from pydantic import ValidationError

from app.cli.outcomes import Refusal
from app.cli.terminal import note
from app.hosts import place
from app.settings import Settings, get_settings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


EXAMPLES = {
    "DATABASE_URL": "postgresql://user:password@localhost:5432/taskloom",
    "REDIS_URL": "redis://:password@localhost:6379/0 or unix:///run/valkey.sock",
}
IN_A_PASSWORD = "in a password / ? # @ [ ] are %2F %3F %23 %40 %5B %5D"
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
FORMS = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "bool_parsing": "1 or 0",
}
"""What a setting must be, by the kind of error that Pydantic found."""
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
    if wrong := _wrong_url(name, url):
        raise Refusal(f"{name} {wrong}. Write it as in {EXAMPLES[name]}; {IN_A_PASSWORD}.")


def _wrong_url(name: str, url: str) -> str | None:
    """What is wrong with a URL, without its words, of which any may be of a password."""
    known = [f"{scheme}://" for scheme in SCHEMES[name]]
    if not url.strip().lower().startswith(tuple(known)):
        return f"must begin with {', '.join(known[:-1])} or {known[-1]}"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "is no URL: it has a '[' or ']' that is of no IPv6 address"
    user, _, hosts = parts.netloc.rpartition("@")
    if "@" in user:
        return "has more than one '@'"
    if not all(map(_has_good_port, hosts.split(","))):
        return "has a port that is no number from 1 to 65535"
    return _wrong_for_redis(url) if name == "REDIS_URL" else _wrong_for_postgres(parts.query)


def _has_good_port(host: str) -> bool:
    port = host.rpartition("]")[2].partition(":")[2]
    return not port or (port.isdecimal() and len(port) < 6 and 0 < int(port) < 65536)


def _wrong_for_postgres(query: str) -> str | None:
    mode = parse_qs(query).get("sslmode", ["prefer"])[-1]
    return None if mode in SSL_MODES else f"has an sslmode that is none of {', '.join(SSL_MODES)}"


def _wrong_for_redis(url: str) -> str | None:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return None if parts.path.strip("/") else "names no socket: its path begins with a third '/'"
    if parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        return "names a database that is no number"
    return None if not parts.query or _is_known_to_redis(url) else "has options behind its '?' that Redis has not"


def _is_known_to_redis(url: str) -> bool:
    from app.doorbell import connect

    try:
        connect(url).connection_pool.make_connection()
    except (ValueError, TypeError):
        return False
    return True


def _unreadable(error: ValidationError) -> str:
    """What is wrong with the settings, without the value, which may be a secret."""
    problems = [_problem(line) for line in error.errors(include_input=False, include_url=False)]
    return f"A setting in the environment cannot be used. {'; '.join(problems)}."


def _problem(line: ErrorDetails) -> str:
    variable, said = _variable(line["loc"][0]), line["msg"]
    if line["type"] == "value_error":
        return f"{variable}: {said.removeprefix('Value error, ')}"
    return f"{variable} must be {FORMS.get(line['type'], said.removeprefix('Input should be '))}"


def _variable(field: int | str) -> str:
    """The environment's name of a setting, which an error calls by its own where it is not read under an alias."""
    return f"TASKLOOM_{str(field).upper()}" if field in Settings.model_fields else str(field)
