"""Which saved tasks a bulk action is for: by ids or by a question, which is made into ids when the action is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app import task_filters
from app.auth import Principal
from app.errors import ConfirmationRequired, InvalidArgument
from app.paging import PageArgs
from app.service.bulk.selections import checked_ids, fits_everything
from app.service.saved import SavedTasks
from app.service.saved_reading import TaskQuestion
from app.task_filters import TaskOrder
from app.task_search import words_of
from app.task_words import TaskOrderField

PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSelection:
    """Saved tasks by their ids or by a question: one of the two.

    Args:
        ids: the tasks' ids, up to TASKLOOM_MAX_BULK_ITEMS.
        question: those that fit now, up to as many.
        all: says that a question which every task fits is meant as it is.
    """

    ids: Sequence[UUID | str] | None = None
    question: TaskQuestion | None = None
    all: bool = False

    async def stored(
        self, saved: SavedTasks, limit: int, page_size: int, principal: Principal | None
    ) -> dict[str, Any]:
        """The selection as JSON. Raises ``InvalidArgument``, ``ConfirmationRequired``."""
        if (self.ids is None) == (self.question is None):
            raise InvalidArgument("Select by 'ids' or by 'filter': one of the two.", path=("input", "select"))
        if self.ids is not None:
            return {"ids": checked_ids(self.ids, limit)}
        question = self.question or TaskQuestion()
        everything = fits_everything(question.filter, task_filters.conditions)
        if everything and not (self.all or words_of(question.search) or question.quick):
            raise ConfirmationRequired(
                "The filter is empty, so that every task fits it. Pass all: true when that is meant.", ("input", "all")
            )
        return {"ids": await _found(saved, question, limit, min(PAGE, page_size), principal)}


async def _found(
    saved: SavedTasks, question: TaskQuestion, limit: int, size: int, principal: Principal | None
) -> list[str]:
    """The ids of the tasks that fit. Raises ``InvalidArgument`` for more than ``limit``."""
    found: list[str] = []
    order, after = TaskOrder(TaskOrderField.CREATED_AT), None
    while True:
        page = await saved.list(question, order, PageArgs(first=size, after=after), principal)
        found += [str(task.id) for task in page.items]
        if len(found) > limit:
            raise InvalidArgument(
                f"More than {limit} tasks fit (TASKLOOM_MAX_BULK_ITEMS). Narrow the filter.", path=("input", "select")
            )
        if not page.has_next:
            return sorted(found)
        after = page.cursors[-1]
