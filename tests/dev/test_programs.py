"""Where the servers' programs come from, and where they go for another user."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.dev.account import Account, server_account
from app.dev.errors import DevError
from app.dev.options import home_of
from app.dev.places import may_enter, temporary_root
from app.dev.postgres import EmbeddedPostgres
from app.dev.programs import Program, find_postgres, postgres_major

# An account that owns nothing here.
STRANGER = Account(uid=2**30, gid=2**30)
SYSTEM_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("1[5-9]/bin"))


def test_a_directory_without_postgres_is_answered_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PG_BIN_DIR", "/nonexistent")

    with pytest.raises(DevError, match=r"PG_BIN_DIR.*DATABASE_URL"):
        find_postgres()


def test_a_program_that_another_user_may_not_reach_is_copied_with_its_libraries() -> None:
    root = temporary_root(server_account(Path("/nonexistent")))
    private = Path(tempfile.mkdtemp(prefix="taskloom-test-", dir=root))
    try:
        original = private / "wheel"
        (original / "bin").mkdir(parents=True)
        (original / "bin" / "server").write_text("#!/bin/sh")
        (original / "bin" / "server").chmod(0o700)
        (private / "wheel.libs").mkdir()
        (private / "wheel.libs" / "library.so").touch(mode=0o600)
        program = Program(original / "bin" / "server", (original, private / "wheel.libs"))

        copy = program.for_account(STRANGER, private / "store")

        assert copy.path.stat().st_mode & 0o777 == 0o755
        assert (copy.path.parents[2] / "wheel.libs" / "library.so").stat().st_mode & 0o444 == 0o444
    finally:
        shutil.rmtree(private)


def test_the_data_lie_in_the_checkout_and_of_an_installed_package_where_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed, checkout, project = (tmp_path / name for name in ("site-packages", "checkout", "project"))
    checkout.mkdir()
    (checkout / "pyproject.toml").touch()
    project.mkdir()
    monkeypatch.chdir(project)
    assert (home_of(installed), home_of(checkout)) == (project, checkout)


def test_what_is_below_a_private_directory_cannot_be_entered_by_others(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)

    assert not may_enter(private / "inside", STRANGER)
    assert may_enter(private / "inside", None)


@pytest.mark.skipif(not SYSTEM_POSTGRES, reason="there is no PostgreSQL of the system")
async def test_a_postgres_of_the_system_serves_as_well(monkeypatch: pytest.MonkeyPatch, server_home: Path) -> None:
    monkeypatch.setenv("PG_BIN_DIR", str(SYSTEM_POSTGRES[0]))
    server = EmbeddedPostgres(server_home / "system", durable=False)
    await server.start()
    connection: Any = await asyncpg.connect(server.url)
    try:
        version = await connection.fetchval("SHOW server_version_num")
        assert int(version) // 10000 == postgres_major(SYSTEM_POSTGRES[0] / "postgres")
        assert await connection.fetchval("SELECT upper('été')") == "ÉTÉ"
    finally:
        await connection.close()
        await server.stop()
