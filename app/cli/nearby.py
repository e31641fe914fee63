"""The servers that ``make run`` has started for this checkout, found by what it keeps in its state directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from app.dev.account import server_account
from app.dev.errors import DevError
from app.dev.options import CHECKOUT
from app.dev.places import socket_directory, system_state


@dataclass(frozen=True, slots=True)
class NearbyServers:
    """Where the servers of a running ``make run`` are."""

    state: Path
    database_url: str
    redis_url: str


def running_servers(checkout: Path = CHECKOUT) -> NearbyServers | None:
    """The servers of this checkout's ``make run``, or None when it does not run or is somebody else's."""
    local = checkout.resolve() / ".taskloom"
    for state in (local, system_state(local.parent)):
        if _is_running(state):
            return _servers(state)
    return None


def _is_running(state: Path) -> bool:
    """Whether the process that the lock names is alive. The lock itself is not tried: that could hinder a start."""
    try:
        os.kill(int((state / "lock").read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def _servers(state: Path) -> NearbyServers | None:
    try:
        postgres = _socket(state / "postgres", ".s.PGSQL.5432")
        valkey = _socket(state / "valkey", "valkey.sock")
    except (OSError, DevError):
        return None
    if not (postgres.exists() and valkey.exists()):
        return None
    return NearbyServers(state, f"postgresql://postgres@/taskloom?host={postgres.parent}&port=5432", f"unix://{valkey}")


def _socket(home: Path, name: str) -> Path:
    return socket_directory(home, name, server_account(home)) / name
