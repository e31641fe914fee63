"""compose.yaml, read as it stands; there is no Docker engine where the tests run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[2] / "compose.yaml").read_text(encoding="utf-8")
)["services"]


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("name", ["server", "worker"])
def test_the_migrations_come_before(name: str) -> None:
    assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert SERVICES["migrate"]["depends_on"]["postgres"] == {"condition": "service_healthy"}


@pytest.mark.parametrize("name", ["postgres", "valkey", "server"])
def test_what_others_wait_for_tells_its_health(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_workers_can_be_scaled() -> None:
    assert not {"container_name", "ports"} & SERVICES["worker"].keys()


@pytest.mark.parametrize("name", ["migrate", "server", "worker"])
def test_every_setting_that_is_passed_on_exists(name: str) -> None:
    known = {f"TASKLOOM_{setting.upper()}" for setting in Settings.model_fields}
    passed = {variable for variable in SERVICES[name]["environment"] if variable.startswith("TASKLOOM_")}

    assert passed
    assert passed <= known


def test_what_decides_about_a_trigger_is_alike_on_servers_and_workers() -> None:
    server, worker = SERVICES["server"]["environment"], SERVICES["worker"]["environment"]

    assert {"TASKLOOM_MAX_QUEUED", "TASKLOOM_QUEUE_LIMITS"} <= server.keys() & worker.keys()
