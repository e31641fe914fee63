"""Files and functions stay small, and no name says nothing."""

from __future__ import annotations

import ast
import sys

import pytest

from tests.house.test_floors import MODULES, ROOT

EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_longer_than_400_lines(module: str) -> None:
    path = ROOT / (module.replace(".", "/") + ".py")
    path = path if path.exists() else ROOT / module.replace(".", "/") / "__init__.py"
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("module", MODULES)
def test_no_function_is_longer_than_50_lines_without_its_docstring(module: str) -> None:
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            assert (node.end_lineno or 0) - body[0].lineno < 50, f"{module}.{node.name}"


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_named_for_nothing_or_like_the_standard_library(module: str) -> None:
    name = module.rsplit(".", 1)[-1]
    assert name not in EMPTY_NAMES
    assert name == "app" or name == "__main__" or name not in sys.stdlib_module_names


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_has_a_docstring(module: str) -> None:
    tree = MODULES[module]
    assert ast.get_docstring(tree) or not tree.body, f"{module} has no docstring"
    for node in _public(tree):
        assert ast.get_docstring(node), f"{module}.{node.name} has no docstring"


def _public(tree: ast.Module | ast.ClassDef) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    found: list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if not (isinstance(node, ast.FunctionDef) and node.name in ("upgrade", "downgrade")):
                found.append(node)
            if isinstance(node, ast.ClassDef) and not _is_protocol(node):
                found += _public(node)
    return found


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
