"""The definitions that this process has loaded: ``@task`` registers a function, the registry hands it out by id."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

import orjson
from pydantic import TypeAdapter, ValidationError

from app.errors import InputIssue, InvalidArgument, InvalidTaskInput
from app.ids import is_slug
from app.kinds import LARGEST_INTEGER, declared, is_storable
from app.limits import Limits
from app.retry import Retry
from app.settings import QUEUE, QUEUE_WORDS
from app.states import FailurePolicy

JSON_SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
DEFAULT_MAX_ITERATIONS = 500
PRIORITY_LIMIT = 1000
NO_INPUT: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
MAX_ISSUES = 20

Function = TypeVar("Function", bound=Callable[..., Any])


class DefinitionError(Exception):
    """A ``@task`` is declared in a way that cannot work; the message says which and how to mend it."""


@dataclass(frozen=True, slots=True)
class Continue:
    """What task code returns to end an iteration and go on later, from ``state``, on any worker.

    ``delay`` is in seconds. With ``wait_for``, the next iteration starts when all of these runs are final instead.
    ``failure_policy`` says what becomes of it when one of them does not succeed.
    Made by ``ctx.continue_()`` and ``ctx.wait_for()``.
    """

    state: Any = None
    delay: float = 0.0
    wait_for: tuple[UUID, ...] = ()
    failure_policy: FailurePolicy = FailurePolicy.CONTINUE


class Triggers(StrEnum):
    """What a definition is meant to be triggered by."""

    ON_DEMAND = "ON_DEMAND"
    SCHEDULED = "SCHEDULED"
    BOTH = "BOTH"


@dataclass(frozen=True)
class Definition:
    """A kind of work, as declared in code.

    ``timeout`` is in seconds and holds for one attempt at one iteration.
    """

    id: str
    function: Callable[..., Any]
    title: str
    description: str | None = None
    queue: str = "default"
    priority: int = 0
    tags: tuple[str, ...] = ()
    max_iterations: int = 1
    timeout: float | None = None
    retry: Retry = field(default_factory=Retry)
    private: bool = False
    limits: Limits | None = None
    triggers: Triggers = Triggers.BOTH
    cooldown: float | None = None
    category: str | None = None
    input_type: Any = None
    output_type: Any = None
    before_trigger: Callable[..., Any] | None = None
    on_done: Callable[..., Any] | None = None
    on_error: Callable[..., Any] | None = None
    on_abort: Callable[..., Any] | None = None
    on_max_iterations: Callable[..., Any] | None = None

    @property
    def module(self) -> str:
        """The module that the function comes from: what TASKLOOM_TASKS has to name."""
        return self.function.__module__

    @cached_property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function; a plain one runs in a thread."""
        return inspect.iscoroutinefunction(self.function)

    @cached_property
    def input_adapter(self) -> TypeAdapter[Any] | None:
        """The validator of the input, or None when the function takes none."""
        return TypeAdapter(self.input_type) if self.input_type is not None else None

    @cached_property
    def output_adapter(self) -> TypeAdapter[Any] | None:
        """The validator and serializer of the output, or None when its type is not declared."""
        return TypeAdapter(self.output_type) if self.output_type is not None else None

    @cached_property
    def input_schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) that an input has to fit."""
        schema = self.input_adapter.json_schema() if self.input_adapter else NO_INPUT
        return {"$schema": JSON_SCHEMA_DIALECT, **schema}

    @cached_property
    def output_schema(self) -> dict[str, Any] | None:
        """The JSON Schema (2020-12) of what a successful run returns, or None when it is not declared."""
        if self.output_adapter is None:
            return None
        return {"$schema": JSON_SCHEMA_DIALECT, **self.output_adapter.json_schema(mode="serialization")}

    @cached_property
    def version(self) -> str:
        """A hash of everything that clients see of the definition: it changes when the definition does."""
        seen = (
            self.title, self.description, self.module, self.input_schema, self.output_schema, self.queue, self.priority,
            self.tags, self.max_iterations, self.retry.max_attempts, self.timeout, self.private,
            self.before_trigger is not None, *((self.limits.published(),) if self.limits else ()),
            # What nearly nobody declares leaves the versions as they were.
            *((self.triggers, self.cooldown, self.category) if self._is_special else ()),
        )  # fmt: skip
        return hashlib.sha256(orjson.dumps(seen, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]

    @property
    def _is_special(self) -> bool:
        return self.triggers is not Triggers.BOTH or self.cooldown is not None or self.category is not None

    def parse_input(self, text: bytes | str) -> Any:
        """The validated input from its JSON text. Raises ``InvalidTaskInput``; its messages never quote the input."""
        if self.input_adapter is None:
            if orjson.loads(text) not in (None, {}):
                issue = InputIssue((), "this definition takes no input", "no_input")
                raise InvalidTaskInput(self.id, (issue,))
            return None
        try:
            return self.input_adapter.validate_json(text)
        except ValidationError as error:
            raise InvalidTaskInput(self.id, tuple(_issues(error))) from None


def _issues(error: ValidationError) -> Iterator[InputIssue]:
    for line in error.errors(include_url=False, include_context=False, include_input=False)[:MAX_ISSUES]:
        yield InputIssue(tuple(str(part) for part in line["loc"]), line["msg"], line["type"])


class Registry:
    """The definitions loaded in this process, by id."""

    def __init__(self) -> None:
        self._definitions: dict[str, Definition] = {}

    def add(self, definition: Definition) -> None:
        """Register a definition. Raises ``DefinitionError`` when its id is taken by another function."""
        present = self._definitions.get(definition.id)
        if present and _place(present) != _place(definition):
            raise DefinitionError(
                f"The id '{definition.id}' is declared twice: by {_place(present)} and by {_place(definition)}. "
                "Each definition needs an id of its own."
            )
        self._definitions[definition.id] = definition

    def get(self, definition_id: str) -> Definition | None:
        """The definition of that id, or None when this process has not loaded it."""
        return self._definitions.get(definition_id)

    def remove(self, definition_id: str) -> None:
        """Forget a definition, as tests do with those they declare."""
        self._definitions.pop(definition_id, None)

    def __iter__(self) -> Iterator[Definition]:
        return iter(list(self._definitions.values()))

    def __len__(self) -> int:
        return len(self._definitions)

    def load(self, modules: Iterable[str]) -> None:
        """Import modules (and the submodules of packages) for their ``@task`` functions. Raises ``DefinitionError``."""
        for name in modules:
            try:
                module = importlib.import_module(name)
                for found in pkgutil.walk_packages(getattr(module, "__path__", ()), name + "."):
                    importlib.import_module(found.name)
            except DefinitionError:
                raise
            except (Exception, SystemExit) as error:
                raise DefinitionError(
                    f"The module '{name}' named in TASKLOOM_TASKS cannot be imported: {type(error).__name__}: {error}"
                    f"{_where_to_look(name, error)}"
                ) from error


def _where_to_look(name: str, error: BaseException) -> str:
    """What to do about a module that is not there; of others that are missing, their own message says enough."""
    if not isinstance(error, ModuleNotFoundError) or not f"{name}.".startswith(f"{error.name}."):
        return ""
    if name.endswith(".py"):
        return (
            f". Name the module without its ending, as in TASKLOOM_TASKS={name.removesuffix('.py').replace('/', '.')}."
        )
    return ". Put the directory that it lies in on PYTHONPATH, as in PYTHONPATH=. for this one."


registry = Registry()
"""The registry that ``@task`` fills."""


def task(
    *,
    id: str,
    title: str | None = None,
    description: str | None = None,
    queue: str = "default",
    priority: int = 0,
    tags: Collection[str] = (),
    max_iterations: int | None = None,
    timeout: timedelta | float | None = None,
    retry: Retry | None = None,
    private: bool = False,
    limits: Limits | None = None,
    triggers: Triggers | str = Triggers.BOTH,
    cooldown: timedelta | float | None = None,
    category: str | None = None,
    before_trigger: Callable[..., Any] | None = None,
    on_done: Callable[..., Any] | None = None,
    on_error: Callable[..., Any] | None = None,
    on_abort: Callable[..., Any] | None = None,
    on_max_iterations: Callable[..., Any] | None = None,
) -> Callable[[Function], Function]:
    """Register a function ``(ctx: TaskContext, input: Model) -> Output | Continue`` as a task definition.

    Args:
        id: a kebab-case slug, unique among all definitions.
        title: what people see; by default the id in words.
        description: by default the function's docstring.
        queue, priority: where and how early runs execute; priority is -1000 to 1000, higher first.
        tags: words to find the definition by.
        max_iterations: how often a run may end with "continue"; 500 by default when the function returns ``Continue``.
        timeout: the longest time for one attempt at one iteration, in seconds or as a ``timedelta``; None is no limit.
        retry: the retry policy; by default a failure is final.
        private: hidden from lists, and triggered by code only.
        limits: how many runs execute at once and how often they start; see ``Limits``.
        triggers: what it is meant for: ``ON_DEMAND``, ``SCHEDULED`` or ``BOTH``.
        cooldown: how long after a trigger the next one is refused (``timedelta`` or seconds): of each saved task by
            itself, and of the runs without a task together.
        category: what people look for it under, up to 100 characters.
        before_trigger: ``(input, principal)``, sync or async, called before anything is stored, for several triggers
            side by side; raise ``TriggerRefused`` to say no.
        on_done: ``(ctx, output)``, on_error: ``(ctx, error)``, on_abort: ``(ctx)``, on_max_iterations: ``(ctx)``;
            called in the worker before the run's end is recorded.

    The function is returned as it was, so that tests may call it. Raises ``DefinitionError``.
    """

    _check_options(id, locals())

    def register(function: Function) -> Function:
        input_type, output_type, continues = _signature(id, function)
        definition = Definition(
            id=id,
            function=function,
            title=title or id.replace("-", " ").capitalize(),
            description=description or inspect.getdoc(function),
            queue=queue,
            priority=priority,
            tags=tuple(tags),
            max_iterations=(DEFAULT_MAX_ITERATIONS if continues else 1) if max_iterations is None else max_iterations,
            timeout=timeout.total_seconds() if isinstance(timeout, timedelta) else timeout,
            retry=retry or Retry(),
            private=private,
            limits=limits,
            triggers=_known(id, triggers),
            cooldown=cooldown.total_seconds() if isinstance(cooldown, timedelta) else cooldown,
            category=category,
            input_type=input_type,
            output_type=output_type,
            before_trigger=before_trigger,
            on_done=on_done,
            on_error=on_error,
            on_abort=on_abort,
            on_max_iterations=on_max_iterations,
        )
        _check(definition)
        registry.add(definition)
        return function

    return register


def _check_options(id: str, options: Mapping[str, Any]) -> None:
    """Check that the options of ``@task`` are of the kinds that it declares. Raises ``DefinitionError``."""
    if not is_slug(id):
        raise DefinitionError(
            f"'{str(id)[:200]}' is no definition id: use a kebab-case slug like 'checksum-tree', up to 100 characters."
        )
    kinds = typing.get_type_hints(task)
    for name, value in options.items():
        if isinstance(value, (Limits, Retry)):
            # They say themselves what is wrong with them.
            continue
        try:
            declared(value, kinds[name], name)
        except InvalidArgument as wrong:
            raise DefinitionError(f"{id}: {wrong.message}") from None


def _check(definition: Definition) -> None:
    if not -PRIORITY_LIMIT <= definition.priority <= PRIORITY_LIMIT:
        raise DefinitionError(f"{definition.id}: priority is {definition.priority}, but must be -1000 to 1000.")
    if not QUEUE.fullmatch(definition.queue):
        raise DefinitionError(f"{definition.id}: queue is '{definition.queue}', but must have {QUEUE_WORDS}.")
    if not 1 <= definition.max_iterations <= LARGEST_INTEGER:
        raise DefinitionError(
            f"{definition.id}: max_iterations is {definition.max_iterations}, but must be 1 to {LARGEST_INTEGER}."
        )
    for name, length in (("timeout", definition.timeout), ("cooldown", definition.cooldown)):
        if length is not None and not 0 < length <= 366 * 86400:
            raise DefinitionError(f"{definition.id}: {name} is {length} s, but must be above 0 and up to 366 days.")
    if definition.category is not None and not 1 <= len(definition.category) <= 100:
        raise DefinitionError(f"{definition.id}: category must have 1 to 100 characters.")
    texts = {"title": definition.title, "description": definition.description, "category": definition.category}
    for name, text in (*texts.items(), *(("tags", tag) for tag in definition.tags)):
        if text is not None and not is_storable(text):
            raise DefinitionError(
                f"{definition.id}: {name} holds a NUL character or half of a surrogate pair, which cannot be stored."
            )
    for fault in definition.limits.faults() if definition.limits else ():
        raise DefinitionError(f"{definition.id}: {fault}.")
    try:
        _ = definition.input_schema, definition.output_schema
    except Exception as error:
        raise DefinitionError(f"{definition.id}: its input or output has no JSON Schema: {error}") from error


def _known(id: str, triggers: str) -> Triggers:
    try:
        return Triggers(triggers)
    except ValueError:
        raise DefinitionError(f"{id}: triggers is '{triggers}', but must be {', '.join(Triggers)}.") from None


def _signature(id: str, function: Callable[..., Any]) -> tuple[Any, Any, bool]:
    """The input type, the output type, and whether the function may return ``Continue``, from its annotations."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{id}: a task function must not yield; return the output, and log or save what comes.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"{id}: @task is for a function that takes (ctx) or (ctx, input): {error}.") from None
    parameters = list(signature.parameters.values())
    if not 1 <= len(parameters) <= 2:
        raise DefinitionError(f"{id}: a task function takes (ctx) or (ctx, input), not {signature}.")
    input_type = None
    if len(parameters) == 2:
        input_type = _resolve(id, function, parameters[1].annotation)
        input_type = Any if input_type is inspect.Parameter.empty else input_type
    returned = _resolve(id, function, signature.return_annotation)
    if returned is inspect.Signature.empty:
        return input_type, None, True
    is_union = typing.get_origin(returned) in (typing.Union, types.UnionType)
    members: tuple[Any, ...] = typing.get_args(returned) if is_union else (returned,)
    outputs = tuple(member for member in members if member is not Continue and member is not types.NoneType)
    if None in outputs or not outputs:
        return input_type, None, Continue in members
    optional = (types.NoneType,) if types.NoneType in members else ()
    output_type = typing.Union[(*outputs, *optional)]
    return input_type, output_type, Continue in members


def _resolve(id: str, function: Callable[..., Any], annotation: Any) -> Any:
    """An annotation as a type, also below ``from __future__ import annotations``."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, getattr(inspect.unwrap(function), "__globals__", {}))
    except Exception as error:
        raise DefinitionError(
            f"{id}: the annotation '{annotation}' cannot be read ({error}). "
            "Import its names for real, not below TYPE_CHECKING, and at the top of the module."
        ) from error


def _place(definition: Definition) -> str:
    return f"{definition.module}.{getattr(definition.function, '__qualname__', '?')}"
