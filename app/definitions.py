"""All SQL on the table of published definitions, and on the workers that serve them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, any_, func, select
from sqlalchemy.dialects.postgresql import insert

from app.conditions import StringFilter, TagFilter, storable, string_condition, tag_condition
from app.db import Database, ReadSession
from app.models import TaskDefinition, Worker
from app.paging import Keyset, Window
from app.registry import Definition, Triggers
from app.rows import objects
from app.windows import windowed

TABLE = TaskDefinition.metadata.tables["task_definitions"]
WORKERS = Worker.metadata.tables["workers"]
BY_ID = Keyset("definitions", (str,))


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionFilter:
    """Which definitions a list shows; everything given must hold, a list means "any of"."""

    ids: Sequence[str] | None = None
    queues: Sequence[str] | None = None
    categories: Sequence[str] | None = None
    triggers: Sequence[Triggers] | None = None
    tags: TagFilter | None = None
    title: StringFilter | None = None


async def publish(db: Database, definitions: Iterable[Definition]) -> None:
    """Publish what this process has loaded, so that every server lists it. Raises ``ServiceUnavailable``.

    A definition whose version is published already is left alone, so that a restart of many processes writes nothing.
    """
    # In one order everywhere, so that two processes that start together cannot deadlock.
    rows = [_row(definition) for definition in sorted(definitions, key=lambda definition: definition.id)]
    if not rows:
        return
    statement = insert(TABLE).values(rows)
    new = {
        column.name: statement.excluded[column.name] for column in TABLE.c if column.name not in ("id", "published_at")
    }
    async with db.write() as session:
        await cast(Any, session).exec(
            statement.on_conflict_do_update(
                index_elements=["id"],
                set_={**new, "published_at": func.now()},
                where=TABLE.c.version != statement.excluded.version,
            )
        )


def _row(definition: Definition) -> dict[str, Any]:
    return {
        "id": definition.id,
        "title": definition.title,
        "description": definition.description,
        "module": definition.module,
        "version": definition.version,
        "input_schema": definition.input_schema,
        "output_schema": definition.output_schema,
        "queue": definition.queue,
        "priority": definition.priority,
        "tags": list(definition.tags),
        "max_iterations": definition.max_iterations,
        "max_attempts": definition.retry.max_attempts,
        "timeout_seconds": definition.timeout,
        "is_private": definition.private,
        "checks_trigger": definition.before_trigger is not None,
        "limits": definition.limits.published() if definition.limits else None,
        "triggers": definition.triggers.value,
        "cooldown_seconds": definition.cooldown,
        "category": definition.category,
    }


class Definitions:
    """Reads published definitions in one session."""

    def __init__(self, session: ReadSession) -> None:
        self._session = cast(Any, session)

    async def get_many(self, ids: Collection[str]) -> dict[str, TaskDefinition]:
        """Those of the definitions that are published, private ones included."""
        rows = await self._session.exec(select(TABLE).where(TABLE.c.id.in_(list(ids))))
        return {definition.id: definition for definition in objects(TaskDefinition, rows)}

    async def read(self, filter: DefinitionFilter | None, window: Window) -> list[TaskDefinition]:
        """Up to one row more than the window, ordered by id; private definitions are hidden."""
        chosen = select(TABLE).where(*_conditions(filter or DefinitionFilter()))
        statement = windowed(chosen, [TABLE.c.id], window, ascending=True)
        return objects(TaskDefinition, await self._session.exec(statement))

    async def count(self, filter: DefinitionFilter | None) -> int:
        """How many definitions a list shows."""
        conditions = _conditions(filter or DefinitionFilter())
        return (await self._session.exec(select(func.count()).select_from(TABLE).where(*conditions))).scalar_one()

    async def available(self) -> set[str]:
        """The ids of which a live worker, one that is not draining, has the code and serves the queue."""
        workers = select(WORKERS.c.id).where(*_live(), WORKERS.c.is_draining.is_(False))
        serving = workers.where(TABLE.c.id == any_(WORKERS.c.definition_ids), TABLE.c.queue == any_(WORKERS.c.queues))
        return {row[0] for row in await self._session.exec(select(TABLE.c.id).where(serving.exists()))}

    async def workers(self) -> list[Worker]:
        """The live workers, those that started first at the top."""
        statement = select(WORKERS).where(*_live()).order_by(WORKERS.c.started_at, WORKERS.c.id)
        return objects(Worker, await self._session.exec(statement))


def _live() -> list[ColumnElement[bool]]:
    return [WORKERS.c.lease_expires_at > func.now()]


def _conditions(filter: DefinitionFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [TABLE.c.is_private.is_(False)]
    if filter.ids is not None:
        conditions.append(TABLE.c.id.in_([storable(text) for text in filter.ids]))
    if filter.queues is not None:
        conditions.append(TABLE.c.queue.in_([storable(text) for text in filter.queues]))
    if filter.categories is not None:
        conditions.append(TABLE.c.category.in_([storable(text) for text in filter.categories]))
    if filter.triggers is not None:
        conditions.append(TABLE.c.triggers.in_([trigger.value for trigger in filter.triggers]))
    if filter.tags is not None:
        conditions += tag_condition(TABLE.c.tags, filter.tags)
    if filter.title is not None:
        conditions += string_condition(TABLE.c.title, filter.title)
    return conditions
