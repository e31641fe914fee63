"""Conditions that search runs: by how long they took, by the text of their error, and by words.

Each has an index that a plain successful run is not in, so that the path of such runs costs nothing (decision 0019).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, and_, any_, column, func, literal, literal_column, or_, select, table, text
from sqlalchemy.dialects.postgresql import INTERVAL

from app.conditions import FloatRange, TagFilter, any_of, ilike, storable, tag_condition
from app.db import ReadSession
from app.errors import InvalidArgument
from app.models import DURATION, ERROR_TEXT, GROUPED, SLOW, SLOW_SECONDS, TaskDefinition, TaskRun
from app.windows import among

TABLE = TaskRun.metadata.tables["task_runs"]
TASKS = table("tasks", column("id"), column("name"))
DEFINITIONS = TaskDefinition.metadata.tables["task_definitions"]
MAX_WORDS = 8
MAX_CHARACTERS = 200
MAX_TASKS = 1000
"""Of how many saved tasks, those made last, the name is looked at for each word."""
LONGEST_MS = 1e14
FEW = 2000
"""Up to how many runs that fit a search are looked up before its list is read."""
_FINDABLE = re.compile(r"[^\W_]{3}")
"""What an index of trigrams can look up; anything shorter is only compared."""
# With a limit the planner would read the whole table for words that it wrongly thinks are everywhere.
_SCANS = ("enable_seqscan", "enable_indexscan", "enable_indexonlyscan")
_ONLY_BITMAPS, _ANY_SCAN = (
    text("SELECT " + ", ".join(f"set_config('{scan}', '{value}', true)" for scan in _SCANS)) for value in ("off", "on")
)


@dataclass(frozen=True, slots=True)
class Bearers:
    """The definitions and saved tasks whose title or name holds a word: their runs are found by it."""

    definition_ids: Sequence[str] = ()
    task_ids: Sequence[UUID] = ()


@dataclass(frozen=True, slots=True)
class Lookup:
    """What a search means: who bears each of its words, and, where these are few, the very runs that fit."""

    bearers: Mapping[str, Bearers]
    run_ids: Sequence[UUID] | None = None


def words(search: str) -> list[str]:
    """The words of a search. Raises ``InvalidArgument`` where there are none that an index can look up."""
    if len(search) > MAX_CHARACTERS or len(search.split()) > MAX_WORDS or not _FINDABLE.search(search):
        raise InvalidArgument(
            f"'search' takes 1 to {MAX_WORDS} words, {MAX_CHARACTERS} characters in all, at least one of them with "
            "three letters or digits in a row. Each has to be part of the name of a run, its task or its definition, "
            "be part of its error, or be one of its tags. Shorter texts are found by 'name' or 'tags'.",
            path=("filter", "search"),
        )
    return storable(search).split()


async def look_up(session: ReadSession, search: str) -> Lookup:
    """What a search means. Asked before the list, because the planner cannot guess how many runs hold some words."""
    ask = cast(Any, session).exec
    bearers: dict[str, Bearers] = {}
    for word in words(search):
        definitions, tasks = await ask(_definitions(word)), await ask(_tasks(word))
        bearers[word] = Bearers([row.id for row in definitions], [row.id for row in tasks])
    borne_whole = [set(each.definition_ids) for each in bearers.values()]
    if borne_whole[0].intersection(*borne_whole[1:]):
        # All runs of some definition fit: so these are not few, or the planner knows that they are.
        return Lookup(bearers)
    return Lookup(bearers, await _few(session, holds(search, Lookup(bearers))))


async def look_up_error(session: ReadSession, part: str) -> Lookup:
    """What a text of errors means."""
    return Lookup({}, await _few(session, [error_holds(part)]))


async def _few(session: ReadSession, conditions: Sequence[ColumnElement[bool]]) -> list[UUID] | None:
    """The runs that meet the conditions; None where these are more than ``FEW``."""
    ask = cast(Any, session).exec
    await ask(_ONLY_BITMAPS)
    run_ids = [row.id for row in await ask(select(TABLE.c.id).where(*conditions).limit(FEW + 1))]
    await ask(_ANY_SCAN)
    return run_ids if len(run_ids) <= FEW else None


def holds(search: str, known: Lookup | None) -> list[ColumnElement[bool]]:
    """Each word is in a run's name, its task's, its definition's title, in the error of a failure, or among its tags.

    Who bears the words is looked up by the same statement, not as quickly, where it is not ``known``.
    """
    if known is not None and known.run_ids is not None:
        return [among(TABLE.c.id, known.run_ids)]
    return [_holds(word, known.bearers[word] if known else None) for word in words(search)]


def error(part: str, known: Lookup | None) -> ColumnElement[bool]:
    """The error of a failure holds a text. Raises ``InvalidArgument`` for one that an index cannot look up."""
    if len(part) > MAX_CHARACTERS or not _FINDABLE.search(part):
        raise InvalidArgument(
            f"'errorText' takes up to {MAX_CHARACTERS} characters, three letters or digits in a row among them. It is "
            "looked for in the first 500 characters of the error's type and message, as in 'OSError: disk 1 is full'.",
            path=("filter", "errorText"),
        )
    return among(TABLE.c.id, known.run_ids) if known is not None and known.run_ids is not None else error_holds(part)


def error_holds(part: str) -> ColumnElement[bool]:
    """The error of a failure that is in its group holds a text, in upper or lower case."""
    return and_(cast(Any, text(GROUPED)), ilike(literal_column(f"({ERROR_TEXT})"), part))


def _holds(word: str, known: Bearers | None) -> ColumnElement[bool]:
    """One word; each of the arms has an index."""
    name = ilike(TABLE.c.name, word)
    return or_(
        and_(cast(Any, text("is_named AND finished_at IS NOT NULL")), name),
        and_(cast(Any, text("is_named AND finished_at IS NULL")), name),
        and_(*tag_condition(TABLE.c.tags, TagFilter(any=[word]))),
        error_holds(word),
        *_borne(word, known),
    )


def _borne(word: str, known: Bearers | None) -> list[ColumnElement[bool]]:
    definition_id, task_id = TABLE.c.definition_id, TABLE.c.task_id
    if known is None:
        return [
            definition_id == any_(func.array(_definitions(word).scalar_subquery())),
            task_id == any_(func.array(_tasks(word).scalar_subquery())),
        ]
    arms: list[ColumnElement[bool]] = []
    if known.definition_ids:
        arms.append(any_of(definition_id, known.definition_ids, "search"))
    if known.task_ids:
        arms.append(any_of(task_id, known.task_ids, "search"))
    return arms


def _definitions(word: str) -> Any:
    return select(DEFINITIONS.c.id).where(ilike(DEFINITIONS.c.title, word)).order_by(DEFINITIONS.c.id).limit(MAX_TASKS)


def _tasks(word: str) -> Any:
    return select(TASKS.c.id).where(ilike(TASKS.c.name, word)).order_by(TASKS.c.id.desc()).limit(MAX_TASKS)


def took(range: FloatRange) -> list[ColumnElement[bool]]:
    """Finished after so many milliseconds, ``gte`` included and ``lt`` not; the slow ones have an index."""
    least, below = _milliseconds(range.gte), _milliseconds(range.lt)
    if least is not None and below is not None and least > below:
        raise _refused(f"begins at {least:g} and ends before that, at {below:g}: it would find nothing")
    duration: ColumnElement[Any] = literal_column(DURATION)
    found: list[ColumnElement[bool]] = [duration.is_not(None)]
    if least is not None:
        found.append(duration >= _interval(least))
        if least >= SLOW_SECONDS * 1000:
            found.append(cast(Any, text(SLOW)))
    if below is not None:
        found.append(duration < _interval(below))
    return found


def _milliseconds(value: float | None) -> float | None:
    if value is not None and not 0 <= value < LONGEST_MS:
        raise _refused(f"says {value:g}, but runs take 0 or more milliseconds, and less than {LONGEST_MS:g}")
    return value


def _refused(why: str) -> InvalidArgument:
    return InvalidArgument(f"'durationMs' {why}.", path=("filter", "durationMs"))


def _interval(milliseconds: float) -> ColumnElement[Any]:
    return literal(milliseconds) * literal_column("interval '1 millisecond'", INTERVAL)
