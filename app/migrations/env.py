"""What Alembic runs for every command: the models' tables on the connection that ``app.migrations`` opened."""

from alembic import context
from sqlalchemy import Connection
from sqlmodel import SQLModel

import app.models
from app.migrations import is_ours

app.models.load_all()


def run() -> None:
    """Run the migrations on the connection the caller opened, each in a transaction of its own."""
    connection: Connection | None = context.config.attributes.get("connection")
    if connection is None:
        raise RuntimeError(
            "Migrations run through app.migrations (`taskloom migrate`), not through the alembic command."
        )
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        compare_type=True,
        transaction_per_migration=True,
        include_name=is_ours,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()


run()
