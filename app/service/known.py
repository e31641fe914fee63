"""The definitions as triggers see them: from the code loaded in this process, else from the published table."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from app.db import Database
from app.definitions import Definitions, publish
from app.errors import InputIssue, InvalidTaskInput
from app.ids import is_slug
from app.limits import Limits
from app.models import TaskDefinition
from app.registry import Definition, Registry, Triggers
from app.service import inputs

logger = logging.getLogger("taskloom.service")

CACHE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Known:
    """What a trigger needs to know of a definition. ``code`` is None when this process has not loaded it."""

    id: str
    title: str
    module: str
    queue: str
    priority: int
    max_iterations: int
    max_attempts: int
    timeout_seconds: float | None
    is_private: bool
    checks_trigger: bool
    code: Definition | None
    limits: Limits | None = None
    triggers: Triggers = Triggers.BOTH
    cooldown_seconds: float | None = None
    validator: inputs.Validator | None = None

    def limit_key(self, text: bytes) -> str | None:
        """What divides the runs of a definition with limits, from the input's JSON; None where there are no limits."""
        if self.limits is None:
            return None
        return self.limits.key_of(None if self.limits.key is None else orjson.loads(text))

    def parse(self, text: bytes) -> Any:
        """The input in the form that ``before_trigger`` takes. Raises ``InvalidTaskInput`` when it does not fit."""
        if self.code is not None:
            return self._parse_by_code(self.code, text)
        assert self.validator is not None
        issues = inputs.issues(self.validator, text)
        if issues:
            raise InvalidTaskInput(self.id, issues)
        return None

    def _parse_by_code(self, code: Definition, text: bytes) -> Any:
        try:
            return code.parse_input(text)
        except InvalidTaskInput:
            raise
        except BaseException as error:
            # Whatever else a validator of theirs raises, because a SystemExit would end this process.
            logger.exception("The validation of an input of '%s' failed", self.id)
            words = f"its validation failed with {type(error).__name__}; the log of this process has the details"
            raise InvalidTaskInput(self.id, (InputIssue((), words, "validation_failed"),)) from None


class KnownDefinitions:
    """Looks definitions up for triggers, so that a trigger does not cost a query for it each time.

    A definition that only other processes have loaded may be up to two seconds old. One that this process has loaded
    is published at its first use, should nobody have done so.
    """

    def __init__(self, db: Database, registry: Registry) -> None:
        self._db = db
        self._registry = registry
        self._lock = asyncio.Lock()
        self._loaded: dict[str, Known] = {}
        self._rows: dict[str, tuple[float, Known]] = {}
        self._validators: dict[tuple[str, str], inputs.Validator] = {}

    async def find(self, ids: Iterable[str]) -> dict[str, Known]:
        """Those of the definitions that exist, private ones included. Raises ``ServiceUnavailable``."""
        # What is no text is the id of none.
        wanted = {id for id in ids if isinstance(id, str)}  # pyright: ignore[reportUnnecessaryIsInstance]
        found = self._at_hand(wanted)
        if len(found) < len(wanted):
            # One at a time, so that all who miss the same definition cost one query.
            async with self._lock:
                found = self._at_hand(wanted)
                found |= await self._fetched(wanted - found.keys())
        return found

    def _at_hand(self, ids: set[str]) -> dict[str, Known]:
        found: dict[str, Known] = {}
        for id in ids:
            code = self._registry.get(id)
            known = self._loaded.get(id) if code else self._cached(id)
            if known is not None and known.code is code:
                found[id] = known
        return found

    async def _fetched(self, ids: set[str]) -> dict[str, Known]:
        loaded = [code for id in ids if (code := self._registry.get(id))]
        others = [id for id in ids if self._registry.get(id) is None and is_slug(id)]
        found = await self._publish(loaded) if loaded else {}
        return found | await self._read(others) if others else found

    def _cached(self, id: str) -> Known | None:
        until, known = self._rows.get(id, (0.0, None))
        return known if time.monotonic() < until else None

    async def _publish(self, definitions: list[Definition]) -> dict[str, Known]:
        await publish(self._db, definitions)
        found = {definition.id: _from_code(definition) for definition in definitions}
        self._loaded |= found
        return found

    async def _read(self, ids: list[str]) -> dict[str, Known]:
        async with self._db.read() as session:
            rows = await Definitions(session).get_many(ids)
        found = {row.id: self._from_row(row) for row in rows.values()}
        until = time.monotonic() + CACHE_SECONDS
        for id in ids:
            self._rows.pop(id, None)
        self._rows |= {id: (until, known) for id, known in found.items()}
        return found

    def _from_row(self, row: TaskDefinition) -> Known:
        key = (row.id, row.version)
        validator = self._validators.get(key)
        if validator is None:
            # One version of each is enough to keep.
            self._validators = {old: kept for old, kept in self._validators.items() if old[0] != row.id}
            validator = self._validators[key] = inputs.compile_schema(row.input_schema)
        return Known(
            id=row.id, title=row.title, module=row.module, queue=row.queue, priority=row.priority,
            max_iterations=row.max_iterations, max_attempts=row.max_attempts, timeout_seconds=row.timeout_seconds,
            is_private=row.is_private, checks_trigger=row.checks_trigger, code=None, validator=validator,
            limits=Limits.from_published(row.limits), triggers=Triggers(row.triggers),
            cooldown_seconds=row.cooldown_seconds,
        )  # fmt: skip


def _from_code(code: Definition) -> Known:
    return Known(
        id=code.id, title=code.title, module=code.module, queue=code.queue, priority=code.priority,
        max_iterations=code.max_iterations, max_attempts=code.retry.max_attempts, timeout_seconds=code.timeout,
        is_private=code.private, checks_trigger=code.before_trigger is not None, code=code,
        limits=code.limits, triggers=code.triggers, cooldown_seconds=code.cooldown,
    )  # fmt: skip
