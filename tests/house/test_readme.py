"""What README, CHANGELOG and docs show is true: settings, queries, commands, states, names, links and tests."""

from __future__ import annotations

import ast
import builtins
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from graphql import GraphQLSchema, build_schema, parse, validate

import app
import workers
from app import states
from app.cli.application import app as command
from app.registry import registry
from app.settings import Settings
from app.states import Move, Reason, RunError, TaskRunStatus

HOUSE = Path(__file__).parents[2]
README = (HOUSE / "README.md").read_text(encoding="utf-8")
CHANGELOG = (HOUSE / "CHANGELOG.md").read_text(encoding="utf-8")
DECISIONS = sorted((HOUSE / "docs" / "decisions").glob("*.md"))
DOCS = [HOUSE / "README.md", HOUSE / "CHANGELOG.md", *sorted((HOUSE / "docs").glob("*.md")), *DECISIONS]
NO_SETTINGS = {"TASKLOOM_PORT", "TASKLOOM_TEST_PROGRAMS"}
"""Other names for a setting, and what only tests read."""


def fences(language: str, *paths: Path) -> list[str]:
    """The fenced blocks of a language on some pages; on the README without any."""
    pages = [path.read_text(encoding="utf-8") for path in paths] or [README]
    return [
        block for page in pages for block in re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    ]


# Settings.


def variables() -> dict[str, object]:
    """The variable of each setting, and its default."""
    found: dict[str, object] = {}
    for name, field in Settings.model_fields.items():
        alias: Any = field.validation_alias
        found[alias.choices[0] if alias else f"TASKLOOM_{name.upper()}"] = field.default
    return found


def shown(default: object) -> str:
    """A default as the table writes it."""
    if default is None:
        return ""
    if isinstance(default, tuple):
        return ",".join(str(part) for part in default)
    if isinstance(default, bool):
        return str(int(default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_the_table_of_settings_has_every_setting_with_its_default_and_no_other() -> None:
    settings = (HOUSE / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`(.*?)`)? ?\| .+ \|$", settings, re.MULTILINE)
    assert dict(rows) == {name: shown(default) for name, default in variables().items()}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"TASKLOOM_[A-Z_]+", path.read_text(encoding="utf-8")))
    assert named - variables().keys() - NO_SETTINGS == set()


# GraphQL.


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    """The schema that clients see."""
    return build_schema((HOUSE / "schema.graphql").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "document", fences("graphql", *DOCS), ids=lambda text: text.split("(")[0].split("{")[0].strip()
)
def test_every_query_fits_the_schema(document: str, schema: GraphQLSchema) -> None:
    assert validate(schema, parse(document)) == []


def test_the_query_sent_with_curl_fits_the_schema(schema: GraphQLSchema) -> None:
    queries = re.findall(r'"query": "(.*?)"}', README)
    assert queries
    assert [validate(schema, parse(query)) for query in queries] == [[] for _ in queries]


# Commands.


