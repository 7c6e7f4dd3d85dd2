"""Files and functions that can be read at one go, under names that say something."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("visiontasks", "tests", "tools") for path in (ROOT / folder).rglob("*.py")
)
VAGUE = {"utils", "util", "helpers", "helper", "misc", "common"}
MAX_LINES_OF_FILE = 400
MAX_LINES_OF_FUNCTION = 60  # its docstring apart


def _lines(function):
    """Lines of a function without its docstring."""
    documented = ast.get_docstring(function, clean=False) is not None
    docstring = function.body[0].end_lineno - function.body[0].lineno + 1 if documented else 0
    return function.end_lineno - function.lineno + 1 - docstring


def test_files_and_functions_are_short():
    too_long = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > MAX_LINES_OF_FILE:
            too_long.append(f"{path.relative_to(ROOT)} is too long")
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and _lines(node) > MAX_LINES_OF_FUNCTION
            ):
                too_long.append(
                    f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {_lines(node)} lines"
                )
    assert too_long == []


def test_no_vague_names():
    folders = {parent for path in SOURCES for parent in path.relative_to(ROOT).parents}
    names = {path.relative_to(ROOT).with_suffix("") for path in SOURCES} | folders
    assert [str(name) for name in sorted(names) if name.name in VAGUE] == []
