"""Arguments of the areas, refused by name where they are of another kind than the method declares."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import cache, wraps
from inspect import iscoroutinefunction, signature
from typing import Any, ParamSpec, TypeVar, get_type_hints
from uuid import UUID

from app.kinds import declared
from app.service.requests import TriggerRequest

Area = TypeVar("Area", bound=type)
Given = ParamSpec("Given")
Result = TypeVar("Result")

JUDGED_LATER = (UUID | str, Sequence[TriggerRequest])
"""What cannot be an id is not found, and of many requests each is refused alone."""


def as_declared(area: Area) -> Area:
    """Have each public method of an area refuse arguments that are not what it declares, before it does anything."""
    for name, method in list(vars(area).items()):
        if iscoroutinefunction(method) and not name.startswith("_"):
            setattr(area, name, refusing(method))
    return area


def refusing(method: Callable[Given, Coroutine[Any, Any, Result]]) -> Callable[Given, Coroutine[Any, Any, Result]]:
    """A method that refuses arguments that are not what it declares. Raises ``InvalidArgument``."""
    names = [*signature(method).parameters]

    @cache
    def kinds() -> dict[str, Any]:
        # Not before the first call: many methods are never called in a process.
        return {name: kind for name, kind in get_type_hints(method).items() if kind not in JUDGED_LATER}

    @wraps(method)
    async def checked(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if name in kinds():
                declared(value, kinds()[name], name.rstrip("_"))
        return await method(*args, **kwargs)

    return checked
