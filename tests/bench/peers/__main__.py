"""Compares Taskloom with its peers: prints a table, and with ``--write`` keeps it in ``docs/benchmarks.md``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import uvloop

from tests.bench import bed, report
from tests.bench.__main__ import versions
from tests.bench.peers import comparison
from tests.bench.peers.catalogue import PEERS, Peer
from tests.bench.peers.comparison import Line
from tests.bench.peers.contest import OURS, play
from tests.bench.peers.environment import Unavailable, installed


async def main(peers: Sequence[Peer], repetitions: int, starts: int, *, write: bool) -> None:
    """Measure each contestant once, then each again: a busy moment of the machine meets all of them alike."""
    lines = [Line(ours.name, ours.settings, ours.keeps, ours.jobs) for ours in OURS]
    lines += [Line(peer.name, f"{peer.requirements[0]}, {peer.settings}", peer.keeps, peer.jobs) for peer in peers]
    async with bed.made() as made:
        said = comparison.conditions(report.machine(await versions(made)), repetitions, starts)
        for _ in range(repetitions):
            for ours, line in zip(OURS, lines, strict=False):
                line.results.append(await ours.play(made, starts))
            for peer, line in zip(peers, lines[len(OURS) :], strict=True):
                await _meet(peer, line, made, starts)
    rows = comparison.rows(lines)
    said += [line.sentence for line in lines]
    report.show(comparison.HEADINGS, rows, said)
    if write:
        report.write(comparison.TITLE, comparison.HEADINGS, rows, said)


async def _meet(peer: Peer, line: Line, made: bed.Bed, starts: int) -> None:
    """One repetition of a peer; one that cannot take part is not tried again, and keeps nobody else from it."""
    if line.trouble:
        return
    try:
        line.results.append(await play(peer, made, await installed(peer), starts))
    except Unavailable as reason:
        line.trouble = str(reason)


if __name__ == "__main__":
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the table to docs/benchmarks.md")
    parser.add_argument("--repetitions", type=int, default=3, help="medians of so many (3)")
    parser.add_argument("--starts", type=int, default=30, help="how many single jobs are timed in each (30)")
    parser.add_argument("--only", action="append", choices=names, help="only this peer; may be given again")
    chosen = parser.parse_args()
    some = [peer for peer in PEERS if peer.name in (chosen.only or names)]
    uvloop.run(main(some, chosen.repetitions, chosen.starts, write=chosen.write))
