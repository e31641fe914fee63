"""Limits of a definition: how many of its runs execute at once and how often they start, as a whole and for each key.

Everything here is pure. What is taken is counted by ``app.limited_runs``, which asks the rows; ``Tally`` holds those
counts and says what a run would meet, to the claim as well as to a trigger.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, cast

import orjson

MAX_CONCURRENCY = 10_000
MAX_STARTS = 10_000
"""Starts within a window are counted one by one, hence the bound."""
MAX_KEY_EXPRESSION = 1000
MAX_KEY = 200
NO_KEY = ""
"""The key of a run whose definition has none."""
SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_RATE = re.compile(r"^([0-9]{1,9})/(second|minute|hour|day)$")


class WhenFull(StrEnum):
    """What becomes of a trigger that meets a limit."""

    QUEUE = "QUEUE"
    REJECT = "REJECT"
    ABORT_OLDEST = "ABORT_OLDEST"


class Scope(StrEnum):
    """Whose limit it is: that of one key, or that of the whole definition."""

    KEY = "KEY"
    DEFINITION = "DEFINITION"


class Measure(StrEnum):
    """What is limited: how many runs execute at once, or how many start within a time."""

    CONCURRENCY = "CONCURRENCY"
    RATE = "RATE"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``starts`` first starts of runs in any window of ``seconds``."""

    starts: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of one scope; None is no limit."""

    concurrency: int | None
    rate: Rate | None

    @property
    def is_none(self) -> bool:
        """Whether nothing is limited."""
        return self.concurrency is None and self.rate is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many runs of a definition execute at once, and how often they start.

    Args:
        max_concurrency: how many of its runs execute at once, in all workers together.
        rate: how many of its runs start in any window, as in ``"60/minute"`` (second, minute, hour, day). Only the
            first start of a run counts, not its retries and later iterations.
        key: a JMESPath expression over the input, as in ``"tenant"`` or ``"repository.owner"``. What it finds divides
            the runs. Where it finds nothing, or cannot be applied, the key is null, which is a key like any other.
            Texts are compared with the JSON of all else, so that ``"1"`` and ``1`` are one key, and so are ``"null"``
            and null; with ``"[type(tenant), tenant]"`` they are two.
        max_concurrency_per_key, rate_per_key: the same for the runs of one key.
        when_full: ``QUEUE`` lets a run wait, ``REJECT`` refuses the trigger, ``ABORT_OLDEST`` aborts the oldest runs
            above the limit, but none that the new one belongs to: where only such are left, the trigger is refused.
            A run that is triggered for later, or that waits for the one it replaces, counts from when it is due: then
            it refuses and aborts nobody, and waits for its turn.
    """

    max_concurrency: int | None = None
    rate: str | None = None
    key: str | None = None
    max_concurrency_per_key: int | None = None
    rate_per_key: str | None = None
    when_full: WhenFull = WhenFull.QUEUE

    def bounds(self, scope: Scope) -> Bounds:
        """The limits of a scope. Raises ``ValueError`` for a rate that ``faults`` names."""
        if scope is Scope.DEFINITION:
            return Bounds(self.max_concurrency, _rate(self.rate))
        return Bounds(self.max_concurrency_per_key, _rate(self.rate_per_key))

    def key_of(self, value: Any) -> str:
        """The key of a run with this input (a JSON value): a text as it is, anything else as its JSON."""
        return NO_KEY if self.key is None else _key_text(_found(self.key, value))

    def published(self) -> dict[str, Any]:
        """The limits as JSON, as they are published with the definition."""
        return {**asdict(self), "when_full": self.when_full.value}

    @classmethod
    def from_published(cls, document: Mapping[str, Any] | None) -> Limits | None:
        """The inverse of ``published``; None for a definition without limits."""
        if document is None:
            return None
        values: dict[str, Any] = {**document, "when_full": WhenFull(document["when_full"])}
        return cls(**values)

    def faults(self) -> Iterator[str]:
        """What cannot work about them, each as half a sentence that says what is allowed."""
        for name in ("max_concurrency", "max_concurrency_per_key"):
            yield from _number_faults(name, getattr(self, name))
        for name in ("rate", "rate_per_key"):
            yield from _rate_faults(name, getattr(self, name))
        yield from _key_faults(self.key)
        per_key = self.max_concurrency_per_key is not None or self.rate_per_key is not None
        if per_key and self.key is None:
            yield "limits has a limit per key, but no key: set key to a JMESPath expression over the input"
        if self.key is not None and not per_key:
            yield "limits has a key, but no limit per key: set max_concurrency_per_key or rate_per_key"
        if not per_key and self.max_concurrency is None and self.rate is None:
            yield "limits limits nothing: set max_concurrency, rate, or a key and a limit per key"
        if not isinstance(self.when_full, WhenFull):  # pyright: ignore[reportUnnecessaryIsInstance]
            yield f"limits has when_full={self.when_full!r}, but must be WhenFull.{', WhenFull.'.join(WhenFull)}"
        elif self.when_full is WhenFull.ABORT_OLDEST and not (self.max_concurrency or self.max_concurrency_per_key):
            yield "limits has ABORT_OLDEST with a rate only: an abort frees a slot, but no start; set max_concurrency"


