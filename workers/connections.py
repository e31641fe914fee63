"""The connections of one event loop in a worker process: PostgreSQL, the doorbell and the events."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from app.claiming import Executed
from app.db import Database
from app.doorbell import Doorbell
from app.events import Events
from app.leases import Claimant
from app.lifecycle import Lifecycle
from app.settings import Settings


@dataclass(frozen=True)
class Connections:
    """One set of connections, bound to the event loop that opened it."""

    db: Database
    doorbell: Doorbell
    events: Events

    @classmethod
    def open(cls, settings: Settings, *, pool_size: int) -> Connections:
        """Prepare the connections; each opens at its first use."""
        return cls(
            Database(settings.database_url, pool_size=pool_size),
            Doorbell(settings.redis_url),
            Events(settings.redis_url),
        )

    def lifecycle(self, settings: Settings, claimant: Claimant, executed: Executed = dict[UUID, int]) -> Lifecycle:
        """The worker's use cases over these connections; who claims tells what it executes."""
        return Lifecycle(self.db, self.doorbell, self.events, settings, claimant, executed)

    async def close(self) -> None:
        """Close them all."""
        await self.events.close()
        await self.doorbell.close()
        await self.db.close()
