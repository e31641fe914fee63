"""``schema.graphql``: the schema as text, exported from the code and kept in step with it."""

from __future__ import annotations

from pathlib import Path

from strawberry.printer import print_schema

from app.schema.schema import schema

SCHEMA_FILE = Path(__file__).parents[2] / "schema.graphql"
HEADER = "# The GraphQL schema of Taskloom, exported from the code by `taskloom schema export`. Do not edit.\n\n"


def export() -> str:
    """The schema in GraphQL's schema definition language."""
    return HEADER + print_schema(schema) + "\n"


def is_in_step(path: Path = SCHEMA_FILE) -> bool:
    """Whether the file holds the schema of the code."""
    return path.is_file() and path.read_text(encoding="utf-8") == export()


def write(path: Path = SCHEMA_FILE) -> None:
    """Export the schema to the file."""
    path.write_text(export(), encoding="utf-8")
