"""Commands, run as a user types them."""

import pytest
from click.testing import CliRunner

from visiontasks.cli import visiontasks
from visiontasks.errors import VisionTasksError


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Run a command line in an empty folder. Gives (exit code, stdout, stderr or the error's message)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        result = CliRunner().invoke(visiontasks, [str(argument) for argument in arguments])
        if isinstance(result.exception, VisionTasksError):
            return result.exception.exit_code, result.stdout, str(result.exception)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return run
