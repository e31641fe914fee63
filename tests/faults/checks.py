"""Definitions whose own checks of an input raise or block, by name; loaded by TASKLOOM_TASKS."""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import BaseModel, field_validator

from app.auth import Principal
from tests.faults.poison import RAISED
from workers import TaskContext, task


class Unchecked(BaseModel):
    name: str


class Checked(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def check(cls, name: str) -> str:
        refuse(name)
        return name


def refuse(name: str) -> None:
    """Raise what goes by that name, or block as long as the file ``begun`` in a folder has no ``go on`` beside it."""
    if name in RAISED:
        raise RAISED[name](f"on purpose: {name}")
    if name.startswith("/"):
        Path(name, "begun").touch()
        while not Path(name, "go on").exists():
            time.sleep(0.01)


async def hook(input: Unchecked, principal: Principal) -> None:
    refuse(input.name)


def hook_plain(input: Unchecked, principal: Principal) -> None:
    refuse(input.name)


@task(id="checks-validator")
async def validator(ctx: TaskContext, input: Checked) -> None:
    """Its input's validator does it."""


@task(id="checks-hook", before_trigger=hook)
async def with_hook(ctx: TaskContext, input: Unchecked) -> None:
    """Its ``before_trigger`` does it."""


@task(id="checks-hook-plain", before_trigger=hook_plain)
async def with_plain_hook(ctx: TaskContext, input: Unchecked) -> None:
    """The same in a thread."""
