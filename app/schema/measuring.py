"""Counting GraphQL operations: by their type and how they ended, never by their name, which clients choose."""

from __future__ import annotations

from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from graphql import OperationType

from app import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


@contextmanager
def measured(kind: OperationType) -> Generator[Callable[[str], None]]:
    """Count one operation and its time; whoever ends it well says how, else it counts as refused."""
    outcome = "refused"

    def ended(how: str) -> None:
        nonlocal outcome
        outcome = how

    began = perf_counter()
    try:
        yield ended
    finally:
        metrics.OPERATIONS.labels(kind.value, outcome).inc()
        if kind is not OperationType.SUBSCRIPTION:
            metrics.OPERATION_SECONDS.labels(kind.value).observe(perf_counter() - began)


def count_refused(kind: OperationType | None) -> None:
    """Count an operation that was refused before it began; without a kind when it could not even be read."""
    metrics.OPERATIONS.labels(kind.value if kind else "unknown", "refused").inc()