@dataclass(frozen=True, slots=True)
class Full:
    """The limit that a run meets."""

    scope: Scope
    measure: Measure


@dataclass(slots=True)
class Tally:
    """What counts at a moment: slots taken and first starts within the window, by key, and under None of the whole."""

    taken: Counter[str | None] = field(default_factory=Counter[str | None])
    started: Counter[str | None] = field(default_factory=Counter[str | None])

    def full(self, limits: Limits, key: str, *, first: bool) -> Full | None:
        """The limit that one more run of a key would meet, or None; ``first`` when it would be its first start."""
        for scope, counted in ((Scope.KEY, key), (Scope.DEFINITION, None)):
            bounds = limits.bounds(scope)
            if bounds.concurrency is not None and self.taken[counted] >= bounds.concurrency:
                return Full(scope, Measure.CONCURRENCY)
            if first and bounds.rate and self.started[counted] >= bounds.rate.starts:
                return Full(scope, Measure.RATE)
        return None

    def add(self, key: str | None, *, first: bool) -> None:
        """Count one more run of a key, or of the whole definition."""
        self.taken[key] += 1
        self.started[key] += first

    def room(self, bounds: Bounds, key: str | None, most: int) -> tuple[int, int]:
        """How many more runs fit, up to ``most``: of those that started before, and of those that did not."""
        slots = most if bounds.concurrency is None else min(most, max(0, bounds.concurrency - self.taken[key]))
        starts = slots if bounds.rate is None else min(slots, max(0, bounds.rate.starts - self.started[key]))
        return slots, starts


def _number_faults(name: str, number: Any) -> Iterator[str]:
    if number is None:
        return
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MAX_CONCURRENCY:
        yield f"limits has {name}={number!r}, but must be a whole number from 1 to {MAX_CONCURRENCY:,}"


def _rate_faults(name: str, text: Any) -> Iterator[str]:
    allowed = f"must be like '60/minute': 1 to {MAX_STARTS:,} starts per second, minute, hour or day"
    if text is None:
        return
    rate = _rate(text) if isinstance(text, str) and _RATE.match(text) else None
    if rate is None or not 1 <= rate.starts <= MAX_STARTS:
        yield f"limits has {name}={text!r}, but {allowed}"


def _key_faults(expression: Any) -> Iterator[str]:
    if expression is None:
        return
    if not isinstance(expression, str) or not 1 <= len(expression) <= MAX_KEY_EXPRESSION:
        yield f"limits has a key that is no JMESPath expression of 1 to {MAX_KEY_EXPRESSION} characters"
        return
    try:
        _compiled(expression)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        yield f"limits has the key '{expression}', which is no JMESPath expression ({reason})"


@lru_cache(maxsize=1000)
def _rate(text: str | None) -> Rate | None:
    if text is None:
        return None
    matched = _RATE.match(text)
    if matched is None:
        raise ValueError(f"{text!r} is no rate")
    return Rate(int(matched[1]), SECONDS[matched[2]])


@lru_cache(maxsize=1000)
def _compiled(expression: str) -> Any:
    # Loaded where a definition has a key, because it takes 3 MB. What it raises are kinds of ValueError.
    import jmespath

    return cast(Any, jmespath).compile(expression)


def _found(expression: str, value: Any) -> Any:
    try:
        return _compiled(expression).search(value)
    except (TypeError, ValueError, ArithmeticError, RecursionError):
        # A function met what it does not take: whether a run may be triggered is for the schema to say.
        return None


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value, _no_json, orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        # The encoder takes no whole number beyond 64 bits, and an expression can make one, as a sum does.
        return json.dumps(value, default=_no_json, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _no_json(_value: Any) -> None:
    """Null for what an expression can bring and JSON cannot hold, as a reference to an expression."""


def _key_text(value: Any) -> str:
    text = value if isinstance(value, str) else _json(value)
    if len(text) <= MAX_KEY:
        return text
    # Keys are indexed, and an index takes no text of any length.
    return f"{text[: MAX_KEY // 2]}…{hashlib.sha256(text.encode()).hexdigest()[:32]}"
