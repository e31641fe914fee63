"""Peers are measured each by itself; one that cannot take part says why and keeps nobody else from it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from tests.bench.bed import Bed
from tests.bench.peers import comparison
from tests.bench.peers.catalogue import PEERS, Peer
from tests.bench.peers.comparison import Line
from tests.bench.peers.contest import PROGRAMS, Result, play
from tests.bench.peers.environment import Unavailable, installed

# arq is here anyway, so that the tests need to install nothing.
HERE = Path(sys.executable).parent
ARQ = dataclasses.replace(next(peer for peer in PEERS if peer.name == "arq tuned"), jobs=150)


async def test_a_peer_does_all_its_jobs_and_is_timed_in_the_processes_that_do_them(bed: Bed) -> None:
    result = await play(ARQ, bed, HERE, 2)
    assert result.rate > 0
    assert len(result.starts) == 2
    assert min(result.starts) > 0
    assert {"client", "worker"} <= set(result.microseconds)
    assert not await bed.look.fetchval("SELECT count(*) FROM pg_database WHERE datname = 'peer'")


async def test_a_worker_that_does_not_start_is_told_at_once_with_its_last_words(bed: Bed) -> None:
    broken = dataclasses.replace(ARQ, worker=("python", "-c", "raise SystemExit('no such broker')"))
    with pytest.raises(Unavailable, match="no such broker"):
        await play(broken, bed, HERE, 1)


async def test_a_client_that_fails_is_told_with_its_last_words(bed: Bed) -> None:
    with pytest.raises(Unavailable, match="with_nobody"):
        await play(dataclasses.replace(ARQ, program="with_nobody"), bed, HERE, 1)


async def test_a_peer_that_cannot_be_installed_says_why_and_is_tried_again_next_time(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"could not be installed|no uv in \.tools"):
            await installed("nobody at all", ["no requirement =="], tmp_path)
    assert not (tmp_path / "nobody-at-all" / "requirements").exists()


def test_the_table_compares_with_the_first_line_and_keeps_a_place_for_who_was_not_measured() -> None:
    ours = Line("Taskloom", "as it comes", "all", 100, [Result(1000.0, {"worker": 50.0}, [1.0, 2.0, 9.0])])
    peer = Line("slow", "tuned", "nothing", 100, [Result(rate, {"worker": rate}, [3.0]) for rate in (400, 500, 900)])
    away = Line("away", "tuned", "nothing", 100, trouble="it could not be installed")
    assert comparison.rows([ours, peer, away]) == [
        ("Taskloom", "1,000", "1.0", "2 ms", "9 ms", "worker 50", "all"),
        ("slow", "500", "2.0", "3 ms", "3 ms", "worker 500", "nothing"),
        ("away", "not measured", "", "", "", "", "nothing"),
    ]
    assert away.sentence == "away: tuned; 100 jobs. After 0 repetitions it could not be installed."
    assert peer.sentence == "slow: tuned; 100 jobs."


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_has_its_program_and_pins_what_it_is_measured_with(peer: Peer) -> None:
    assert (PROGRAMS / f"{peer.program}.py").exists()
    assert all("==" in requirement for requirement in peer.requirements)
