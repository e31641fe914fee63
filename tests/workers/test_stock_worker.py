"""arq's stock command with Taskloom's settings: what it cannot do, it says."""

from __future__ import annotations

import asyncio

import pytest

from app.settings import Settings, get_settings
from tests.faults.processes import ROOT, STOCK, environment
from workers import main


async def test_a_stock_worker_is_refused_several_queues_instead_of_serving_the_first(settings: Settings) -> None:
    process = await asyncio.create_subprocess_exec(
        *STOCK, env=environment(settings, TASKLOOM_QUEUES="mails,reports"), cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode != 0
    assert "serves one queue, and TASKLOOM_QUEUES names 2: mails, reports." in said.decode()


def test_a_stock_worker_takes_all_that_the_url_of_redis_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "rediss://ada:a%2Fb@h:1/3?ssl_ca_certs=/ca.pem")
    get_settings.cache_clear()
    redis = main.WorkerSettings.redis_settings
    get_settings.cache_clear()
    assert (redis.host, redis.port, redis.database, redis.ssl) == ("h", 1, 3, True)
    assert (redis.username, redis.password, redis.ssl_ca_certs) == ("ada", "a/b", "/ca.pem")
