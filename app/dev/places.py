"""Where the embedded servers keep their files and sockets, and who may enter there."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from app.dev.account import Account, server_account
from app.dev.errors import DevError

if TYPE_CHECKING:
    from collections.abc import Iterator

# A socket's path must fit in 104 bytes on macOS and 108 on Linux.
MAX_SOCKET_PATH_BYTES = 100
# Paths go into URLs and lists that split at commas and do not unquote: anything else gets a plain path in /tmp.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+-]+")


def state_directory(checkout: Path) -> Path:
    """The directory where ``make run`` keeps its data for this checkout, created when it is missing.

    It is ``.taskloom`` in the checkout; when root runs below a directory that the servers' account may not enter
    (such as a home with mode 0700), it is a directory of its own below the system's state folder.

    Raises:
        DevError: the directory cannot be created or belongs to somebody else.
    """
    local = checkout.resolve() / ".taskloom"
    account = server_account(local)
    if account is None:
        return make_private(local, None)
    place = local if may_enter(local.parent, account) else system_state(local.parent)
    return make_public(place)


def system_state(checkout: Path) -> Path:
    """Where the state of a checkout goes that the servers' account cannot enter: below the system's state folder."""
    root = Path("/var/db" if sys.platform == "darwin" else "/var/lib")
    return root / "taskloom" / f"{checkout.name}-{_short_hash(checkout)}"


def may_enter(path: Path, account: Account | None) -> bool:
    """Whether the account may go through every directory down to ``path``, or read and run it when it is a file."""
    if account is None:
        return True
    steps = (path, *path.parents)
    return all(_may_pass(step.stat(), account) for step in steps if step.exists())


def _may_pass(found: os.stat_result, account: Account) -> bool:
    if found.st_uid == account.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == account.gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)


def make_public(path: Path) -> Path:
    """Create ``path`` and what is missing above it as directories that everybody may enter, and return it.

    Raises:
        DevError: it cannot be created.
    """
    missing = [step for step in (path, *path.parents) if not step.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        for step in missing:
            # Not left to mkdir, whose mode the umask narrows.
            step.chmod(0o755)
    except OSError as error:
        raise DevError(f"The directory {path} cannot be made: {error.strerror}. Make its parent writable.") from error
    return path


def make_private(path: Path, account: Account | None) -> Path:
    """Create ``path`` as a directory with mode 0700 that belongs to the account, and return it.

    Raises:
        DevError: it cannot be created, cannot be entered, or belongs to somebody else.
    """
    owner = os.geteuid() if account is None else account.uid
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if account is not None and path.stat().st_uid == 0:
            os.chown(path, account.uid, account.gid)
        found = path.lstat()
    except OSError as error:
        raise DevError(f"The directory {path} cannot be made: {error.strerror}. Make its parent writable.") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner:
        raise DevError(f"{path} belongs to another user: remove it, or run as the user it belongs to.")
    if not may_enter(path.parent, account):
        raise DevError(f"The user that runs the servers may not enter {path.parent}: allow it with chmod o+x.")
    path.chmod(0o700)
    return path


def socket_directory(home: Path, socket_name: str, account: Account | None) -> Path:
    """The directory for a server's Unix socket: ``home``, or a short one when the path would not fit or is not plain.

    Raises:
        DevError: the short directory belongs to somebody else.
    """
    path = str(home / socket_name)
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES and _PLAIN_PATH.fullmatch(path):
        return home
    return make_private(temporary_root(account) / f"taskloom-{os.geteuid()}-{_short_hash(home)}", account)


def remove_socket_directory(sockets: Path, home: Path) -> None:
    """Remove a short socket directory when its server has stopped; does nothing to ``home`` itself."""
    if sockets != home:
        shutil.rmtree(sockets, ignore_errors=True)


def temporary_root(account: Account | None) -> Path:
    """The first temporary folder with a short and plain path that the account may enter.

    Raises:
        DevError: there is none.
    """
    for folder in _temporary_folders():
        if len(str(folder)) <= 60 and _PLAIN_PATH.fullmatch(str(folder)) and may_enter(folder, account):
            return folder
    raise DevError("No temporary folder can be used by the servers: set TMPDIR to one with a short path.")


def _temporary_folders() -> Iterator[Path]:
    for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        path = Path(folder).resolve()
        if path.is_dir() and os.access(path, os.W_OK):
            yield path


def _short_hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:10]
