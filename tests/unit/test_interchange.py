"""Documents as text: whatever is written is read back, and YAML has no traps left."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidArgument
from app.interchange import MAX_DEPTH, TextFormat, read, write

TRAPS = (
    "yes", "No", "y", "on", "OFF", "~", "null", "True", "0777", "0o17", "0x1F", "1_000", "12:30", "12:30:45", ".5",
    "1.", "+1", ".inf", "-.NaN", "2026-01-31", "2026-01-31T12:00:00Z", "=", "<<", "1e3", "", " ", "- a", "a: b", "a #b",
    "*a", "&a", "!a", "|", ">", "%a", "@a", "`a", "[a", "{a", "'a", '"a', "a\n", "\n", "a\n\n", "a\n b",
    " a\nb", "a \nb", "a\tb\nc", "a\r\nb", "\x85", "\u2028", "\ufeff", "\x7f", "---", "...", "é\nü", "🎉", "NaN",
)  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(TRAPS)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | TEXTS
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=10
)


@given(st.dictionaries(TEXTS, VALUES, min_size=1))
def test_what_was_written_is_read_back(value: dict[str, Any]) -> None:
    for form in TextFormat:
        assert read(write(value, form), form, 10**9) == value


@pytest.mark.parametrize("trap", TRAPS)
def test_a_text_is_a_text_to_other_readers_of_yaml_too(trap: str) -> None:
    text = write({"value": trap, "list": [trap], trap: 1}, TextFormat.YAML)
    assert yaml.safe_load(text) == {"value": trap, "list": [trap], trap: 1}


@pytest.mark.parametrize(
    "word",
    ["yes", "No", "y", "on", "OFF", "~", "True", "0777", "0o17", "0x1F", "1_000", "12:30", ".5", "1.", "+1", ".inf",
     "2026-01-31", "=", "<<"],
)  # fmt: skip
def test_a_word_without_quotes_that_is_read_in_two_ways_is_refused(word: str) -> None:
    for text in (f"a: {word}", f"- {word}", f"{word}: 1"):
        with pytest.raises(InvalidArgument, match="Line 1"):
            read(text, TextFormat.YAML, 1000)


def test_words_and_numbers_are_what_json_says() -> None:
    text = "[null, true, false, 1, -0.5, 1e3, 12345678901234567890123, word, two words]"
    assert read(text, None, 1000) == [None, True, False, 1, -0.5, 1000.0, 1.2345678901234568e22, "word", "two words"]


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "Line 1 has an anchor"),
        ("a: *b", "anchor or an alias"),
        ("a: !!python/object:os.system x", "has a tag"),
        ("a: !!str 1", "has a tag"),
        ("a: 1\nb: 2\na: 3", "Line 3 names 'a' a second time"),
        ("a: 1\n---\nb: 2", "A second document begins in line 2"),
        ("? [1]\n: 2", "list or an object as a name"),
        ("a: 1e999", "larger than any"),
        ("a: \x01", "no YAML"),
        ("a: [1", "no YAML: .* in line"),
        ("a: \ud800", "surrogate"),
        ("[" * (MAX_DEPTH + 2), "deep in each other in line 1"),
        ("# nothing\n", "empty"),
        ('{"a": 1, "a": 2}', "names 'a' twice"),
        ('{"a": NaN}', "NaN is no JSON"),
        ('{"a": 1e999}', "larger than any"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"a": ' * 5000, "deep"),
        ('{"a": ' + "[" * 400 + "]" * 400 + "}", "deep"),
        ('{"a": 1', "no JSON: .* in line 1"),
    ],
)
def test_a_text_that_is_not_plain_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        read(text, None, 10**6)


def test_yaml_that_would_take_minutes_is_refused_and_json_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.yaml_text.MAX_VALUES", 100)
    text = "[" + ", ".join(["[]"] * 100) + "]"
    with pytest.raises(InvalidArgument, match="more than 100 values"):
        read(text, TextFormat.YAML, 10**6)
    assert len(read(text, TextFormat.JSON, 10**6)) == 100


def test_a_text_that_is_too_long_is_not_even_read() -> None:
    with pytest.raises(InvalidArgument, match="at most 100 are allowed"):
        read("é" * 51, None, 100)
