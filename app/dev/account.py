"""Who the embedded servers run as: PostgreSQL refuses to run as root, so root hands them to a lesser user."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.dev.errors import DevError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Account:
    """The user and group a server process takes on when it is started by root."""

    uid: int
    gid: int


def server_account(home: Path) -> Account | None:
    """The account for a server that lives in ``home``, or None when it runs as whoever starts it.

    Root hands a server to the owner of its files, and a new one to ``nobody``.

    Raises:
        DevError: root starts a server and the system has no user ``nobody``.
    """
    if os.geteuid() != 0:
        return None
    if home.is_dir() and (found := home.stat()).st_uid != 0:
        return Account(found.st_uid, found.st_gid)
    return _nobody()


def _nobody() -> Account:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise DevError(
            "This system has no user 'nobody' to run the servers as: run as a user other than root."
        ) from None
    return Account(entry.pw_uid, entry.pw_gid)
