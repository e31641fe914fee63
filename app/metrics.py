"""Everything that a process of Taskloom measures about itself, for Prometheus; one line at an edge counts it.

Labels are closed sets, or names that code defines (queues, definitions): nothing that a client sends becomes a label.
What hot paths count they count once for a batch. Figures that the database holds are in ``app.exposition``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from math import nan
from typing import Any

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Info, disable_created_metrics
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from app.version import VERSION

# A second series for each one, with the time of its first value, which nobody asks for.
disable_created_metrics()

_MOMENTS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Bounds for what should take milliseconds, in seconds."""
_SPANS = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 24 * 3600)
"""Bounds for what may take hours, in seconds."""
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class Durations(Collector):
    """A histogram in seconds by one label, for what comes by the thousands a second on one thread.

    The library's own takes a lock for the sum and another one for the bucket.
    """

    def __init__(self, name: str, documentation: str, label: str, bounds: Sequence[float]) -> None:
        self._name, self._documentation, self._label = name, documentation, label
        self._bounds = bounds
        self._counts: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
        self._sums: defaultdict[str, float] = defaultdict(float)
        REGISTRY.register(self)

    def observe(self, value: str, seconds: float) -> None:
        """Take in one duration under a value of the label."""
        self._counts[value][bisect_left(self._bounds, seconds)] += 1
        self._sums[value] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What was taken in so far, as the library exposes it."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=[self._label])
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for value, counts in tuple(self._counts.items()):
            family.add_metric([value], list(zip(names, accumulate(counts), strict=True)), self._sums[value])
        yield family


BUILD = Info("taskloom_build", "The version of this process.")
BUILD.info({"version": VERSION})

# Runs.

TRIGGERED = Counter("taskloom_runs_triggered", "Runs stored by triggers.", ["definition"])
FINISHED = Counter("taskloom_runs_finished", "Runs that reached a final status.", ["definition", "status"])
# A queue has to hold as many runs as it may before it becomes a label.
REFUSED = Counter("taskloom_triggers_refused", "Triggers refused because their queue was full.", ["queue"])
CLAIMED = Counter("taskloom_runs_claimed", "Runs claimed: rung for, or found in PostgreSQL.", ["source"])
VAIN_RINGS = Counter("taskloom_rings_in_vain", "Rings taken whose run was not due any more, or not for this worker.")
RUN_WAIT = Durations("taskloom_run_wait_seconds", "From due to claimed.", "queue", _SPANS)
RUN = Durations("taskloom_run_seconds", "From the first start to the end.", "definition", _SPANS)
ATTEMPT = Durations("taskloom_attempt_seconds", "From claimed to settled.", "definition", _SPANS)

# The worker.

SLOTS = Gauge("taskloom_slots", "Runs that this worker executes at a time, at most.")
SLOTS_IN_USE = Gauge("taskloom_slots_in_use", "Runs that this worker executes.")
LEASE_RENEWALS = Counter("taskloom_lease_renewals", "Heartbeats: renewed, failed, or withheld.", ["outcome"])
LEASE_RENEWED = Gauge("taskloom_lease_renewed_timestamp_seconds", "When the lease was last renewed; NaN of a server.")
# A server never renews one. With 0, an alert on the time since then would go off for each of them, for ever.
LEASE_RENEWED.set(nan)
FLUSH_WRITES = Histogram("taskloom_flush_writes", "Writes of runs in one flush of the recorder.", buckets=_SIZES)
FLUSH_SECONDS = Histogram("taskloom_flush_seconds", "Time of one flush of the recorder.", buckets=_MOMENTS)
DISPATCHED = Counter("taskloom_runs_dispatched", "Runs made due, expired, or rung again.", ["kind"])
REAPED = Counter("taskloom_runs_reaped", "Held runs taken from a worker that cannot settle them.", ["kind"])

# Redis.

DOORBELL_UP = Gauge("taskloom_doorbell_up", "Whether Redis answered last time (1) or not (0).")
DOORBELL_FAILURES = Counter("taskloom_doorbell_failures", "Calls of Redis for rings that failed.")

# The server.

HTTP_REQUESTS = Counter("taskloom_http_requests", "HTTP requests answered.", ["path", "status"])
HTTP_SECONDS = Histogram(
    "taskloom_http_request_seconds", "From a request to the head of its answer.", ["path"], buckets=_MOMENTS
)
WEBSOCKETS = Gauge("taskloom_websockets", "WebSockets that are open.")
OPERATIONS = Counter("taskloom_graphql_operations", "GraphQL operations.", ["type", "outcome"])
OPERATION_SECONDS = Histogram(
    "taskloom_graphql_operation_seconds", "Time of queries and mutations.", ["type"], buckets=_MOMENTS
)
SUBSCRIPTIONS = Gauge("taskloom_graphql_subscriptions", "Subscriptions under way.")
EVENTS = Counter("taskloom_graphql_events", "Events sent to subscribers.")

# What can be named beforehand begins at 0, so that its first increase is seen as one.
for _outcome in ("renewed", "failed", "withheld"):
    LEASE_RENEWALS.labels(_outcome)
for _source in ("rung", "polled"):
    CLAIMED.labels(_source)
for _kind in ("due", "children", "expired", "rung_again"):
    DISPATCHED.labels(_kind)
for _kind in ("lease", "overrun", "abort", "disowned"):
    REAPED.labels(_kind)


def count_each(counter: Counter, labels: Iterable[tuple[str, ...]]) -> None:
    """Count a batch: one increase for each different set of labels."""
    for values, number in Tally(labels).items():
        counter.labels(*values).inc(number)


def count_finished(rows: Sequence[Mapping[str, Any]]) -> None:
    """Count rows of runs that became final, and how long those ``lasted`` that had started."""
    for row in rows:
        if (lasted := row.get("lasted")) is not None:
            RUN.observe(row["definition_id"], lasted)
    count_each(FINISHED, [(row["definition_id"], row["status"]) for row in rows])


def doorbell(*, answered: bool) -> None:
    """Note whether Redis answered a call."""
    DOORBELL_UP.set(1 if answered else 0)
    if not answered:
        DOORBELL_FAILURES.inc()
