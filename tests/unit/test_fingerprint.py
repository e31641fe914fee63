"""Fingerprints: failures of one cause share one, failures of different causes do not."""

from __future__ import annotations

import time

import pytest

from app.fingerprint import KEPT, cause, normalised, place


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("disk 1 is full", "disk 2048 is full"),
        ("took 1.5 s, at most 1 allowed", "took 1234.56 s, at most 30 allowed"),
        ("no row '0199c0de-0000-7000-8000-000000000000'", "no row 'x'"),
        ("run 0199c0de-0000-7000-8000-000000000000 ended", "run 0199c0de-ffff-7000-8000-00000000ffff ended"),
        ("at 2026-11-21T07:00:00.123Z", "at 2027-01-02 03:04+01:00"),
        ("[Errno 2] No such file: /tmp/a/b.csv", "[Errno 13] No such file: /srv/other"),
        ("open C:\\Users\\ada\\x.txt failed", "open D:\\y failed"),
        ("GET https://example.org/a?b=1 gave 502", "GET http://example.com gave 503"),
        ("object at 0x7f00aa is gone", "object at 0x1 is gone"),
        ("commit deadbeef1234 is unknown", "commit 0a1b2c3d4e5f is unknown"),
        ("customer cus_9XbQ2kLm7Z is blocked", "customer cus_1Aa2Bb3Cc4 is blocked"),
        ("order_4711 failed", "order_90210 failed"),
        ('unexpected "a\'b"', 'unexpected "c"'),
        ("waits  for\n\tmore", "waits for more"),
        ("port 5432: refused", "port -1: refused"),
        ("12MB of 30MB", "7MB of 8MB"),
    ],
)
def test_what_differs_from_run_to_run_makes_no_difference(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)
    assert cause("d", "E", one).id == cause("d", "E", other).id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("disk is full", "disk is broken"),
        ("don't read it", "don't write it"),
        ("utf8 expected", "md5 expected"),
        ("column a", "column b"),
        ("磁盘已满", "磁盘损坏"),
        ("", "x"),
    ],
)
def test_other_words_are_another_cause(one: str, other: str) -> None:
    assert cause("d", "E", one).id != cause("d", "E", other).id


def test_definition_type_and_place_count_too() -> None:
    traceback = 'Traceback (most recent call last):\n  File "/a/tasks.py", line 3, in {}\n    x()\nE: m\n'
    ids = {
        cause("d", "E", "m").id,
        cause("other", "E", "m").id,
        cause("d", "Other", "m").id,
        cause("d", "E", "m", traceback.format("read")).id,
        cause("d", "E", "m", traceback.format("write")).id,
    }
    assert len(ids) == 5
    assert all(len(id) == 16 for id in ids)


def test_the_place_is_the_innermost_frame_that_is_no_librarys() -> None:
    frames = (
        '  File "/srv/app/tasks.py", line 12, in read_all\n    read()\n',
        '  File "/srv/app/io.py", line 7, in read\n    socket()\n',
        '  File "/usr/lib/python3.11/socket.py", line 1, in connect\n    raise\n',
        '  File "/x/site-packages/httpx/client.py", line 1, in send\n    raise\n',
        '  File "<frozen importlib>", line 1, in find\n',
    )
    assert place("".join(frames)) == "io.py:read"
    assert place("".join(frames[2:4])) == "client.py:send"
    assert place('  | File "D:\\work\\tasks.py", line 9, in <lambda>\n') == "tasks.py:<lambda>"
    assert place("".join(frames).replace("line 7", "line 70").replace("/srv/", "/opt/")) == "io.py:read"
    assert place(None) is place("") is place("no frames here") is None


@pytest.mark.parametrize(
    "bad", ["a" * 10_000, "a." * 5000, "/" * 10_000, "'" * 9999, "1" * 10_000, "0x" * 5000, "a1" * 5000]
)
def test_no_message_takes_long_or_stays_long(bad: str) -> None:
    started = time.process_time()
    assert len(normalised(bad)) <= KEPT
    # Seconds where a pattern takes quadratic time or worse; a millisecond where it does not.
    assert time.process_time() - started < 0.5
