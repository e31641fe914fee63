"""What people type: lengths of time, points in time, JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app import TaskError
from app.cli.arguments import duration, json_value, moment
from app.cli.outcomes import Refusal, in_words_of_the_command
from app.cli.words import exact, number, rough, visible
from app.errors import (
    BulkActionNotFound,
    ErrorGroupNotFound,
    InputIssue,
    InvalidArgument,
    InvalidTaskInput,
    QueueFull,
    ScheduleNotFound,
)
from app.task_errors import TaskNameTaken, TaskNotFound, TaskRevisionNotFound


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("2h", timedelta(hours=2)),
        ("1d", timedelta(days=1)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5s", timedelta(seconds=1.5)),
        ("250ms", timedelta(milliseconds=250)),
        ("PT5M", timedelta(minutes=5)),
        ("P1DT2H", timedelta(hours=26)),
        ("P2W", timedelta(days=14)),
        ("45", timedelta(seconds=45)),
        ("-5", timedelta(seconds=-5)),
    ],
)
def test_a_length_of_time_is_written_in_words_in_iso_8601_or_in_seconds(text: str, expected: timedelta) -> None:
    assert duration(text, "--delay") == expected


@pytest.mark.parametrize("text", ["", "soon", "5 parsecs", "P", "PT", "5m2", "nan", "1e400", "9" * 30 + "d"])
def test_what_is_no_length_of_time_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(Refusal, match=r"^--delay is"):
        duration(text, "--delay")


def test_a_point_in_time_without_an_offset_is_this_machine_s_local_time() -> None:
    assert moment("2026-03-01T09:30:00Z", "--start-at") == datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    local = moment("2026-03-01T09:30", "--start-at")
    assert local is not None
    assert local == datetime(2026, 3, 1, 9, 30).astimezone()
    with pytest.raises(Refusal, match="'tomorrow', which is no point in time"):
        moment("tomorrow", "--start-at")


def test_an_input_comes_from_the_line_or_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"a": [1]}')
    assert json_value('{"a": [1]}') == json_value(f"@{file}") == {"a": [1]}
    assert json_value(None) is None


@pytest.mark.parametrize("text", ["{", "NaN", "", "{'a': 1}"])
def test_an_input_that_is_no_json_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Refusal, match=r"--input is no JSON: .* Write --input '"):
        json_value(text)


def test_an_input_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"missing\.json cannot be read: No such file"):
        json_value(f"@{tmp_path}/missing.json")


def test_a_refusal_speaks_of_options_and_not_of_graphql_s_arguments() -> None:
    assert (
        in_words_of_the_command("Pass 'delaySeconds' or 'startAt', not both.")
        == "Pass --delay or --start-at, not both."
    )


@pytest.mark.parametrize(
    ("refusal", "cure"),
    [
        (
            ErrorGroupNotFound("x"),
            "`taskloom errors list` shows those there are; one that was not seen for a year is gone.",
        ),
        (TaskNotFound("x"), "`taskloom tasks create` returned; `taskloom tasks list` shows those there are."),
        (TaskRevisionNotFound("x", 9), "`taskloom tasks revisions` lists those it has."),
        (ScheduleNotFound("x"), "`taskloom schedules list` shows those there are."),
        (BulkActionNotFound("x"), "`taskloom bulk list` shows those there are."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_who_names_what_is_not_there_is_told_the_command_that_lists_it(refusal: TaskError, cure: str) -> None:
    assert in_words_of_the_command(refusal.message).endswith(cure)


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (TaskNotFound("name"), "There is no task 'name', or it was deleted."),
        (TaskNotFound("triggerTask"), "There is no task 'triggerTask', or it was deleted."),
        (TaskNameTaken("queue", "tags", "x"), "Task x in the group 'tags' is called 'queue' already."),
        (QueueFull("at", 2, 1), "Queue 'at' is full"),
        (InvalidArgument("'owner' is no id: ids are UUIDs."), "'owner' is no id"),
        (InvalidArgument("'after' is no cursor."), "--after is no cursor."),
        (
            InvalidTaskInput("at", (InputIssue(("queue",), "Input should be 'name' or 'tags'", "enum"),)),
            "schema of 'at': queue: Input should be 'name' or 'tags'. Its inputSchema in `taskloom",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_refusal_quotes_what_was_given_as_it_was_given(refusal: TaskError, said: str) -> None:
    assert said in in_words_of_the_command(refusal.message)


def test_lengths_of_time_are_told_in_two_units_at_most() -> None:
    assert [exact(s) for s in (0.04, 3.21, 60, 75, 4320, 90_000)] == [
        "40 ms", "3.2 s", "1 min", "1 min 15 s", "1 h 12 min", "1 d 1 h",
    ]  # fmt: skip
    assert [rough(s) for s in (9, 90, 7200, 172_800)] == ["9 s", "2 min", "2 h", "2 d"]


def test_whole_numbers_are_told_in_full_and_others_to_six_digits() -> None:
    assert [number(value) for value in (28430512.0, 7, 0.25, 1 / 3, 1e20)] == [
        "28,430,512", "7", "0.25", "0.333333", "1e+20",
    ]  # fmt: skip


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert visible("a\x1b[31mb\x9b\rc\n\td") == "a\\x1b[31mb\\x9b\\x0dc\n\td"
