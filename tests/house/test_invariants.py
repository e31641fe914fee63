"""The list of invariants names tests that exist, for each invariant in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
LIST = (HOUSE / "docs" / "invariants.md").read_text(encoding="utf-8")
PARTS = re.split(r"^## ", LIST, flags=re.MULTILINE)[1:]


def test_every_invariant_has_its_part() -> None:
    assert [part.split()[0] for part in PARTS] == [f"I{number}" for number in range(1, 18)]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.split()[0])
def test_every_test_that_is_named_exists_and_was_seen_to_fail(part: str) -> None:
    rows = re.findall(r"^\| `(tests/[\w/]+\.py)::(\w+)` \| (.+) \|$", part, re.MULTILINE)
    assert rows
    for file, name, _ in rows:
        assert f"def {name}(" in (HOUSE / file).read_text(encoding="utf-8"), f"{file}::{name}"
    assert all(len(seen) > 3 for *_, seen in rows), "each was seen to fail"
