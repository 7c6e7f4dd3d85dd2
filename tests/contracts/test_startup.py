"""What is quick stays quick: heavy libraries are imported only where they are needed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from visiontasks.cli import VERBS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "visiontasks"
HEAVY = ("torch", "torchvision", "albumentations", "matplotlib", "cv2", "scipy", "sklearn", "timm")

RUN_COMMAND = """
import json, runpy, sys
try:
    runpy.run_module("visiontasks", run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
print(json.dumps(sorted(sys.modules)))
"""
IMPORT_EACH = """
import importlib, json, sys
blamed = []
for module in sys.argv[1:]:
    before = "torch" in sys.modules
    importlib.import_module(module)
    if not before and "torch" in sys.modules:
        blamed.append(module)
print(json.dumps(blamed))
"""


def _last_line(code, *arguments):
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_import_visiontasks_is_light():
    modules = _last_line("import json, sys, visiontasks; print(json.dumps(sorted(sys.modules)))")
    assert "visiontasks" in modules
    assert not {*HEAVY, "numpy", "pydantic", "click"} & set(modules)


def test_help_is_light():
    modules = _last_line(RUN_COMMAND, "--help")
    assert "visiontasks.cli" in modules
    assert not {*HEAVY, "numpy", "pydantic"} & set(modules)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_leaves_torch_alone(verb):
    modules = _last_line(RUN_COMMAND, verb, "--help")
    assert f"visiontasks.cli.{VERBS[verb][0]}" in modules
    assert not {"torch", "albumentations", "matplotlib"} & set(modules)


def test_light_modules_leave_torch_alone():
    """Configs, files, data sets, metrics and drawing serve people who have no model."""
    patterns = ("*.py", "io/*.py", "data/*.py", "cli/*.py", "*/__init__.py", "*/types.py", "*/config.py")
    patterns += ("*/outputs.py", "*/draw.py", "*/datasets/*.py", "*/metrics/*.py")
    with_torch = {PACKAGE / "__main__.py", PACKAGE / "io" / "weights.py"}
    paths = sorted({path for pattern in patterns for path in PACKAGE.glob(pattern)} - with_torch)
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    assert len(modules) > 20
    assert _last_line(IMPORT_EACH, *(module.removesuffix(".__init__") for module in modules)) == []
