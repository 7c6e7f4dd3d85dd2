"""tools/environment, over interpreters that are not there, too old, half installed or without a network."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEALTHY = 'echo "$*" >>"$(dirname "$0")/log"\n'  # answers every question with success, and notes it


@pytest.fixture
def checkout(tmp_path):
    """A folder with the script and a pyproject.toml, and nothing else."""
    root = tmp_path / "a checkout"  # with a space
    (root / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "environment", root / "tools")
    (root / "pyproject.toml").write_text("[project]\n")
    return root


def _interpreter(path, body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}")
    path.chmod(0o755)
    return path


def _make(checkout, extras="", interpreter="/nowhere/python3"):
    script = f'set -euo pipefail; . "{checkout}/tools/environment"; make_environment "{extras}"; echo done'
    return subprocess.run(
        ["bash", "-c", script],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(interpreter)},
        capture_output=True,
        text=True,
        check=False,
    )


def _pip_installs(checkout):
    log = checkout / ".venv" / "bin" / "log"
    return [line for line in log.read_text().splitlines() if line.startswith("-m pip install")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("exit 1\n", "Python 3.11 or newer is needed, found none"),
        (
            'case "$*" in *ensurepip*) exit 1 ;; esac\n',
            "python3 can't make environments: install Debian's package python3-venv: "
            "apt-get install python3-venv",
        ),
    ],
)
def test_a_missing_piece_of_the_system_gets_one_line(checkout, body, message):
    result = _make(checkout, interpreter=_interpreter(checkout / "system" / "python3", body))
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith(message) and result.stderr.count("\n") == 1
    assert not (checkout / ".venv").exists()


def test_a_failing_pip_is_said_and_tried_again(checkout):
    _interpreter(
        checkout / ".venv" / "bin" / "python", HEALTHY + 'case "$*" in *"pip install"*) exit 1 ;; esac\n'
    )
    for attempt in (1, 2):
        result = _make(checkout)
        assert result.returncode == 1
        assert "pip could not install the project" in result.stderr.splitlines()[-1]
        assert len(_pip_installs(checkout)) == attempt


def test_installed_once_until_something_changes(checkout):
    _interpreter(checkout / ".venv" / "bin" / "python", HEALTHY)
    for extras in ("", "", "[dev]", "[dev]", ""):  # the demo needs nothing that [dev] lacks
        assert _make(checkout, extras).stdout == "done\n"
    assert [line.partition(" -e ")[2] for line in _pip_installs(checkout)] == [
        str(checkout),
        f"{checkout}[dev]",
    ]
    with open(checkout / "pyproject.toml", "a") as file:
        file.write("dependencies = []\n")
    _make(checkout, "[dev]")
    assert len(_pip_installs(checkout)) == 3


def test_a_half_made_environment_is_made_anew(checkout):
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to("/nowhere/python3")
    system = _interpreter(
        checkout / "system" / "python3", 'if [ "$2" = venv ]; then echo "$*" >"$(dirname "$0")/made"; fi\n'
    )
    _make(checkout, interpreter=system)
    assert (checkout / "system" / "made").read_text() == f"-m venv --clear {checkout}/.venv\n"


def test_a_moved_checkout_is_installed_again(checkout):
    _interpreter(checkout / ".venv" / "bin" / "python", HEALTHY)
    _make(checkout)
    moved = checkout.rename(checkout.with_name("moved"))
    _make(moved)
    assert len(_pip_installs(moved)) == 2
