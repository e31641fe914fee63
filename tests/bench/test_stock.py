"""The stock server does the same for the same requests, and its figures are of what it really stored and enqueued."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from graphql import parse, validate

from app.schema.schema import schema
from tests.bench.bed import ROOT, Bed
from tests.bench.http_client import TRIGGER, TRIGGERS
from tests.bench.peers import stock
from tests.bench.peers.environment import Unavailable
from tests.bench.peers.stock import Pair, Triggered

# All packages are here anyway, so that the tests need to install nothing.
HERE = Path(sys.executable).parent


@pytest.mark.parametrize(("clients", "bulk"), [(4, 1), (2, 40)])
async def test_the_stock_server_stores_and_enqueues_all_that_it_answers(bed: Bed, clients: int, bulk: int) -> None:
    triggered = await stock.stock(bed, HERE, clients, bulk, 0.1)
    assert triggered.rate > 0
    assert triggered.microseconds["server"] > 0
    assert not await bed.look.fetchval("SELECT count(*) FROM pg_database WHERE datname = 'peer'")


async def test_a_stock_server_that_does_not_start_is_told_at_once_with_its_last_words(bed: Bed, tmp_path: Path) -> None:
    command = tmp_path / "uvicorn"
    command.write_text("#!/bin/sh\necho no such loop\nexit 1\n")
    command.chmod(0o755)
    with pytest.raises(Unavailable, match="no such loop"):
        await stock.stock(bed, tmp_path, 1, 1, 0.1)


def test_what_is_sent_to_both_servers_is_well_formed_for_ours() -> None:
    for document in (TRIGGER, TRIGGERS):
        assert not validate(schema._schema, parse(document))


def test_the_stock_server_has_the_versions_that_ours_has() -> None:
    locked = (ROOT / "requirements.lock").read_text()
    for requirement in stock.REQUIREMENTS:
        name, version = requirement.split("==")
        assert f"\n{name.partition('[')[0]}=={version} " in locked


def test_the_table_has_medians_and_how_many_times_ours_they_are() -> None:
    ours = [Triggered(rate, {"server": rate}) for rate in (90.0, 300.0, 310.0)]
    theirs = [Triggered(rate, {"server": 4 * rate, "Valkey": 2.0}) for rate in (100.0, 40.0, 200.0)]
    assert Pair("requests", ours, theirs).row() == (
        "requests", "300", "100", "3.0", "server 300", "server 400, Valkey 2"
    )  # fmt: skip
