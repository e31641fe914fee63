"""Numbers with what they count."""

from __future__ import annotations

import pytest

from app.counting import counted


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0 runs wait"),
        (1, "1 run waits"),
        (1.0, "1 run waits"),
        (0.5, "0.5 runs wait"),
        (12345678, "12,345,678 runs wait"),
    ],
)
def test_one_is_counted_in_the_singular_and_everything_else_in_the_plural(number: float, said: str) -> None:
    assert counted(number, "run", "wait") == said
    assert counted(number, "run") == said.rpartition(" ")[0]
