"""Searching saved tasks: words, their beginnings, punctuation, typing errors, and the order of what is found."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app import InvalidArgument, PageArgs, TaskService
from app.db import Database
from app.errors import ConfirmationRequired
from app.service.bulk.task_selections import TaskSelection
from app.service.saved_reading import TaskQuestion
from app.service.task_fields import TaskChanges
from app.task_search import distance
from tests.service.test_task_lists import names, saved


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nightly report", ["Nightly report"]),
        ("repo", ["Nightly report", "Weekly cleanup"]),
        ("nihgtly", ["Nightly report"]),
        ("clenup", ["Weekly cleanup"]),
        ("clenu", ["Weekly cleanup"]),
        ("nihgtly reprot", ["Nightly report"]),
        ("WEEKLY", ["Weekly cleanup"]),
        ("WEEKYL", ["Weekly cleanup"]),
        ("nightly cleanup", []),
        ("qwertyuiop", []),
        ("xx", []),
        ("eu orders", ["Sync-2024_eu.orders/v2"]),
        ("2024", ["Sync-2024_eu.orders/v2"]),
        ("eu.orders", ["Sync-2024_eu.orders/v2"]),
        ("2025", []),
        ("'; DROP TABLE tasks; --", []),
        ("a & !b | (c:*", []),
        ("100%_\\", []),
        ("Straße", ["Straße fegen"]),
        ("Strasse", ["Straße fegen"]),
        ("!!!", ["Nightly report", "Straße fegen", "Sync-2024_eu.orders/v2", "Weekly cleanup"]),
    ],
)
async def test_a_search_finds_beginnings_and_forgives_typing_errors(
    tasks: TaskService, text: str, expected: list[str]
) -> None:
    await saved(tasks, "Nightly report", description="Sums up the day")
    await saved(tasks, "Weekly cleanup", description="Removes what no report needs")
    await saved(tasks, "Sync-2024_eu.orders/v2")
    await saved(tasks, "Straße fegen")
    assert await names(tasks, search=text) == expected


NAMED = [
    "Mail digest",
    "Mail digest of the day",
    "Digest by mail",
    "The digest that goes by mail",
    "Mailing of digests",
    "Letters",
]


@pytest.mark.parametrize(("text", "order"), [("mail digest", [0, 1, 2, 3, 4, 5]), ("mial digset", [0, 2, 1, 3, 4, 5])])
async def test_what_is_named_so_comes_before_what_begins_so_and_what_only_mentions_it(
    tasks: TaskService, text: str, order: list[int]
) -> None:
    for name in (NAMED[n] for n in (5, 4, 3, 2, 1, 0)):
        await saved(tasks, name, description="A digest by mail" if name == "Letters" else None)
    assert await names(tasks, search=text) == [NAMED[n] for n in order]


async def test_pages_of_a_search_go_on_where_the_last_ended_also_among_equals(tasks: TaskService) -> None:
    for name in ("Mail", "Mail a", "Mail b", "Mail c", "Letter"):
        await saved(tasks, name, description="mail")
    question = TaskQuestion(search="mail")
    everything = [task.name for task in (await tasks.saved.list(question)).items]
    assert (everything[0], everything[-1], len(everything)) == ("Mail", "Letter", 5)
    first = await tasks.saved.list(question, page=PageArgs(first=2))
    rest = await tasks.saved.list(question, page=PageArgs(first=3, after=first.cursors[-1]))
    assert [task.name for task in (*first.items, *rest.items)] == everything
    back = await tasks.saved.list(question, page=PageArgs(last=2, before=rest.cursors[0]))
    assert [task.name for task in back.items] == everything[:2]


async def test_a_misspelled_word_means_none_that_tasks_no_longer_have(tasks: TaskService) -> None:
    wrong = await saved(tasks, "Invocie export")
    await saved(tasks, "Invoice import")
    gone = await saved(tasks, "Invoices of before")
    await tasks.saved.delete(gone.id)
    assert await names(tasks, search="invocie") == ["Invocie export"]
    await tasks.saved.update(wrong.id, 1, TaskChanges(name="Inbox export"))
    assert await names(tasks, search="invocie") == ["Invoice import"]


async def test_a_word_is_known_as_soon_as_a_task_has_it_and_nobody_waits_for_it(
    settings: Any, tasks: TaskService, db: Database
) -> None:
    first = await saved(tasks, "first")
    other = Database(settings.database_url, pool_size=1)
    async with other.pipe() as pipe:
        await pipe.execute("UPDATE tasks SET name = 'Zeppelin' WHERE id = $1", first.id)
        async with asyncio.timeout(10):
            await saved(tasks, "Zeppelins")
        assert await names(tasks, search="zepelins") == ["Zeppelins"]
    await other.close()
    assert await names(tasks, search="zepelin") == ["Zeppelin", "Zeppelins"]


@pytest.mark.parametrize("text", ["x" * 201, "a b c d e f g h i", "a\0b"])
async def test_a_search_that_asks_too_much_is_refused(tasks: TaskService, text: str) -> None:
    with pytest.raises(InvalidArgument):
        await tasks.saved.list(TaskQuestion(search=text))


async def test_a_search_without_a_word_selects_every_task_and_so_has_to_be_meant(tasks: TaskService) -> None:
    await saved(tasks, "a")
    with pytest.raises(ConfirmationRequired):
        await tasks.bulk.move_tasks(TaskSelection(question=TaskQuestion(search="?!")), "elsewhere")


@pytest.mark.parametrize(
    ("typed", "word", "expected"),
    [
        ("mail", "mail", 0),
        ("mial", "mail", 1),
        ("mal", "mail", 1),
        ("maill", "mail", 1),
        ("meil", "mail", 1),
        ("clenu", "cleanup", 1.5),
        ("repo", "report", 0.5),
        ("zeplin", "zeppelin", 2),
        ("ab", "xyz", 2.5),
    ],
)
def test_the_distance_of_words_counts_mistakes_and_half_an_ending(typed: str, word: str, expected: float) -> None:
    assert distance(typed, word) == expected