def commands() -> Iterator[str]:
    """Every command ``taskloom …`` in a block of any page, and in a sentence of the README."""
    for path in DOCS:
        for block in re.findall(r"^```\w*\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if match := re.match(r"(?:\.venv/bin/)?taskloom (.+)", line):
                    yield match[1]
    yield from sentences(README)


def sentences(text: str) -> list[str]:
    """Every command ``taskloom …`` of a page that is not in a block."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`(?:\.venv/bin/)?taskloom\s([^`]+)`", prose)


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_is_understood(line: str) -> None:
    root = typer.main.get_command(command)
    assert understood(root, shlex.split(line)), line


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_command_that_a_sentence_names_exists(path: Path) -> None:
    root = typer.main.get_command(command)
    assert [line for line in sentences(path.read_text(encoding="utf-8")) if not exists(root, line.split())] == []


def exists(found: Any, words: list[str]) -> bool:
    """Whether there is such a command; its arguments may be missing."""
    if not words or not hasattr(found, "commands"):
        return True
    return words[0].startswith("-") or (words[0] in found.commands and exists(found.commands[words[0]], words[1:]))


def understood(found: Any, words: list[str]) -> bool:
    """Whether a command takes these words; nothing is executed."""
    try:
        context = found.make_context(found.name, list(words))
    except Exception as error:
        # The help that was asked for ends the reading, and well.
        return getattr(error, "exit_code", 1) == 0
    rest = [*getattr(context, "_protected_args", ()), *context.args]
    if not hasattr(found, "commands"):
        return not rest
    return not rest or (rest[0] in found.commands and understood(found.commands[rest[0]], rest[1:]))


def test_a_command_that_is_not_there_is_not_understood() -> None:
    root = typer.main.get_command(command)
    assert not understood(root, ["runs", "dance"])
    assert not understood(root, ["runs", "list", "--colour", "red"])
    assert not exists(root, ["runs", "dance"])


def test_every_make_target_that_is_named_exists() -> None:
    there = set(re.findall(r"^([a-z-]+):", (HOUSE / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", " ".join(re.findall(r"`[^`]*make [^`]*`", README)))) <= there


# The states.

ERROR = RunError("Error", "no")
MOVES = (
    states.become_due(), states.claim(), states.succeed(None), states.fail(ERROR, Reason.ERROR),
    states.retry(ERROR, 1.0), states.retry(ERROR, 0.0), states.continue_(1.0), states.continue_(0.0), states.wait(()),
    states.interrupt(), states.expire_lease(), states.ask_abort(), states.abort(), states.acknowledge_abort(),
    states.force_abort(), states.expire(), states.fail_with_child(ERROR),
)  # fmt: skip


def steps(move: Move) -> Iterator[tuple[str, str]]:
    """From where to where a move leads, its budget of interruptions left or spent."""
    for source in move.sources:
        for interruptions in (0, 1):
            yield source, move.land(source, interruptions=interruptions, max_interruptions=1).status


def test_the_picture_of_the_states_shows_every_move_and_no_other() -> None:
    (diagram,) = fences("mermaid")
    arrows = re.findall(r"^ +(\S+) --> ([A-Z_]+|\[\*\])", diagram, re.MULTILINE)
    assert {(a, b) for a, b in arrows if "[*]" not in (a, b)} == {step for move in MOVES for step in steps(move)}
    assert {b for a, b in arrows if a == "[*]"} == {TaskRunStatus.SCHEDULED, TaskRunStatus.QUEUED}
    assert {a for a, b in arrows if b == "[*]"} == states.FINAL
    assert len(arrows) == len(set(arrows))


def test_the_moves_compared_are_all_that_there_are() -> None:
    makers = {
        name for name, maker in vars(states).items() if getattr(maker, "__annotations__", {}).get("return") == "Move"
    }
    assert len({move.name for move in MOVES}) == len(makers)


# Python.


GIVEN = {"tasks", "task", "run"}
"""What examples on the pages take as there: the service, a saved task and a run."""


@pytest.mark.parametrize("text", fences("python", *DOCS), ids=lambda text: text.strip().splitlines()[-1].strip())
def test_every_python_example_is_whole(text: str) -> None:
    tree = ast.parse(text)
    compile(text, "an example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for module, names in re.findall(r"^from (app|workers) import (.+)$", text, re.MULTILINE):
        public = {"app": app, "workers": workers}[module].__all__
        assert {name.strip() for name in names.split(",")} <= set(public)
    assert used(tree) - made(tree) - set(dir(builtins)) <= GIVEN


def used(tree: ast.Module) -> set[str]:
    """The names that an example reads."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def made(tree: ast.Module) -> set[str]:
    """The names that an example imports, assigns, defines or takes as arguments."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler) and node.name:
            found.add(node.name)
    return found


def test_the_task_of_the_readme_is_a_definition() -> None:
    (text,) = (text for text in fences("python") if "@task(" in text)
    try:
        exec(compile(text, "README.md", "exec"), {"__name__": "readme"})
        definition = registry.get("sales-report")
        assert definition is not None
        assert definition.parse_input('{"days": 3}').days == 3
        assert definition.output_schema is not None
    finally:
        registry.remove("sales-report")


# The papers themselves.


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        if target.startswith("http"):
            continue
        goal = (path.parent / file).resolve() if file else path
        assert goal.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", goal.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_can_be_read_in_one_go() -> None:
    assert len(README.splitlines()) <= 450


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_four_parts_in_20_lines_and_a_test_that_holds_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"^\*\*(.+?)\.\*\*", text, re.MULTILINE) == ["Context", "Decision", "Consequences", "Held by"]
    assert len(text.splitlines()) <= 20
    tests = re.findall(r"`(tests/[a-z_/]+\.py)(?:::(\w+))?`", text)
    assert tests
    for file, name in tests:
        source = (HOUSE / file).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in source, f"{file}::{name}"


def test_decisions_are_numbered_without_gap() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    for number, path in enumerate(DECISIONS, 1):
        assert path.read_text(encoding="utf-8").startswith(f"# {number}. ")


def test_the_changelog_names_every_dependency_with_its_version() -> None:
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = [*project["dependencies"], *(pin for pins in project["optional-dependencies"].values() for pin in pins)]
    for pin in pins:
        name, version = re.match(r"([a-z0-9-]+(?:\[\w+\])?)(?:[=>]=(\S+?))?(?:,.*)?$", pin).groups()  # type: ignore[union-attr]
        assert name.startswith("taskloom") or f"{name} {version}" in CHANGELOG, pin
