"""The use cases of clients: what may be asked of Taskloom, without HTTP."""

from app.paging import Page, PageArgs
from app.service.requests import UNSET, RerunFrom, Triggered, TriggerRequest
from app.service.service import TaskService

__all__ = ["UNSET", "Page", "PageArgs", "RerunFrom", "TaskService", "TriggerRequest", "Triggered"]
