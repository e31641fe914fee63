"""Saved tasks with their schedules as one text, the same for the same tasks wherever and whenever it is written."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.db import Database, outages_told
from app.errors import InvalidArgument
from app.interchange import TextFormat, write
from app.service.transfer.entries import VERSION, schedule_document, task_document
from app.transfers import Transfers


@dataclass(frozen=True, slots=True)
class Exported:
    """A text, and how many tasks and schedules it holds."""

    text: str
    tasks: int
    schedules: int


async def export(db: Database, ids: Collection[UUID], form: TextFormat, max_bytes: int) -> Exported:
    """Tasks as of one moment. Raises ``InvalidArgument`` for a text that no import would take, for its length."""
    with outages_told():
        async with db.pipe() as pipe:
            transfers = Transfers(pipe)
            await transfers.freeze()
            tasks = await transfers.tasks(ids)
            schedules = await transfers.schedules([task["id"] for task in tasks])
    text = await asyncio.to_thread(_text, tasks, schedules, form)
    size = len(text.encode())
    if size > max_bytes:
        raise InvalidArgument(
            f"The export has {size} bytes, but at most {max_bytes} are allowed (TASKLOOM_MAX_TRANSFER_BYTES). "
            "Narrow the filter, as to one group at a time.",
            path=("input", "select"),
        )
    return Exported(text, len(tasks), sum(map(len, schedules.values())))


def _text(tasks: list[dict[str, Any]], schedules: dict[UUID, list[dict[str, Any]]], form: TextFormat) -> str:
    # By code points: databases have orders of their own.
    in_order = sorted(tasks, key=lambda task: (task["group_name"] or "", task["name"]))
    documents = [task_document(task, [schedule_document(one) for one in schedules[task["id"]]]) for task in in_order]
    return write({"version": VERSION, "tasks": documents}, form)
