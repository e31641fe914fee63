"""``tasks.bulk``: actions on many runs or tasks at once, and on the whole system."""

from app.service.bulk.actions import BulkActions, BulkPreview
from app.service.bulk.selections import RunSelection
from app.service.bulk.task_actions import TaskBulkChanges
from app.service.bulk.task_selections import TaskSelection

__all__ = ["BulkActions", "BulkPreview", "RunSelection", "TaskBulkChanges", "TaskSelection"]
