"""Searching saved tasks: the words of a text, what a word that no task has may mean, and how well a task fits.

Everything is answered by the index of words: a word that is spelled a little differently is first looked for among all
words that tasks have ever had, which are few, and then the words that are alike are searched in its place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, case, exists, func, literal_column, select, text

from app.conditions import storable
from app.db import ReadSession
from app.errors import InvalidArgument
from app.models import Task
from app.models.tasks import PUNCTUATION, SHORTEST_WORD, TASK_WORDS

TABLE = Task.metadata.tables["tasks"]
MAX_SEARCH = 200
MAX_WORDS = 8
LONG_WORD = 6
"""From so many letters on a word may have two mistakes instead of one."""
ALIKE = 0.2
"""How much alike (pg_trgm's word similarity, 0 to 1) a word has to be for its letters to be compared one by one."""
MAX_ALIKE = 100
MAX_MEANT = 10
_BLANKS = str.maketrans(PUNCTUATION, " " * len(PUNCTUATION))
_LETTER = re.compile(r"\w")
_DIGIT = re.compile(r"\d")
_SET_ALIKE = text("SELECT set_config('pg_trgm.word_similarity_threshold', :alike, true)").bindparams(alike=str(ALIKE))
_SIMPLE: ColumnElement[Any] = literal_column("'simple'::regconfig")
_THERE = TABLE.c.deleted_at.is_(None)


@dataclass(frozen=True, slots=True)
class Search:
    """A full-text search: what a task has to meet, and how well it meets it (higher is better)."""

    condition: ColumnElement[bool]
    rank: ColumnElement[int]


def words_of(searched: str | None) -> list[str]:
    """The words of a text that is searched, each once; none for a text without letters and digits.

    Raises ``InvalidArgument`` for a text that is too long or has too many words.
    """
    if searched is None:
        return []
    if len(storable(searched)) > MAX_SEARCH:
        raise InvalidArgument(
            f"'search' has {len(searched)} characters, but at most {MAX_SEARCH} are allowed.", path=("search",)
        )
    found = {word.lower(): word for word in searched.translate(_BLANKS).split() if _LETTER.search(word)}
    if len(found) > MAX_WORDS:
        raise InvalidArgument(
            f"'search' has {len(found)} words, but at most {MAX_WORDS} are allowed.", path=("search",)
        )
    return list(found.values())


class Searching:
    """Makes searches of words, in one session."""

    def __init__(self, session: ReadSession) -> None:
        self._session = cast(Any, session)

    async def search(self, searched: str | None) -> Search | None:
        """The search for a text; None for one without words. Raises what ``words_of`` raises.

        Every word has to be found in the name or the description, where its beginning will do. One that no task has,
        from three letters on, stands for the words that are most like it.
        """
        words = words_of(searched)
        if not words or searched is None:
            return None
        spelled = [word for word in words if len(word) >= SHORTEST_WORD and not _DIGIT.search(word)]
        unknown = set(spelled) - await self._known(spelled, ":*")
        meant = [await self._meant(word) if word in unknown else [word] for word in words]
        return Search(TABLE.c.words.bool_op("@@")(_query(meant, ":*")), _rank(searched.strip(), meant))

    async def _known(self, words: Sequence[str], how: str) -> set[str]:
        """Those of the words that tasks have: whole, or with ``:*`` as a beginning."""
        if not words:
            return set()
        # Each for itself, so that the planner knows which of them are common.
        asked = (
            exists(select(TABLE.c.id).where(_THERE, TABLE.c.words.bool_op("@@")(_query([[word]], how))))
            for word in words
        )
        row = (await self._session.exec(select(*asked))).one()
        return {word for word, is_known in zip(words, row, strict=True) if is_known}

    async def _meant(self, word: str) -> list[str]:
        """The words of tasks that are most like a word; the word itself when none is."""
        typed = word.lower()
        await self._session.exec(_SET_ALIKE)
        near = (await self._session.exec(_near(typed))).scalars().all()
        fitting = sorted((far, other) for other in near if (far := _distance(typed, other)) <= _allowed(typed))
        # Words stay when the last task that had them is gone, or has them spelled right by now.
        known = await self._known([other for _, other in fitting[:MAX_MEANT]], "")
        best = [(far, other) for far, other in fitting if other in known]
        return [other for far, other in best if far == best[0][0]] or [word]


def _distance(typed: str, word: str) -> float:
    # The first letter is seldom wrong.
    return distance(typed, word) + 0.25 * (typed[0] != word[0])


def _allowed(word: str) -> float:
    return 1.75 if len(word) < LONG_WORD else 2.75


def _near(typed: str) -> Any:
    """The words that are alike, the most alike first."""
    alike = func.word_similarity(typed, TASK_WORDS.c.word).label("alike")
    fits = TASK_WORDS.c.word.bool_op("%>")(typed)
    rows = select(TASK_WORDS.c.word, alike).where(fits).distinct().order_by(alike.desc(), TASK_WORDS.c.word)
    found = rows.limit(MAX_ALIKE).subquery()
    return select(found.c.word)


def _query(words: Sequence[Sequence[str]], how: str) -> ColumnElement[Any]:
    # Without punctuation and in quotes, so that nothing in a word is an operator.
    each = ("(" + " | ".join(f"'{word}'{how}" for word in any_of) + ")" for any_of in words)
    return func.to_tsquery(_SIMPLE, " & ".join(each))


def _rank(searched: str, words: Sequence[Sequence[str]]) -> ColumnElement[int]:
    """A name that is just that comes first, then one that begins so, one that has the words, one with their beginnings.

    Among equals the shorter name, of which the words are a larger part.
    """
    name, sought = func.lower(TABLE.c.name), func.lower(searched)
    # What holds of few is looked at only where what it presumes holds, because all that fit are ranked.
    just_that = case((name == sought, 4), else_=3)
    whole_words = case((TABLE.c.words.bool_op("@@")(_query(words, ":A")), 2), else_=1)
    fits = case(
        (func.starts_with(name, sought), just_that),
        (TABLE.c.words.bool_op("@@")(_query(words, ":*A")), whole_words),
        else_=0,
    )
    return fits * 1000 - func.length(TABLE.c.name)


def distance(typed: str, word: str) -> float:
    """How many mistakes (a letter too many, missing, wrong, or two that changed places) lead from a word to another.

    The word may go on behind what was typed, which adds a half.

    >>> distance("mial", "mail"), distance("clenu", "cleanup"), distance("zeplin", "zeppelin")
    (1, 1.5, 2)
    """
    before: list[int] = []
    line = list(range(len(word) + 1))
    for row, letter in enumerate(typed, 1):
        before, last, line = line, before, [row]
        for column, other in enumerate(word, 1):
            best = min(before[column] + 1, line[-1] + 1, before[column - 1] + (letter != other))
            if row > 1 and column > 1 and (letter, other) == (word[column - 2], typed[row - 2]):
                best = min(best, last[column - 2] + 1)
            line.append(best)
    return min(line[-1], min(line[len(typed) :], default=len(typed)) + 0.5)
