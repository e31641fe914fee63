"""Files and functions stay small, and no name says nothing."""

from __future__ import annotations

import ast
import sys

from tests.house.test_floors import ROOT, modules

EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}


def test_no_file_is_longer_than_400_lines() -> None:
    assert [module for module in modules() if len(source(module).splitlines()) > 400] == []


def source(module: str) -> str:
    path = ROOT / (module.replace(".", "/") + ".py")
    path = path if path.exists() else ROOT / module.replace(".", "/") / "__init__.py"
    return path.read_text()


def test_no_function_is_longer_than_50_lines_without_its_docstring() -> None:
    functions = [
        (module, node)
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert functions
    assert [f"{module}.{node.name}" for module, node in functions if length(node) >= 50] == []


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
    return (node.end_lineno or 0) - body[0].lineno


def test_no_module_is_named_for_nothing_or_like_the_standard_library() -> None:
    names = {module: module.rsplit(".", 1)[-1] for module in modules()}
    assert [module for module, name in names.items() if name in EMPTY_NAMES] == []
    taken = sys.stdlib_module_names - {"__main__"}
    assert [module for module, name in names.items() if name in taken] == []


def test_everything_public_has_a_docstring() -> None:
    bare = [module for module, tree in modules().items() if tree.body and not ast.get_docstring(tree)]
    public = [(module, node) for module, tree in modules().items() for node in _public(tree)]
    bare += [f"{module}.{node.name}" for module, node in public if not ast.get_docstring(node)]
    assert bare == []


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
