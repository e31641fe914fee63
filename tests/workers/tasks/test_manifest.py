"""Manifests that several runs write at once, as threads of one worker and as workers beside each other do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from workers.tasks.manifest import Manifest, ManifestTaken

AT_ONCE = 4
ROUNDS = 100


def test_of_runs_that_begin_one_manifest_at_once_one_goes_on_and_the_others_are_told(tmp_path: Path) -> None:
    together = Barrier(AT_ONCE)

    def begin(_number: int) -> Manifest | str:
        manifest = Manifest(str(tmp_path / "SHA256SUMS"))
        together.wait()
        return told(manifest.begin) or manifest

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for _ in range(ROUNDS):
            begun = list(threads.map(begin, range(AT_ONCE)))
            outcomes = [one if isinstance(one, str) else told(one.save) for one in begun]
            assert outcomes.count(None) == 1
            assert all(sentence is None or "Give each run a manifest of its own" in sentence for sentence in outcomes)


def told(step: Callable[[], object]) -> str | None:
    try:
        step()
    except ManifestTaken as error:
        return str(error)
    return None
