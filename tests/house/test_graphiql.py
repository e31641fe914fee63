"""The playground is ours alone: pinned, free of hosts, served under a strict policy, and never in the way."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from graphql import build_schema, parse, validate
from starlette.applications import Starlette

from app.dashboard.build import build
from app.dashboard.places import PLACES, Places
from app.dashboard.playground import page, routes
from app.registry import registry

if TYPE_CHECKING:
    from starlette.responses import Response


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A copy of the sources, never built."""
    ignore = shutil.ignore_patterns("node_modules", "dist")
    return Places(Path(shutil.copytree(PLACES.root, tmp_path / "graphiql", ignore=ignore)))


def pretend_built(places: Places) -> None:
    places.site.mkdir(parents=True)
    places.index.write_text("<title>built</title>")
    places.finish(places.fingerprint())


def text(response: Response) -> str:
    return bytes(response.body).decode()


def test_every_package_is_pinned_exactly() -> None:
    package: dict[str, Any] = json.loads((PLACES.root / "package.json").read_text())
    for version in (package["dependencies"] | package["devDependencies"]).values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)


def test_the_lock_file_names_no_host_and_fits_the_package() -> None:
    text = (PLACES.root / "package-lock.json").read_text()
    assert "://" not in text
    package = json.loads((PLACES.root / "package.json").read_text())
    assert json.loads(text)["packages"][""]["dependencies"] == package["dependencies"]


def test_the_sources_load_nothing_from_elsewhere() -> None:
    for source in (*PLACES.root.glob("*.html"), *PLACES.root.glob("*.js*"), *PLACES.root.glob("*.css")):
        assert "://" not in source.read_text(), source.name


@pytest.mark.parametrize("tab", sorted(PLACES.root.glob("tabs/*.graphql")), ids=lambda tab: tab.stem)
def test_every_tab_holds_an_operation_of_the_schema(tab: Path) -> None:
    schema = build_schema((Path(__file__).parents[2] / "schema.graphql").read_text())
    assert validate(schema, parse(tab.read_text())) == []


def test_the_trigger_tab_has_an_input_that_its_definition_takes() -> None:
    asked = json.loads((PLACES.root / "tabs/trigger.json").read_text())["input"]
    registry.load(["workers.tasks"])
    definition = registry.get(asked["definitionId"])
    assert definition is not None
    assert definition.parse_input(json.dumps(asked["input"]))


def test_a_page_that_is_not_built_says_how_to_build_it_and_reloads(places: Places) -> None:
    response = page(places)
    assert response.status_code == 503
    assert "python -m app.dashboard.build" in text(response)
    assert 'http-equiv="refresh"' in text(response)


def test_a_page_that_is_being_built_says_so(places: Places) -> None:
    with places.building():
        assert "is being built" in text(page(places))
    assert "is being built" not in text(page(places))


def test_a_build_without_a_network_ends_with_a_sentence_that_the_page_shows_too(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    outcome = build(places)
    assert outcome.startswith("GraphiQL was not built: Its packages could not be fetched (is there a network?).")
    assert "\n" not in outcome
    assert "could not be built" in text(page(places))
    assert "could not be fetched" in text(page(places))


def test_what_is_built_is_not_built_again_until_a_source_changes(places: Places) -> None:
    pretend_built(places)
    assert build(places) == "GraphiQL is up to date."
    (places.root / "main.jsx").write_text("// changed")
    assert not places.is_current()


def test_a_directory_that_cannot_be_written_is_said_and_not_raised(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert build(Places(tmp_path / "file")).startswith("GraphiQL was not built:")


def test_the_page_allows_scripts_of_this_server_only(places: Places) -> None:
    pretend_built(places)
    response = page(places)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "unsafe-eval" not in policy
    assert "://" not in policy
    assert "<script>" not in (PLACES.root / "index.html").read_text()


async def test_files_are_sent_compressed_and_kept_by_browsers_for_ever(places: Places) -> None:
    pretend_built(places)
    (places.site / "main-AB.js").write_text("plain")
    (places.site / "main-AB.js.gz").write_bytes(bytes.fromhex("1f8b08000000000000032bc849cccc0300d1d5c6c805000000"))
    transport = httpx2.ASGITransport(app=Starlette(routes=routes(places)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://taskloom.test") as http:
        for accepted, encoding in [("gzip, br", "gzip"), ("identity", None)]:
            headers = {"accept-encoding": accepted}
            async with http.stream("GET", "/graphql/assets/main-AB.js", headers=headers) as response:
                assert response.status_code == 200
                assert response.headers.get("content-encoding") == encoding
                assert "javascript" in response.headers["content-type"]
                assert "immutable" in response.headers["cache-control"]
                assert response.headers["content-security-policy"]
        assert (await http.get("/graphql/assets/../stamp")).status_code == 404
        assert (await http.get("/graphql/assets/missing.js")).status_code == 404
