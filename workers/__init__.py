"""What task code imports: ``from workers import Continue, Retry, TaskContext, task``."""

from app.errors import TriggerRefused
from app.limits import Limits, WhenFull
from app.registry import Continue, task
from app.retry import Retry, RetryLater
from app.states import FailurePolicy
from workers.context import Progress, TaskContext
from workers.held import Stop

__all__ = [
    "Continue",
    "FailurePolicy",
    "Limits",
    "Progress",
    "Retry",
    "RetryLater",
    "Stop",
    "TaskContext",
    "TriggerRefused",
    "WhenFull",
    "task",
]
