"""Who is asking: the principal that every operation has."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PrincipalKind(StrEnum):
    """What sort of principal acts."""

    USER = "USER"
    SERVICE = "SERVICE"
    SYSTEM = "SYSTEM"
    RUN = "RUN"
    SCHEDULE = "SCHEDULE"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking. Stored as ``KIND:id``, so that a row names its author without a join.

    >>> str(Principal(PrincipalKind.USER, "ada"))
    'USER:ada'
    """

    kind: PrincipalKind
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> Principal:
        """The principal that ``str(principal)`` wrote."""
        kind, _, id = text.partition(":")
        return cls(PrincipalKind(kind), id)

    @property
    def name(self) -> str:
        """What people call this principal."""
        return _NAMES.get(self, self.id)


def is_principal(text: str) -> bool:
    """Whether a text names a principal, as ``KIND:id``."""
    try:
        return bool(Principal.parse(text).id)
    except ValueError:
        return False


def may_act(principal: str) -> str | None:
    """Why a principal may not act any more, as a sentence; None when it may.

    There are no rights yet, so that everybody may who is a principal at all.
    """
    return None if is_principal(principal) else f"'{principal}' is no principal."


LOCAL_ADMIN = Principal(PrincipalKind.USER, "local-admin")
"""Until there is authentication, everybody who reaches the server is this one."""
SYSTEM = Principal(PrincipalKind.SYSTEM, "taskloom")

_NAMES = {LOCAL_ADMIN: "Local administrator", SYSTEM: "Taskloom"}
