"""The refusals of saved tasks and saved searches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from app.counting import counted
from app.errors import ErrorCode, TaskError
from app.task_words import CALLED


class TaskNotFound(TaskError):
    """No saved task has that id, or it was deleted."""

    code = ErrorCode.TASK_NOT_FOUND

    def __init__(self, task_id: object, *, path: tuple[str, ...] = ("input", "id")) -> None:
        super().__init__(
            f"There is no task '{str(task_id)[:100]}', or it was deleted. A task's id is the UUID that createTask "
            "returned; tasks lists those there are.",
            path=path,
        )
        self.task_id = str(task_id)


class TaskConflict(TaskError):
    """Somebody else has changed the task since the version that the change was made for."""

    code = ErrorCode.TASK_CONFLICT

    def __init__(self, version: int, changed_by: str, changed_at: datetime, fields: Sequence[str]) -> None:
        what = ", ".join(CALLED.get(field, field) for field in fields) or "nothing that is different now"
        super().__init__(
            f"{changed_by.partition(':')[2]} has changed the task meanwhile ({what}); it is at version {version} now. "
            "Read it again, and make your change to that version.",
            path=("input", "version"),
        )
        self.version = version
        self.changed_by = changed_by
        self.changed_at = changed_at
        self.fields = list(fields)


class TaskNameTaken(TaskError):
    """Another task of the group has that name."""

    code = ErrorCode.TASK_NAME_TAKEN

    def __init__(self, name: str, group: str | None, task_id: object) -> None:
        where = f"in the group '{group}'" if group else "without a group"
        super().__init__(
            f"Task {task_id} {where} is called '{name}' already. Choose another name, or another group.",
            path=("input", "name"),
        )
        self.task_id = str(task_id)


class TaskDisabled(TaskError):
    """The task is disabled, so it is not executed unless by force."""

    code = ErrorCode.TASK_DISABLED

    def __init__(self, task_id: object, name: str) -> None:
        super().__init__(
            f"The task '{name}' is disabled. Enable it with updateTask, or execute it all the same with force: true.",
            path=("input", "id"),
        )
        self.task_id = str(task_id)


class TaskRevisionNotFound(TaskError):
    """The task has no revision of that number."""

    code = ErrorCode.TASK_REVISION_NOT_FOUND

    def __init__(self, task_id: object, revision: int) -> None:
        super().__init__(
            f"Task {task_id} has no revision {revision}. task(id) {{ revisions }} lists those it has.",
            path=("input", "revision"),
        )


class CooldownActive(TaskError):
    """The definition's cooldown since the last execution is not over. ``until`` is when it is."""

    code = ErrorCode.COOLDOWN_ACTIVE

    def __init__(self, definition_id: str, until: datetime, run_id: object) -> None:
        super().__init__(
            f"'{definition_id}' cools down after run {run_id}. It can be executed again at "
            f"{until.isoformat(timespec='seconds')}."
        )
        self.until = until
        self.run_id = str(run_id)


class SavedSearchNotFound(TaskError):
    """No saved search of that id is the principal's own, or shared."""

    code = ErrorCode.SAVED_SEARCH_NOT_FOUND

    def __init__(self, search_id: object) -> None:
        super().__init__(
            f"There is no saved search '{str(search_id)[:100]}' that you own. savedSearches lists yours and those "
            "that others share; only its owner changes a search.",
            path=("input", "id"),
        )


class SavedSearchNameTaken(TaskError):
    """The principal has a saved search of that name and kind."""

    code = ErrorCode.SAVED_SEARCH_NAME_TAKEN

    def __init__(self, name: str) -> None:
        super().__init__(f"You have a saved search '{name}' already. Choose another name.", path=("input", "name"))


class ImportImpossible(TaskError):
    """Some tasks of a document cannot be imported, so none was. ``plan`` says which, and why."""

    code = ErrorCode.IMPORT_IMPOSSIBLE

    def __init__(self, plan: Any, path: Sequence[str], message: str, problems: int) -> None:
        more = "" if problems == 1 else f" And {counted(problems - 1, 'more problem')}; a dry run tells all."
        super().__init__(f"Nothing was imported. {'.'.join(path)}: {message}{more}", path=("input", "text"))
        self.plan = plan
