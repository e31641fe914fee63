"""Manifests that several runs write at once, as threads of one worker and as workers beside each other do."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from workers.tasks.manifest import Manifest, ManifestTaken

SHA256 = "0" * 64
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


def test_a_run_that_begins_while_another_publishes_is_not_published_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (Manifest(str(tmp_path / "SHA256SUMS")) for _ in range(2))
    first.begin()
    first.add(SHA256, b"first")
    first.save()
    replace = os.replace

    def begin_before(source: bytes, target: bytes) -> None:
        """The second begins in the last moment before the first moves its file."""
        monkeypatch.setattr(os, "replace", replace)
        second.begin()
        replace(source, target)

    monkeypatch.setattr(os, "replace", begin_before)
    assert "Another run has begun" in str(told(first.publish))
    assert not (tmp_path / "SHA256SUMS").exists()
    second.add(SHA256, b"second")
    second.save()
    second.publish()
    assert (tmp_path / "SHA256SUMS").read_text() == f"{SHA256}  second\n"
    assert [path.name for path in tmp_path.iterdir()] == ["SHA256SUMS"]


def test_a_run_that_was_killed_while_it_published_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, next_one = (Manifest(str(tmp_path / "SHA256SUMS")) for _ in range(2))
    killed.begin()
    killed.add(SHA256, b"file")
    written = killed.save()
    replace = os.replace

    def be_killed_at_the_second(source: bytes, target: bytes) -> None:
        replace(source, target)
        monkeypatch.setattr(os, "replace", _be_killed)

    monkeypatch.setattr(os, "replace", be_killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        killed.publish()
    monkeypatch.undo()
    assert next_one.resume(written)
    next_one.publish()
    assert (tmp_path / "SHA256SUMS").read_text() == f"{SHA256}  file\n"
    assert [path.name for path in tmp_path.iterdir()] == ["SHA256SUMS"]


def _be_killed(_source: bytes, _target: bytes) -> None:
    raise KeyboardInterrupt


def told(step: Callable[[], object]) -> str | None:
    try:
        step()
    except ManifestTaken as error:
        return str(error)
    return None
