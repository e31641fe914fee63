"""Compares Taskloom with its peers: prints tables, and with ``--write`` keeps them in ``docs/benchmarks.md``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import uvloop

from tests.bench import bed, report
from tests.bench.__main__ import versions
from tests.bench.bed import Bed
from tests.bench.peers import comparison, stock
from tests.bench.peers.catalogue import PEERS, Peer
from tests.bench.peers.comparison import Line
from tests.bench.peers.contest import OURS, play
from tests.bench.peers.environment import Unavailable, installed

NAMES = (*(peer.name for peer in PEERS), stock.NAME)


async def main(only: Sequence[str], repetitions: int, starts: int, *, write: bool) -> None:
    """Measure and report."""
    peers = [peer for peer in PEERS if peer.name in only]
    async with bed.made() as made:
        machine = report.machine(await versions(made))
        if peers:
            lines = await _queues(peers, made, repetitions, starts)
            said = [*comparison.conditions(machine, repetitions, starts), *(line.sentence for line in lines)]
            _tell(comparison.TITLE, comparison.HEADINGS, comparison.rows(lines), said, write=write)
        if stock.NAME in only:
            try:
                pairs = await stock.measured(made, await installed(stock.NAME, stock.REQUIREMENTS), repetitions)
            except Unavailable as reason:
                sys.exit(f"The stock server was not measured: {reason}.")
            said = [*machine, *stock.conditions(repetitions)]
            _tell(stock.TITLE, stock.HEADINGS, [pair.row() for pair in pairs], said, write=write)


async def _queues(peers: Sequence[Peer], made: Bed, repetitions: int, starts: int) -> list[Line]:
    """Measure each contestant once, then each again: a busy moment of the machine meets all of them alike."""
    lines = [Line(ours.name, ours.settings, ours.keeps, ours.jobs) for ours in OURS]
    lines += [Line(peer.name, f"{peer.requirements[0]}, {peer.settings}", peer.keeps, peer.jobs) for peer in peers]
    for _ in range(repetitions):
        for ours, line in zip(OURS, lines, strict=False):
            line.results.append(await ours.play(made, starts))
        for peer, line in zip(peers, lines[len(OURS) :], strict=True):
            await _meet(peer, line, made, starts)
    return lines


async def _meet(peer: Peer, line: Line, made: Bed, starts: int) -> None:
    """One repetition of a peer; one that cannot take part is not tried again, and keeps nobody else from it."""
    if line.trouble:
        return
    try:
        line.results.append(await play(peer, made, await installed(peer.name, peer.requirements), starts))
    except Unavailable as reason:
        line.trouble = str(reason)


def _tell(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], said: Sequence[str], *, write: bool
) -> None:
    report.show(headings, rows, said)
    if write:
        report.write(title, headings, rows, said)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the tables to docs/benchmarks.md")
    parser.add_argument("--repetitions", type=int, default=3, help="medians of so many (3)")
    parser.add_argument("--starts", type=int, default=30, help="how many single jobs are timed in each (30)")
    parser.add_argument(
        "--only", action="append", choices=NAMES, help="only this peer, or the stock server; may be given again"
    )
    chosen = parser.parse_args()
    uvloop.run(main(chosen.only or NAMES, chosen.repetitions, chosen.starts, write=chosen.write))
