"""The peers: what to install, how to start a worker, and what to say of them beside their figures."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Peer:
    """One peer with one set of settings.

    ``program`` is a module in ``programs``, ``worker`` the command of its one worker process with settings chosen
    for throughput, ``jobs`` how many a repetition executes: some seconds' worth. ``settings`` says how it is
    set up, ``keeps`` what it keeps durably of a job that has ended; one that ``prepares`` makes its tables first.
    """

    name: str
    program: str
    requirements: tuple[str, ...]
    worker: tuple[str, ...]
    jobs: int
    settings: str
    keeps: str
    variables: dict[str, str] = field(default_factory=dict)
    prepares: bool = False


_ARQ = ("arq==0.28.0", "redis[hiredis]==5.3.1")
_ARQ_WORKER = ("arq", "with_arq.WorkerSettings")
_SAQ_WORKER = ("saq", "with_saq.settings", "--quiet")
_VALKEY = "the queue in Valkey (synced every second), "

PEERS = (
    Peer(
        "procrastinate", "with_procrastinate", ("procrastinate==3.10.0", "psycopg[binary,pool]==3.3.9"),
        ("procrastinate", "--app", "with_procrastinate.app", "worker", "--concurrency", "100"), 2_000,
        "100 jobs at once, pool of 20 connections, LISTEN/NOTIFY, batch_defer of 1,000",
        "job, status, events", prepares=True,
    ),
    Peer(
        "saq on PostgreSQL", "with_saq", ("saq[postgres]==0.26.4", "psycopg[binary,pool]==3.3.9"), _SAQ_WORKER, 2_000,
        "100 jobs at once, pool of 20 connections, 100 enqueues at once",
        "job with status and result, for 10 minutes", {"BENCH_SAQ": "postgres"},
    ),
    Peer(
        "saq on Redis", "with_saq", ("saq[redis,hiredis]==0.26.4", "redis==7.4.1", "typing-extensions==4.16.0"),
        _SAQ_WORKER, 5_000,
        "100 jobs at once, 100 enqueues at once",
        _VALKEY + "results for 10 minutes", {"BENCH_SAQ": "redis"},
    ),
    Peer(
        "huey", "with_huey", ("huey==3.5.4", "redis[hiredis]==7.4.1"),
        ("huey_consumer", "with_huey.huey", "-k", "thread", "-w", "4", "-n", "-q"), 8_000,
        "4 threads, blocking pop, no periodic tasks, no results",
        _VALKEY + "nothing of a job that has been taken",
    ),
    Peer(
        "dramatiq", "with_dramatiq", ("dramatiq[redis]==2.2.1", "redis[hiredis]==7.4.1"),
        ("dramatiq", "with_dramatiq", "-p", "1", "-t", "8"), 8_000,
        "1 process with 8 threads, all else as it comes",
        _VALKEY + "nothing of a job that has ended",
    ),
    Peer(
        "arq tuned", "with_arq", _ARQ, _ARQ_WORKER, 5_000,
        "max_jobs=500, poll_delay=0.005, keep_result=0, 100 enqueues at once",
        _VALKEY + "nothing of a job that has ended",
        {"BENCH_ARQ_JOBS": "500", "BENCH_ARQ_DELAY": "0.005", "BENCH_ARQ_KEEP": "0"},
    ),
    Peer(
        "arq default", "with_arq", _ARQ, _ARQ_WORKER, 1_000,
        "max_jobs=10, poll_delay=0.5, as it comes",
        _VALKEY + "results for an hour",
        {"BENCH_ARQ_JOBS": "10", "BENCH_ARQ_DELAY": "0.5", "BENCH_ARQ_KEEP": "3600"},
    ),
    Peer(
        "taskiq", "with_taskiq", ("taskiq==0.13.0", "taskiq-redis==1.2.4", "redis[hiredis]==8.1.0"),
        ("taskiq", "worker", "with_taskiq:broker", "--workers", "1", "--max-async-tasks", "500", "--no-parse",
         "--log-level", "ERROR"), 5_000,
        "Redis streams, 1 process, 500 jobs at once, no results, 100 enqueues at once",
        _VALKEY + "the stream of messages",
    ),
    Peer(
        "celery", "with_celery", ("celery[redis]==5.7.0", "redis[hiredis]==8.1.0"),
        ("celery", "-A", "with_celery", "worker", "-c", "1", "--prefetch-multiplier", "128", "--without-gossip",
         "--without-mingle", "--without-heartbeat", "-l", "ERROR"), 3_000,
        "prefork with 1 child, prefetch 128, no results, no gossip, mingle and heartbeat",
        _VALKEY + "nothing of a job that has been taken",
    ),
)  # fmt: skip
