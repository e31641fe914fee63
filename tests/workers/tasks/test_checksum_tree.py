"""``checksum-tree``: a manifest that the real ``sha256sum -c`` accepts, whatever the tree, whatever interrupts it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app import TaskService
from app.models import TaskRun
from app.paging import PageArgs
from app.service import RerunFrom
from app.settings import Settings
from app.states import TaskRunStatus, TaskRunStatusReason
from tests.workbench import lines, until, working

LONG = timedelta(seconds=30)
ODD_NAMES = [
    b"plain", b"with space", b" leading", b"trailing ", b"back\\slash", b"new\nline", b"return\r", b"\\n", b"*star",
    b"caf\xc3\xa9", b"latin-\xe9", b"-", b"--check", b"#hash", b"tab\t", b"'quote\"", b"\xf0\x9f\x8c\xb3", b"~",
]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty directory."""
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Where the manifest is to be written, outside the tree."""
    return tmp_path / "SHA256SUMS"


def grow(root: Path, directories: int, files: int, size: int = 10) -> set[str]:
    """Files in directories; returns their paths."""
    paths = {f"d{d:03}/f{f:03}" for d in range(directories) for f in range(files)}
    for path in paths:
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes((path.encode() * size)[:size])
    return paths


def make(directory: Path, name: bytes) -> None:
    """A file with a name of any bytes, and a directory with one of that name."""
    path = os.fsencode(directory)
    os.mkdir(os.path.join(path, b"in " + name))
    for file in (os.path.join(path, name), os.path.join(path, b"in " + name, name)):
        with open(file, "wb") as opened:
            opened.write(name)


def with_content(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def content(path: Path) -> bytes:
    return path.read_bytes()


def checked(root: Path, manifest: Path) -> list[bytes]:
    """The lines of a manifest that ``sha256sum`` has accepted, every one of them."""
    done = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", manifest], cwd=root, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    return manifest.read_bytes().splitlines(keepends=True)


def paths_in(manifest: Path) -> list[str]:
    """The paths of a manifest without odd names."""
    return [text[66:] for text in manifest.read_text().splitlines()]


def expected(root: Path) -> list[bytes]:
    """The manifest as coreutils themselves make it: ``find``, ``sort``, ``sha256sum``."""
    script = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0r sha256sum --"
    made = subprocess.run(["sh", "-c", script], cwd=root, capture_output=True, check=True, stdin=subprocess.DEVNULL)
    return made.stdout.splitlines(keepends=True)


def asked(root: Path, manifest: Path, **more: Any) -> dict[str, Any]:
    return {"root": str(root), "manifest": str(manifest), "pause_seconds": 0, **more}


async def hashed(tasks: TaskService, root: Path, manifest: Path, **more: Any) -> TaskRun:
    """A run, once it is final."""
    run = await tasks.trigger("checksum-tree", input=asked(root, manifest, **more))
    return await tasks.wait(run.id, timeout=LONG)


async def iterations(tasks: TaskService, run: TaskRun) -> list[str]:
    return [str(row.outcome) for row in (await tasks.iteration_page(run.id, PageArgs(first=200))).items]


@pytest.mark.usefixtures("worker")
class TestTheManifest:
    async def test_is_what_coreutils_would_have_written(self, tasks: TaskService, root: Path, manifest: Path) -> None:
        grow(root, 5, 7)
        grow(root / "d001", 3, 3)
        (root / "d001.txt").write_bytes(b"sorts between the directory's name and its files")
        (root / "empty").touch()
        (root / "empty directory").mkdir()
        run = await hashed(tasks, root, manifest)
        assert run.status == TaskRunStatus.SUCCEEDED, run.error
        assert checked(root, manifest) == expected(root)
        data = content(manifest)
        size = sum(os.stat(root / path).st_size for path in paths_in(manifest))
        assert run.output == {
            "manifest": str(manifest), "manifest_sha256": hashlib.sha256(data).hexdigest(), "files": 46, "bytes": size,
            "skipped": 0, "skipped_files": [], "changed": 0, "changed_files": [],
        }  # fmt: skip
        assert sorted(os.listdir(manifest.parent)) == ["SHA256SUMS", "root"]

    async def test_takes_names_of_any_bytes(self, tasks: TaskService, root: Path, manifest: Path) -> None:
        for name in ODD_NAMES:
            make(root, name)
        run = await hashed(tasks, root, manifest, slice_files=1)
        assert run.status == TaskRunStatus.SUCCEEDED, run.error
        assert len(checked(root, manifest)) == 2 * len(ODD_NAMES)
        # Not compared, because sha256sum can only read the standard input under this name.
        ours, theirs = ([text for text in texts if text[64:] not in (b"  -\n", b"  ./-\n")]
                        for texts in (content(manifest).splitlines(keepends=True), expected(root)))  # fmt: skip
        assert ours == theirs

    async def test_of_an_empty_tree_is_empty(self, tasks: TaskService, root: Path, manifest: Path) -> None:
        run = await hashed(tasks, root, manifest)
        assert (run.status, run.output["files"], content(manifest)) == (TaskRunStatus.SUCCEEDED, 0, b"")

    async def test_leaves_out_itself_and_what_is_no_regular_file(self, tasks: TaskService, root: Path) -> None:
        (root / "file").write_text("text")
        (root / "link").symlink_to("file")
        (root / "loop").symlink_to(".")
        (root / "dangling").symlink_to("nothing")
        os.mkfifo(root / "pipe")
        manifest = root / "sub" / "SHA256SUMS"
        manifest.parent.mkdir()
        for _ in range(2):
            run = await hashed(tasks, root, manifest, slice_files=1)
            assert (run.status, run.output["skipped"]) == (TaskRunStatus.SUCCEEDED, 0)
            checked(root, manifest)
            assert paths_in(manifest) == ["file"]

    async def test_follows_symbolic_links_when_asked_and_no_loop(
        self, tasks: TaskService, root: Path, manifest: Path, tmp_path: Path
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "file").write_text("text")
        (root / "to-file").symlink_to(outside / "file")
        (root / "to-directory").symlink_to(outside)
        (outside / "back").symlink_to(outside)
        run = await hashed(tasks, root, manifest, follow_symlinks=True, slice_files=1)
        assert run.output["skipped_files"] == [
            {"path": "to-directory/back/", "reason": "A symbolic link leads back to a directory above it"}
        ]
        checked(root, manifest)
        assert paths_in(manifest) == ["to-directory/file", "to-file"]

    async def test_has_what_the_patterns_choose(self, tasks: TaskService, root: Path, manifest: Path) -> None:
        for path in ("a.py", "a.txt", "lib/b.py", "lib/__pycache__/b.py", "lib/deep/c.py", "tests/d.py"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
        await hashed(tasks, root, manifest, include=["*.py"], exclude=["__pycache__", "tests", "lib/deep/*"])
        assert paths_in(manifest) == ["a.py", "lib/b.py"]

    async def test_is_the_same_whatever_the_slices(self, tasks: TaskService, root: Path, manifest: Path) -> None:
        paths = grow(root, 4, 10)
        last = {13: "1 file", 40: "40 files"}
        for more, slices in (({"slice_files": 13}, 4), ({"slice_bytes": 50}, 8), ({"slice_files": 40}, 1)):
            run = await hashed(tasks, root, manifest, **more)
            assert await iterations(tasks, run) == ["CONTINUED"] * (slices - 1) + ["SUCCEEDED"]
            checked(root, manifest)
            assert paths_in(manifest) == sorted(paths)
            assert f"Last slice: {last.get(more.get('slice_files', 0), '')}" in (await lines(tasks, run.id))[-1]


@pytest.mark.usefixtures("worker")
class TestTrouble:
    @pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
    async def test_unreadable_files_and_directories_are_listed(
        self, tasks: TaskService, root: Path, manifest: Path
    ) -> None:
        grow(root, 2, 2)
        (root / "d000/f000").chmod(0)
        (root / "d001").chmod(0)
        run = await hashed(tasks, root, manifest)
        (root / "d001").chmod(0o755)
        assert [(note["path"], note["reason"]) for note in run.output["skipped_files"]] == [
            ("d000/f000", "Permission denied"),
            ("d001/", "Permission denied"),
        ]
        assert paths_in(manifest) == ["d000/f001"]
        assert run.log_warning == 2

    async def test_files_that_vanish_or_change_are_listed(self, tasks: TaskService, root: Path, manifest: Path) -> None:
        grow(root, 1, 5)
        run = await started_in_a_huge_file(tasks, root / "d000/a huge one", manifest, root)
        (root / "d000/f001").unlink()
        (root / "d000/f002").unlink()
        os.mkfifo(root / "d000/f002")
        (root / "d000/f003").unlink()
        (root / "d000/f003").mkdir()
        os.truncate(root / "d000/a huge one", 0)
        run = await tasks.wait(run.id, timeout=LONG)
        assert run.status == TaskRunStatus.SUCCEEDED, run.error
        assert [(note["path"], note["reason"]) for note in run.output["skipped_files"]] == [
            ("d000/f001", "No such file or directory"),
            ("d000/f002", "It is no regular file any more"),
            ("d000/f003", "Is a directory"),
        ]
        assert run.output["changed_files"] == [{"path": "d000/a huge one", "reason": "It changed while it was hashed"}]
        assert (run.output["skipped"], run.output["changed"], run.log_warning) == (3, 1, 4)
        assert paths_in(manifest) == ["d000/a huge one", "d000/f000", "d000/f004"]

    async def test_a_root_that_is_no_directory_fails_the_run_at_once(
        self, tasks: TaskService, root: Path, manifest: Path
    ) -> None:
        run = await hashed(tasks, root / "nowhere", manifest)
        assert (run.status, run.attempt) == (TaskRunStatus.FAILED, 1)
        assert run.error
        assert "is no directory on this worker" in run.error["message"]

    async def test_a_manifest_that_cannot_be_put_there_fails_the_run_at_once(
        self, tasks: TaskService, root: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "link").symlink_to("elsewhere")
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "nowhere" / "SUMS", tmp_path / "root", tmp_path / "pipe", tmp_path / "link"):
            run = await hashed(tasks, root, path)
            assert (run.status, run.attempt) == (TaskRunStatus.FAILED, 1), path


class TestInterruptions:
    @pytest.mark.usefixtures("worker")
    async def test_an_abort_inside_a_huge_file_takes_effect_within_a_second_and_a_rerun_goes_on(
        self, tasks: TaskService, root: Path, manifest: Path
    ) -> None:
        with_content(manifest, b"an earlier one")
        paths = grow(root, 4, 50)
        run = await started_in_a_huge_file(tasks, root / "d002/g", manifest, root)
        began = time.monotonic()
        await tasks.abort(run.id)
        run = await tasks.wait(run.id, timeout=LONG)
        assert (run.status, run.status_reason) == (TaskRunStatus.ABORTED, TaskRunStatusReason.ABORT_REQUESTED)
        assert time.monotonic() - began < 1
        assert content(manifest) == b"an earlier one"

        os.truncate(root / "d002/g", 10)
        again = await tasks.rerun(run.id, from_=RerunFrom.LAST_STATE)
        again = await tasks.wait(again.id, timeout=LONG)
        assert again.status == TaskRunStatus.SUCCEEDED, again.error
        assert checked(root, manifest) == expected(root)
        assert again.output["files"] == len(paths) + 1
        # What was hashed before was not hashed again: 150 files come before the huge one.
        assert await files_hashed_by(tasks, again) == 51

    @pytest.mark.usefixtures("worker")
    async def test_an_abort_among_tiny_files_takes_effect_within_a_second_and_a_rerun_goes_on(
        self, tasks: TaskService, root: Path, manifest: Path
    ) -> None:
        grow(root, 20, 250, size=1)
        run = await tasks.trigger("checksum-tree", input=asked(root, manifest, slice_files=50))
        await until(lambda: has_progress(tasks, run, 500))
        began = time.monotonic()
        await tasks.abort(run.id)
        run = await tasks.wait(run.id, timeout=LONG)
        assert run.status == TaskRunStatus.ABORTED
        assert time.monotonic() - began < 1
        before = run.state["files"]
        assert 500 <= before < 5000

        again = await tasks.rerun(run.id, input=asked(root, manifest, slice_files=100_000), from_=RerunFrom.LAST_STATE)
        again = await tasks.wait(again.id, timeout=LONG)
        assert again.status == TaskRunStatus.SUCCEEDED, again.error
        assert checked(root, manifest) == expected(root)
        assert await files_hashed_by(tasks, again) == 5000 - before

    async def test_another_worker_goes_on_where_a_drained_one_stopped(
        self, settings: Settings, tasks: TaskService, root: Path, manifest: Path
    ) -> None:
        grow(root, 4, 50)
        async with working(settings, drain_seconds=5.0):
            run = await started_in_a_huge_file(tasks, root / "d002/g", manifest, root)
        assert (await tasks.get(run.id)).status == TaskRunStatus.QUEUED
        os.truncate(root / "d002/g", 10)
        async with working(settings):
            run = await tasks.wait(run.id, timeout=LONG)
        assert (run.status, run.attempt) == (TaskRunStatus.SUCCEEDED, 1)
        assert checked(root, manifest) == expected(root)
        assert (await lines(tasks, run.id)).count("Slice: 50 files with 500 bytes.") == 4

    @pytest.mark.usefixtures("worker")
    @pytest.mark.parametrize("damage", ["gone", "shorter", "overwritten", "longer"])
    async def test_a_partial_manifest_is_trusted_as_far_as_it_is_what_was_saved(
        self, tasks: TaskService, root: Path, manifest: Path, damage: str
    ) -> None:
        grow(root, 4, 50)
        run = await started_in_a_huge_file(tasks, root / "d002/g", manifest, root)
        await tasks.abort(run.id)
        await tasks.wait(run.id, timeout=LONG)
        os.truncate(root / "d002/g", 10)
        partial = manifest.with_name(".SHA256SUMS.partial")
        data = partial.read_bytes()
        match damage:
            case "gone":
                partial.unlink()
            case "shorter":
                partial.write_bytes(data[:-1])
            case "overwritten":
                partial.write_bytes(data.replace(b"0", b"1"))
            case _:
                partial.write_bytes(data + b"half a li")
        again = await tasks.rerun(run.id, from_=RerunFrom.LAST_STATE)
        again = await tasks.wait(again.id, timeout=LONG)
        assert again.status == TaskRunStatus.SUCCEEDED, again.error
        assert checked(root, manifest) == expected(root)
        assert again.log_warning == (0 if damage == "longer" else 1)
        assert not partial.exists()

    @pytest.mark.usefixtures("worker")
    async def test_a_state_is_not_used_for_another_input(
        self, tasks: TaskService, root: Path, manifest: Path, tmp_path: Path
    ) -> None:
        grow(root, 1, 3)
        run = await hashed(tasks, root, manifest)
        other = tmp_path / "other"
        other.mkdir()
        grow(other, 2, 2)
        again = await tasks.rerun(run.id, input=asked(other, manifest), from_=RerunFrom.LAST_STATE)
        await tasks.wait(again.id, timeout=LONG)
        assert "Starting over, because the saved state belongs to another input." in await lines(tasks, again.id)
        assert checked(other, manifest) == expected(other)

    @pytest.mark.usefixtures("worker")
    async def test_a_run_that_was_killed_after_it_published_finds_its_work_done(
        self, tasks: TaskService, root: Path, manifest: Path
    ) -> None:
        grow(root, 1, 3)
        run = await hashed(tasks, root, manifest)
        # The state of such a run is that of one which has succeeded.
        again = await tasks.rerun(run.id, from_=RerunFrom.LAST_STATE)
        again = await tasks.wait(again.id, timeout=LONG)
        assert again.output == run.output
        assert await files_hashed_by(tasks, again) == 0

    @pytest.mark.usefixtures("worker")
    async def test_two_runs_cannot_mix_their_lines_in_one_manifest(
        self, tasks: TaskService, root: Path, manifest: Path, tmp_path: Path
    ) -> None:
        first = await started_in_a_huge_file(tasks, root / "huge", manifest, root)
        other = tmp_path / "other"
        other.mkdir()
        grow(other, 2, 2)
        second = await hashed(tasks, other, manifest)
        os.truncate(root / "huge", 0)
        first = await tasks.wait(first.id, timeout=LONG)
        assert (second.status, first.status) == (TaskRunStatus.SUCCEEDED, TaskRunStatus.FAILED)
        assert first.error
        assert first.error["type"] == "ManifestTaken"
        assert checked(other, manifest) == expected(other)


class TestTheInput:
    @pytest.mark.parametrize(
        ("change", "path"),
        [
            ({"root": "relative"}, ("root",)),
            ({"root": ""}, ("root",)),
            ({"manifest": "SHA256SUMS"}, ("manifest",)),
            ({"manifest": "/tmp/"}, ("manifest",)),
            ({"manifest": "/tmp/" + "x" * 250}, ("manifest",)),
            ({"slice_files": 0}, ("slice_files",)),
            ({"pause_seconds": -1}, ("pause_seconds",)),
            ({"misspelt": 1}, ("misspelt",)),
        ],
    )
    @pytest.mark.usefixtures("worker")
    async def test_is_refused_where_it_makes_no_sense(
        self, tasks: TaskService, change: dict[str, Any], path: tuple[str, ...]
    ) -> None:
        given = {"root": "/data", "manifest": "/tmp/SHA256SUMS", **change}
        assert [issue.path for issue in await tasks.validate("checksum-tree", given)] == [path]


async def started_in_a_huge_file(tasks: TaskService, huge: Path, manifest: Path, root: Path) -> TaskRun:
    """A run that is in the middle of a file which would take it many minutes."""
    with_content(huge, b"")
    os.truncate(huge, 1 << 40)
    run = await tasks.trigger("checksum-tree", input=asked(root, manifest, slice_files=50))
    await until(lambda: has_progress(tasks, run, 1_000_000))
    return run


async def files_hashed_by(tasks: TaskService, run: TaskRun) -> int:
    """How many files the iterations of a run have hashed, by its log."""
    said = [re.search(r"slice: ([0-9,]+) files?", message, re.IGNORECASE) for message in await lines(tasks, run.id)]
    return sum(int(number[1].replace(",", "")) for number in said if number)


async def has_progress(tasks: TaskService, run: TaskRun, current: int) -> bool:
    progress = (await tasks.get(run.id)).progress
    return bool(progress and (progress["current"] or 0) >= current)
