"""The shipped definitions, and a service and a worker to execute them."""

from __future__ import annotations

from app.registry import registry
from app.settings import SHIPPED_TASKS
from tests.workers.conftest import tasks, worker

__all__ = ["tasks", "worker"]

registry.load([SHIPPED_TASKS])
