"""The use cases of clients: what may be asked of Taskloom, without HTTP."""

from app.paging import Page, PageArgs
from app.service.requests import UNSET, RerunFrom, Triggered, TriggerRequest, UniquePolicy
from app.service.service import TaskService
from app.service.sweeping import Phase as SweepPhase
from app.service.sweeping import SweepPosition

__all__ = [
    "UNSET",
    "Page",
    "PageArgs",
    "RerunFrom",
    "SweepPhase",
    "SweepPosition",
    "TaskService",
    "TriggerRequest",
    "Triggered",
    "UniquePolicy",
]
