"""Every setting of Taskloom, read from the environment (prefix ``TASKLOOM_``) and never at import time."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SHIPPED_TASKS = "workers.tasks"
HEARTBEATS_OF_A_LEASE = 3
"""At the least: one that is lost, or late, must not cost a worker its runs."""
LONGEST_SECONDS = 2_000_000
"""Some three weeks: PostgreSQL takes no longer timeout."""
SHORTEST_SECONDS = 0.001
"""PostgreSQL counts in milliseconds, and takes none of them for no timeout."""
LARGEST_NUMBER = 2**31 - 2
"""Numbers are compared with columns that hold no more, and some are counted one beyond."""
LARGEST_JSON_BYTES = 64 * 1024 * 1024
"""PostgreSQL takes seconds to store so much. What takes it longer than it is waited for would be tried for ever."""
LARGEST_LINE_BYTES = 16 * 1024 * 1024
"""No more of a run's log waits in a worker's memory."""
QUEUE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
"""The name of a queue."""
QUEUE_WORDS = "1 to 63 lower-case letters, digits, '.', '_' or '-', the first of them a letter or digit"
_ORIGIN = re.compile(r"\*|https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?/?", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,12}")


class Settings(BaseSettings):
    """The settings of one process; durations are seconds, sizes are bytes, as each name says.

    ``DATABASE_URL``, ``REDIS_URL`` and ``PORT`` go by their usual names; all others carry the prefix ``TASKLOOM_``.
    """

    model_config = SettingsConfigDict(
        env_prefix="TASKLOOM_", extra="ignore", frozen=True, populate_by_name=True, allow_inf_nan=False
    )

    # Where the servers are.
    database_url: str = Field(
        default="postgresql://postgres@127.0.0.1:5432/taskloom", validation_alias=AliasChoices("DATABASE_URL")
    )
    redis_url: str = Field(default="redis://127.0.0.1:6379/0", validation_alias=AliasChoices("REDIS_URL"))
    database_pool_size: int = Field(default=10, ge=1, le=200)
    query_seconds: float = Field(default=30.0, ge=SHORTEST_SECONDS, le=LONGEST_SECONDS)

    # The HTTP server.
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535, validation_alias=AliasChoices("PORT", "TASKLOOM_PORT"))
    allow_anonymous: bool = False
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()

    # What server and worker processes say about themselves.
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    # Task code: modules that are imported for their ``@task`` functions, besides the shipped ones.
    tasks: Annotated[tuple[str, ...], NoDecode] = ()

    # Limits for what clients send and what runs write.
    max_input_bytes: int = Field(default=256 * 1024, ge=1, le=LARGEST_JSON_BYTES)
    max_output_bytes: int = Field(default=1024 * 1024, ge=1, le=LARGEST_JSON_BYTES)
    max_state_bytes: int = Field(default=1024 * 1024, ge=1, le=LARGEST_JSON_BYTES)
    max_log_message_bytes: int = Field(default=16 * 1024, ge=64, le=LARGEST_LINE_BYTES)
    max_log_data_bytes: int = Field(default=16 * 1024, ge=64, le=LARGEST_LINE_BYTES)
    max_log_lines: int = Field(default=1_000_000, ge=1)
    max_log_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    max_transfer_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    max_bulk_items: int = Field(default=10_000, ge=1)
    max_page_size: int = Field(default=200, ge=1)
    default_page_size: int = Field(default=50, ge=1)
    max_queued: int = Field(default=1_000_000, ge=0)
    queue_limits: Annotated[tuple[tuple[str, int], ...], NoDecode] = ()
    count_limit: int = Field(default=10_000, ge=1)
    keep_audit_days: float = Field(default=365.0, ge=1, le=36_500)
    keep_bulk_days: float = Field(default=30.0, ge=1, le=36_500)
    max_request_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    request_seconds: float = Field(default=30.0, gt=0, le=LONGEST_SECONDS)
    max_websockets: int = Field(default=10_000, ge=1)
    max_websocket_operations: int = Field(default=100, ge=1)
    max_query_tokens: int = Field(default=1000, ge=10)
    max_query_depth: int = Field(default=15, ge=1)
    max_query_cost: int = Field(default=100_000, ge=1)

    # The worker.
    queues: Annotated[tuple[str, ...], NoDecode] = ("default",)
    concurrency: int = Field(default=100, ge=1, le=10_000)
    lease_seconds: float = Field(default=30.0, gt=0, le=LONGEST_SECONDS)
    heartbeat_seconds: float = Field(default=10.0, gt=0, le=LONGEST_SECONDS)
    reap_seconds: float = Field(default=5.0, gt=0, le=LONGEST_SECONDS)
    dispatch_seconds: float = Field(default=1.0, gt=0, le=LONGEST_SECONDS)
    poll_seconds: float = Field(default=0.2, gt=0, le=LONGEST_SECONDS)
    abort_grace_seconds: float = Field(default=30.0, ge=0, le=LONGEST_SECONDS)
    drain_seconds: float = Field(default=20.0, ge=0, le=LONGEST_SECONDS)
    hook_seconds: float = Field(default=30.0, gt=0, le=LONGEST_SECONDS)
    stall_seconds: float = Field(default=600.0, gt=0, le=LONGEST_SECONDS)
    max_interruptions: int = Field(default=20, ge=0)

    @field_validator("tasks", "queues", "allowed_origins", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        return tuple(_parts(value)) if isinstance(value, str) else value

    @field_validator("*")
    @classmethod
    def _is_no_larger_than_a_column(cls, value: object) -> object:
        if isinstance(value, int) and value > LARGEST_NUMBER:
            raise ValueError(f"give a whole number up to {LARGEST_NUMBER}")
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"'{origin[:100]}' is no origin. Give scheme and host, and the port where there is one, as in "
                    "https://tasks.example.org,http://localhost:3000; * is every origin"
                )
        return value

    @field_validator("queues")
    @classmethod
    def _serve_some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("a worker needs a queue to serve. Name one or more, as in default,reports")
        for queue in value:
            if not QUEUE.fullmatch(queue):
                raise ValueError(f"'{queue[:100]}' is no name of a queue. Give it {QUEUE_WORDS}")
        return value

    @field_validator("queue_limits", mode="before")
    @classmethod
    def _split_limits(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        limits: dict[str, int] = {}
        for part in _parts(value):
            queue, _, limit = part.partition("=")
            if not QUEUE.fullmatch(queue) or not _NUMBER.fullmatch(limit) or queue in limits:
                raise ValueError(
                    f"'{part[:100]}' is no limit of a queue. Give each queue once, with the number of runs that may "
                    "wait in it, as in mail=10000,reports=500; 0 is without limit"
                )
            limits[queue] = int(limit)
        return tuple(limits.items())

    @field_validator("heartbeat_seconds")
    @classmethod
    def _let_some_be_lost(cls, value: float, info: ValidationInfo) -> float:
        lease = info.data.get("lease_seconds")
        # Rounded, because three times 1.1 is a little more than 3.3.
        if lease is not None and round(HEARTBEATS_OF_A_LEASE * value, 6) > lease:
            raise ValueError(
                f"a lease of {lease:g} s does not hold {HEARTBEATS_OF_A_LEASE} heartbeats of {value:g} s, so that one "
                f"that is late may cost a worker its runs. Set TASKLOOM_LEASE_SECONDS to "
                f"{HEARTBEATS_OF_A_LEASE * value:g} or more, or TASKLOOM_HEARTBEAT_SECONDS lower"
            )
        return value

    def queue_limit(self, queue: str) -> int:
        """How many runs may wait in a queue before triggers are refused; 0 is without limit."""
        return dict(self.queue_limits).get(queue, self.max_queued)

    @property
    def task_modules(self) -> tuple[str, ...]:
        """The modules to import for their definitions: the shipped ones first, then the user's own."""
        return (SHIPPED_TASKS, *self.tasks)


def _parts(text: str) -> list[str]:
    """What a list in the environment names; bytes that are no UTF-8 are shown as ``?``."""
    readable = text.encode(errors="replace").decode()
    return [part.strip() for part in readable.split(",") if part.strip()]


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once at the first call."""
    return Settings()
