"""Imports point down only (the layers below); tasks, engine and the rooms beside them do not meet."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "visiontasks"

LAYERS = (  # a room may import from itself and from the layers above it in this list
    {"errors"},
    {"ledger", "classes", "operating_point"},
    {"types"},
    {"io", "ops", "drawing", "plots"},
    {"config"},
    {"config_files", "splits"},
    {"backbones"},
    {"classification", "detection", "segmentation", "engine", "data", "explain"},
    {"tasks"},
    {"model", "bundled"},
    {"explaining"},
    {"api"},
    {"cli", "bundling"},
    {"__main__"},
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
ROOM_OF = {"data_tools": "types"}  # files that are one room: each needs the other
PUBLIC = (
    "__init__"  # visiontasks/__init__.py hands out the public names lazily; inside, only its version is used
)


def _targets(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import, wherever in the file; `from a import b` gives a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parent = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parent, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def find_faults(package: Path) -> list[str]:
    """One line for each arrow that points up or sideways, and for each room that has no layer."""
    faults = []
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package)
        parts = relative.with_suffix("").parts
        room = ROOM_OF.get(parts[0], parts[0])
        if parts == (PUBLIC,):
            continue
        if room not in LEVEL:
            faults.append(f"{relative}: the room '{room}' has no layer; give it one in {Path(__file__).name}")
            continue
        is_package = parts[-1] == "__init__"
        module = ".".join(("visiontasks", *(parts[:-1] if is_package else parts)))
        for line, target in _targets(ast.parse(path.read_text(encoding="utf-8")), module, is_package):
            names = target.split(".")
            if names[0] != "visiontasks" or target == "visiontasks.__version__":
                continue
            other = ROOM_OF.get(names[1], names[1]) if len(names) > 1 else PUBLIC
            if other != room and LEVEL.get(other, len(LAYERS)) >= LEVEL[room]:
                faults.append(f"{relative}:{line}: {room} imports {target}, which is not below it")
    return faults


def test_imports_point_down():
    assert sum(1 for _ in PACKAGE.rglob("*.py")) > 20
    assert find_faults(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "line", "caught"),
    [
        ("ops/boxes.py", "from visiontasks.errors import DataError", False),
        ("ops/boxes.py", "from visiontasks.ops.nms import nms", False),
        ("ops/boxes.py", "from visiontasks import __version__", False),
        ("ops/boxes.py", "import numpy", False),
        ("ops/boxes.py", "from visiontasks.api import load", True),
        ("ops/boxes.py", "from visiontasks import load", True),
        ("ops/boxes.py", "import visiontasks", True),
        ("ops/boxes.py", "from visiontasks.io.images import read_image", True),
        ("ops/boxes.py", "def late():\n    import visiontasks.engine.fit", True),
        ("ops/boxes.py", "from .nms import nms", False),
        ("ops/boxes.py", "from ..api import load", True),
        ("ops/__init__.py", "from .. import api", True),
        ("ops/__init__.py", "from .nms import nms", False),
        ("engine/fit.py", "from visiontasks.classification import TASK", True),
        ("engine/fit.py", "from visiontasks.tasks import load_task", True),
        ("detection/datasets/coco.py", "from visiontasks.segmentation.types import Mask", True),
        ("detection/datasets/coco.py", "from visiontasks.engine.fit import fit", True),
        ("data/shapes.py", "from visiontasks.classification.config import DataConfig", True),
        ("api.py", "from visiontasks.engine.fit import fit", False),
        ("api.py", "from visiontasks.cli import main", True),
        ("newroom/paint.py", "import numpy", True),
    ],
)
def test_a_planted_import_is_caught(tmp_path, file, line, caught):
    planted = tmp_path / "visiontasks" / file
    planted.parent.mkdir(parents=True)
    planted.write_text(line, encoding="utf-8")
    faults = find_faults(tmp_path / "visiontasks")
    assert bool(faults) == caught, faults
    assert all(file in fault for fault in faults)
