"""What ``taskloom dev`` promises, asked of real processes."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.dev.account import server_account
from app.dev.places import make_public, temporary_root
from tests.dev.dev_process import DevProcess, is_alive, until

RUNNING = "Taskloom is running"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A directory for checkouts, with a short path that the servers may enter."""
    root = temporary_root(server_account(Path("/nonexistent")))
    path = Path(tempfile.mkdtemp(prefix="taskloom-checkouts-", dir=root))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def checkout(folder: Path) -> Path:
    """A directory that stands for a checkout; the tests run in it one after the other, on the same data."""
    return make_public(folder / "checkout")


def _ask_database(dev: DevProcess, statement: str) -> Any:
    found = re.search(r"PostgreSQL +\| process \d+, (\S+)", dev.said)
    assert found

    async def ask() -> Any:
        connection: Any = await asyncpg.connect(found[1])
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("ask", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_worker_first_and_the_databases_last_and_leaves_no_process(
    checkout: Path, ask: signal.Signals
) -> None:
    with DevProcess(checkout) as dev:
        dev.until_said(RUNNING)
        pids = dev.pids()

        assert dev.signal(ask) == 0

    assert not [pid for pid in pids if is_alive(pid)]
    order = [dev.said.index(text) for text in ("worker      | drained", "server      | bye", "taskloom    | stopped")]
    assert order == sorted(order)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_supervisor_that_is_killed_leaves_no_process(checkout: Path) -> None:
    with DevProcess(checkout) as dev:
        dev.until_said(RUNNING)
        pids = dev.pids()

        dev.signal(signal.SIGKILL)

        until(lambda: not [pid for pid in pids if is_alive(pid)], "all children end")


def test_rows_are_found_again_after_everything_was_killed(checkout: Path) -> None:
    with DevProcess(checkout) as dev:
        dev.until_said(RUNNING)
        _ask_database(dev, "CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(dev.pid_of("PostgreSQL"), signal.SIGKILL)
        dev.signal(signal.SIGKILL)

    with DevProcess(checkout) as dev:
        dev.until_said(RUNNING)
        assert _ask_database(dev, "SELECT answer FROM kept") == 42


def test_whatever_dies_is_started_again(checkout: Path) -> None:
    with DevProcess(checkout) as dev:
        dev.until_said(RUNNING)
        for who in ("PostgreSQL", "Valkey", "server", "worker"):
            os.kill(dev.pid_of(who), signal.SIGKILL)
            dev.until_said(f"{who} ended (SIGKILL)")
            dev.until_said(f"{who} runs again")
        assert _ask_database(dev, "SELECT 1") == 1
        assert dev.signal(signal.SIGTERM) == 0


def test_a_second_run_in_the_same_checkout_is_refused_with_a_clear_sentence(checkout: Path) -> None:
    with DevProcess(checkout) as first:
        first.until_said(RUNNING)
        port = re.search(r"server +\| process \d+, port (\d+)", first.said)
        assert port
        with DevProcess(checkout, PORT=port[1]) as second:
            second.until_said(f"Taskloom is already running in this checkout (process {first.process.pid})")
            assert second.process.wait(10) == 1
        assert first.process.poll() is None


def test_two_checkouts_run_side_by_side(checkout: Path, folder: Path) -> None:
    other = make_public(folder / "other")
    with DevProcess(checkout) as one, DevProcess(other) as two:
        one.until_said(RUNNING)
        two.until_said(RUNNING)
        assert not set(one.pids()) & set(two.pids())


def test_a_port_in_use_is_said_before_anything_is_started(checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with DevProcess(checkout, PORT=str(port)) as dev:
            dev.until_said(f"cannot listen on 127.0.0.1 port {port}")
            assert dev.process.wait(10) == 1
    assert "PostgreSQL" not in dev.said


def test_a_server_that_does_not_come_up_ends_the_run_with_a_sentence(checkout: Path) -> None:
    with DevProcess(checkout, STAND_IN_SERVER="nonsense") as dev:
        dev.until_said("The server ended before it answered")
        assert dev.process.wait(10) == 1
    assert not is_alive(dev.pid_of("PostgreSQL"))


def test_given_servers_are_used_and_none_are_started(folder: Path) -> None:
    fresh = make_public(folder / "fresh")
    with DevProcess(fresh, DATABASE_URL="postgresql://there/db", REDIS_URL="redis://there") as dev:
        dev.until_said(RUNNING)
        assert "PostgreSQL  | not started, for DATABASE_URL is set" in dev.said
        assert "Valkey      | not started, for REDIS_URL is set" in dev.said
        assert "with postgresql://there/db" in dev.said
    assert not (fresh / ".taskloom" / "postgres").exists()


def test_a_path_too_long_for_a_socket_gets_a_short_one(folder: Path) -> None:
    deep = make_public(folder / ("a directory with a long name, and spaces " * 3).strip())
    with DevProcess(deep) as dev:
        dev.until_said(RUNNING)
        assert _ask_database(dev, "SELECT 1") == 1
        assert re.search(r"unix:///\S*/taskloom-\d+-\w+/valkey.sock", dev.said)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands its servers to another user")
def test_root_below_a_private_home_keeps_its_data_where_the_servers_may_enter(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    (private / "checkout").mkdir()
    with DevProcess(private / "checkout") as dev:
        dev.until_said(RUNNING)
        found = re.search(r"data in (\S+)", dev.said)
        assert found
        assert _ask_database(dev, "SELECT 1") == 1
        assert dev.signal(signal.SIGTERM) == 0
    assert private not in Path(found[1]).parents
    shutil.rmtree(found[1])
    with suppress(OSError):
        Path(found[1]).parent.rmdir()
