"""``http-request``: sends one HTTP request and keeps the answer; tries again where that may help."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from app.counting import counted
from workers import Retry, RetryLater, TaskContext, task
from workers.tasks.http_exchange import Answer, NoAnswer, Question, exchange, has_control_characters, place_of, split

MOST_BYTES = 256 * 1024
LONGEST_RETRY_AFTER = 3600.0
ABORT_SECONDS = 0.2
TRY_AGAIN = frozenset({408, 425, 429})
"""The client errors that say "not now": Request Timeout, Too Early, Too Many Requests."""

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Status = Annotated[int, Field(ge=100, le=599)]
StatusRange = Annotated[str, Field(pattern=r"^[1-5][0-9]{2}-[1-5][0-9]{2}$")]
HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}$")]
HeaderValue = Annotated[str, Field(max_length=8192)]


class ServerError(Exception):
    """The server answered with an error of its own, or asked for patience; another attempt may help."""


class UnexpectedStatus(Exception):
    """The answer has a status that was not expected, and another attempt would not change that."""


class HttpRequestInput(BaseModel):
    """What to send, and which answers are good."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    method: Method = Field(default="GET", description="The HTTP method.")
    url: str = Field(
        max_length=8192,
        pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://",
        description="Where to send it: http or https, without a user and a password in it. It is stored with the run "
        "in the clear, a secret in its query included; logs show host and path only.",
    )
    headers: dict[HeaderName, HeaderValue] = Field(
        default={},
        max_length=100,
        description="Headers to send. They are stored with the run in the clear, an Authorization header included: "
        "whoever may read the run can read it. They are never logged.",
    )
    body: str | None = Field(default=None, description="The body, sent as UTF-8; not together with json.")
    json_body: Any = Field(
        default=None,
        alias="json",
        description="The body as a JSON value, sent with Content-Type: application/json unless the headers say "
        "otherwise; not together with body.",
    )
    expected_status: list[Status | StatusRange] = Field(
        default=["200-299"],
        min_length=1,
        max_length=100,
        description='Statuses that are good, each a number or a range: [200, "300-399"]. With any other the run fails.',
    )
    timeout_seconds: float = Field(
        default=30.0, gt=0, le=300, description="The longest time for one attempt, redirects and the body included."
    )
    follow_redirects: bool = Field(
        default=False,
        description="Follow up to 10 redirects. Headers that look like secrets (Authorization, Cookie, X-Api-Key, …) "
        "do not go along to another host.",
    )
    max_response_bytes: int = Field(
        default=64 * 1024,
        ge=0,
        le=MOST_BYTES,
        description="How much of the answer's body is kept; what comes after it is not read.",
    )

    @field_validator("url")
    @classmethod
    def _is_sendable(cls, value: str) -> str:
        parts = split(value)
        if parts is None or has_control_characters(value) or " " in value:
            raise ValueError("is no valid http or https URL")
        if "@" in parts.netloc:
            raise ValueError("must not have a user and a password; use an Authorization header")
        return value

    @field_validator("headers")
    @classmethod
    def _are_sendable(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if has_control_characters(text) or text != text.strip():
                raise ValueError(f"the value of '{name}' has control characters, or spaces at an end")
            if name.lower() in ("content-length", "transfer-encoding", "connection", "upgrade"):
                raise ValueError(f"'{name}' is set by the client itself")
        return value

    @field_validator("expected_status")
    @classmethod
    def _are_ranges(cls, value: list[int | str]) -> list[int | str]:
        for entry in value:
            if isinstance(entry, str) and entry[:3] > entry[4:]:
                raise ValueError(f"'{entry}' is an empty range")
        return value

    @model_validator(mode="after")
    def _has_one_body(self) -> HttpRequestInput:
        if self.body is not None and "json_body" in self.model_fields_set:
            raise ValueError("give body or json, not both")
        return self

    def question(self) -> Question:
        """What to send."""
        json = (self.json_body,) if "json_body" in self.model_fields_set else ()
        return Question(
            self.method, self.url, self.headers, self.body, json, self.follow_redirects, self.max_response_bytes
        )

    def expects(self, status: int) -> bool:
        """Whether a status is good."""
        ranges = (entry.split("-") if isinstance(entry, str) else (entry, entry) for entry in self.expected_status)
        return any(int(first) <= status <= int(last) for first, last in ranges)


class HttpRequestOutput(BaseModel):
    """The answer."""

    status: int = Field(description="The HTTP status.")
    headers: dict[str, str] = Field(
        description="The answer's headers, names in lower case; the values of those that look like secrets "
        "(Set-Cookie, Authorization, …) are replaced by [redacted]."
    )
    body: str = Field(description="The body as text, or in base64 where it is no text.")
    body_is_base64: bool = Field(description="Whether the body is given in base64.")
    body_is_cut: bool = Field(description="Whether the body is longer than max_response_bytes.")
    redirects: int = Field(description="How many redirects were followed.")
    elapsed_ms: float = Field(description="How long the last attempt took, in milliseconds.")
    attempts: int = Field(description="How many attempts it took.")


@task(
    id="http-request",
    title="Send an HTTP request",
    tags=("http", "network"),
    timeout=timedelta(minutes=6),
    retry=Retry(
        max_attempts=5, first_delay=1.0, factor=2.0, cap=60.0, jitter=True, on=(ServerError, NoAnswer, TimeoutError)
    ),
)
async def http_request(ctx: TaskContext, input: HttpRequestInput) -> HttpRequestOutput:
    """Sends one HTTP request from the worker's machine; the output is the answer's status, headers and body.

    Connection errors, timeouts and unexpected statuses of 500 and above, or 408, 425 and 429, are tried again up to
    five times with growing delays, or when the answer's Retry-After says so (after an hour at the most). Any other
    unexpected status fails the run at once.

    A request may arrive more than once: its answer may have been lost. Where that matters, send a key by which the
    server recognises repetitions, or trigger with maxAttempts 1.
    """
    place = f"{input.method} {place_of(input.url)}"
    started = time.monotonic()
    try:
        async with asyncio.timeout(input.timeout_seconds):
            answer = await _until_answered(ctx, input)
    except NoAnswer as error:
        ctx.log.warning(f"{place}: {error}", attempt=ctx.attempt)
        raise
    except TimeoutError:
        message = f"{place}: no answer within {counted(input.timeout_seconds, 'second')}"
        ctx.log.warning(message, attempt=ctx.attempt)
        raise TimeoutError(message) from None
    elapsed_ms = round(1000 * (time.monotonic() - started), 1)
    ctx.log.info(f"{place}: {answer.status}", status=answer.status, elapsedMs=elapsed_ms, attempt=ctx.attempt)
    if not input.expects(answer.status):
        raise _refusal(place, answer)
    text, is_base64 = answer.text()
    return HttpRequestOutput(
        status=answer.status,
        headers=answer.shown_headers(),
        body=text,
        body_is_base64=is_base64,
        body_is_cut=answer.is_cut,
        redirects=answer.redirects,
        elapsed_ms=elapsed_ms,
        attempts=ctx.attempt,
    )


async def _until_answered(ctx: TaskContext, input: HttpRequestInput) -> Answer:
    """The answer. An abort does not wait for it; a shutdown does, because the request would be sent again."""
    asking = asyncio.create_task(exchange(input.question()))
    try:
        while not asking.done():
            await asyncio.wait({asking}, timeout=ABORT_SECONDS)
            if ctx.is_aborted:
                await ctx.checkpoint()
        return await asking
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


def _refusal(place: str, answer: Answer) -> Exception:
    message = f"{place}: the status is {answer.status}, which was not expected."
    if answer.status < 500 and answer.status not in TRY_AGAIN:
        return UnexpectedStatus(message)
    seconds = answer.retry_after()
    if seconds is None:
        return ServerError(message)
    delay = min(seconds, LONGEST_RETRY_AFTER)
    return RetryLater(delay, f"{message} Retry-After asks for {counted(round(seconds), 'second')}.")
