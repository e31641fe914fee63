"""Cursors and page arguments, without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidArgument
from app.paging import Keyset, PageArgs, Window, make_page, window
from app.settings import Settings

KEYSET = Keyset("things", (datetime, int, str, UUID))
FORWARD = Window(size=2, backward=False, after=None, before=None)
BACKWARD = Window(size=2, backward=True, after=None, before=None)
TIMES = Keyset("times", (datetime,))
NUMBERS = Keyset("numbers", (int,))


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.integers(-(2**31) + 1, 2**31 - 1),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50),
    st.uuids(),
)
def test_a_cursor_gives_back_the_values_it_was_made_of(moment: datetime, number: int, text: str, id: UUID) -> None:
    key = (moment, number, text, id)
    assert KEYSET.key(KEYSET.cursor(key), "after") == key


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: data.decode("latin-1")))
def test_no_text_that_claims_to_be_a_cursor_does_any_harm(text: str) -> None:
    with pytest.raises(InvalidArgument, match="'after'"):
        KEYSET.key(text, "after")


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00"])
def test_a_cursor_with_a_time_that_no_row_has_is_refused(time: str) -> None:
    with pytest.raises(InvalidArgument, match="no cursor"):
        TIMES.key(TIMES.cursor((time,)), "after")


@pytest.mark.parametrize("key", [("x",), (1, 2), (2**40,), (True,), (1.5,), (None,), ([],)])
def test_a_cursor_with_values_of_another_kind_is_refused(key: tuple[object, ...]) -> None:
    with pytest.raises(InvalidArgument, match="no cursor"):
        NUMBERS.key(NUMBERS.cursor(key), "before")


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="another list"):
        NUMBERS.key(Keyset("others", (int,)).cursor((1,)), "after")


def test_a_page_read_forward_knows_whether_there_is_more() -> None:
    page = make_page([1, 2, 3], FORWARD, NUMBERS, lambda n: (n,))
    assert (page.items, page.has_next, page.has_previous) == ([1, 2], True, False)
    assert make_page([1, 2], FORWARD, NUMBERS, lambda n: (n,)).has_next is False


def test_a_page_read_backward_is_turned_round() -> None:
    page = make_page([9, 8, 7], BACKWARD, NUMBERS, lambda n: (n,))
    assert (page.items, page.has_next, page.has_previous) == ([8, 9], False, True)
    assert [NUMBERS.key(cursor, "after") for cursor in page.cursors] == [(8,), (9,)]


def test_a_page_without_a_size_has_the_default_one_but_never_more_than_the_limit() -> None:
    usual, small = Settings(default_page_size=50, max_page_size=200), Settings(default_page_size=50, max_page_size=20)
    assert window(PageArgs(), NUMBERS, usual).size == 50
    assert window(PageArgs(), NUMBERS, small).size == 20
    assert window(PageArgs(first=0), NUMBERS, usual).size == 0
