"""Taskloom on a developer's machine: embedded PostgreSQL and Valkey, and the supervisor behind ``taskloom dev``."""

from app.dev.options import DevOptions
from app.dev.supervisor import run_dev

__all__ = ["DevOptions", "run_dev"]
