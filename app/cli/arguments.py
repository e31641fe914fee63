"""What people type, as values: lengths of time, points in time, and JSON from the line, a file or standard input."""

from __future__ import annotations

import re
import sys
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import orjson
import typer

from app.auth import is_principal
from app.cli.outcomes import Refusal
from app.ids import parse_id

if TYPE_CHECKING:
    from app.conditions import FloatRange

Word = TypeVar("Word", bound=StrEnum)
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_WORDS = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+")
_WORD = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_ISO = re.compile(
    r"P(?=.)(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?"
    r"(?:T(?=.)(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)


def duration(text: str | None, option: str) -> timedelta | None:
    """A length of time from ``90s``, ``5m``, ``1h30m``, ``1d``, ISO 8601 as ``PT5M``, or seconds."""
    if text is None:
        return None
    plain = text.strip()
    if _WORDS.fullmatch(plain):
        seconds = sum(float(number) * UNITS[unit] for number, unit in _WORD.findall(plain))
    elif match := _ISO.fullmatch(plain.upper()):
        seconds = sum(float(number) * UNITS[unit] for unit, number in match.groupdict().items() if number)
    else:
        seconds = _number(plain, text, option)
    try:
        return timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        raise Refusal(f"{option} is {text}, which is longer than any time can be.") from None


def _number(plain: str, text: str, option: str) -> float:
    try:
        return float(plain)
    except ValueError:
        raise Refusal(
            f"{option} is '{text}', which is no length of time. Write 90s, 5m, 2h, 1d, 1h30m, or ISO 8601 as in PT5M."
        ) from None


def durations(least: str | None, below: str | None) -> FloatRange | None:
    """The range of milliseconds that ``--slower`` and ``--quicker`` say; None when neither is given."""
    if least is None and below is None:
        return None
    from app.conditions import FloatRange

    ends = (duration(least, "--slower"), duration(below, "--quicker"))
    gte, lt = (None if end is None else end.total_seconds() * 1000 for end in ends)
    return FloatRange(gte=gte, lt=lt)


def ids(texts: list[str] | None, option: str) -> list[UUID] | None:
    """The ids that an option was given; None when it was not."""
    if not texts:
        return None
    return [_id(text, option) for text in texts]


def _id(text: str, option: str) -> UUID:
    found = parse_id(text)
    if found is None:
        raise Refusal(f"{option} is '{text[:100]}', which is no id: ids are UUIDs.")
    return found


def choice(text: str, words: type[Word], option: str) -> Word:
    """The member of an enum that an option names, whatever its case: for enums that are not loaded for the help."""
    try:
        return words(text.upper())
    except ValueError:
        *most, last = words
        raise Refusal(f"{option} is '{text[:100]}', but must be {', '.join(most)} or {last}.") from None


def principals(parameter: typer.CallbackParam, texts: list[str] | None) -> list[str] | None:
    """The principals of a filter, as they are; one that nobody can be would silently fit nothing."""
    for text in texts or ():
        if not is_principal(text):
            option = parameter.opts[0]
            raise Refusal(f"{option} is '{text[:100]}', but must be KIND:id, as in USER:ada or SERVICE:billing.")
    return texts


def moment(text: str | None, option: str) -> datetime | None:
    """A point in time from ISO 8601; without an offset it is this machine's local time."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise Refusal(
            f"{option} is '{text}', which is no point in time. Write 2026-03-01T09:30, or with an offset "
            "2026-03-01T09:30:00Z."
        ) from None


def json_value(text: str | None, option: str = "--input") -> Any:
    """The JSON value that an option names: itself, ``@file``, or ``-`` for standard input; None when not given."""
    if text is None:
        return None
    source, content = _content(text, option)
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Refusal(
            f'{source} is no JSON: {error}. Write {option} \'{{"root": "/data"}}\', {option} @file.json, '
            f"or {option} - to read standard input."
        ) from None


def _content(text: str, option: str) -> tuple[str, bytes | str]:
    if text == "-":
        return "Standard input", sys.stdin.buffer.read()
    if not text.startswith("@"):
        return option, text
    path = Path(text[1:]).expanduser()
    try:
        return str(path), path.read_bytes()
    except OSError as error:
        raise Refusal(
            f"{path} cannot be read: {error.strerror}. {option} @file takes the path of a JSON file."
        ) from None
