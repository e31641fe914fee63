"""Numbers with what they count, in sentences for people."""

from __future__ import annotations

from collections.abc import Sequence

NAMED = 5


def counted(number: float, noun: str, verb: str = "") -> str:
    """A number and its noun, as in ``1 run`` and ``1,200 runs``; with a verb ``1 run waits`` and ``2 runs wait``."""
    is_one = number == 1
    said = f"{number:,.15g} {noun}{'' if is_one else 's'}"
    return f"{said} {verb}{'s' if is_one else ''}" if verb else said


def named(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
