"""What ``from app import …`` gives, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import app


@pytest.mark.parametrize("name", app.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(app, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = app.Nothing


def test_importing_the_package_alone_loads_neither_the_database_nor_the_web() -> None:
    check = "import app, sys; assert not {'sqlalchemy', 'pydantic', 'asyncpg', 'strawberry'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_the_service_loads_neither_the_web_nor_graphql() -> None:
    check = (
        "from app import TaskService; import sys; assert not {'strawberry', 'starlette', 'uvicorn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
