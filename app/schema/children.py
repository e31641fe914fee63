"""The connections below a run or a definition, each read together for all objects of an answer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from app.logs import LogFilter, log_cursor
from app.paging import OrderDirection, PageArgs
from app.run_filters import RunFilter, RunOrder
from app.schema.connections import Connection, Total, connection
from app.schema.context import Info
from app.schema.loaders import Read
from app.schema.logs import TaskIteration, TaskLog
from app.schema.selection import page_columns

if TYPE_CHECKING:
    from app.schema.runs import TaskRun

OLDEST_FIRST = RunOrder(direction=OrderDirection.ASC)


def log_line(row: Any) -> TaskLog:
    """A log line with its cursor."""
    return TaskLog.of(row, log_cursor(row.sequence))


async def runs_below(
    info: Info, by: str, id: Any, filter: RunFilter | None, order: RunOrder, page: PageArgs
) -> Connection[TaskRun]:
    """The runs whose column ``by`` is this id: the children of a run, or the runs of a definition."""
    from app.schema.runs import TaskRun

    loaders, service = info.context.loaders, info.context.service

    def prepare() -> Read:
        columns = page_columns(info)
        return lambda ids: service.list_each(by, ids, filter, order, page, columns)

    found = await loaders.at(info, id, prepare)
    return connection(found, TaskRun.of, total(info, id, lambda ids: loaders.counts.runs(by, ids, filter)))


async def iterations_of(info: Info, run_id: UUID, page: PageArgs) -> Connection[TaskIteration]:
    """The attempts of a run at its iterations."""
    loaders, service = info.context.loaders, info.context.service
    found = await loaders.at(info, run_id, lambda: partial(service.iteration_pages, page=page))
    return connection(found, TaskIteration.of, total(info, run_id, loaders.counts.iterations))


async def logs_of(info: Info, run_id: UUID, filter: LogFilter, page: PageArgs) -> Connection[TaskLog]:
    """The log lines of a run."""
    loaders, service = info.context.loaders, info.context.service
    found = await loaders.at(info, run_id, lambda: partial(service.log_pages, filter=filter, page=page))
    return connection(found, log_line, total(info, run_id, partial(loaders.counts.logs, filter=filter)))


def total(info: Info, id: Any, read: Read) -> Total:
    """The total of a list below an object, counted for all such objects together."""
    loaders = info.context.loaders
    return Total(lambda: loaders.at(info, id, lambda: read, "total"), loaders.counts.limit)
