"""The wheel holds what a user outside the checkout needs, and works there."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLANTED = ("weights/planted.safetensors", "weights/planted.md")  # a bundled model, should there be none


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where the wheel is unpacked. It is built from a copy: nothing is left in the checkout."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for folder in ("visiontasks", "configs", "tests"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    (source / "visiontasks" / "weights").mkdir(exist_ok=True)
    for name in PLANTED:
        (source / "visiontasks" / name).write_text("planted")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(source / "dist"), str(source)]
    built = subprocess.run(build, cwd=source, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = (source / "dist").glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def _files(folder, pattern="**/*"):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.glob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_every_file_of_the_package_is_in_the_wheel(installed):
    package = _files(ROOT / "visiontasks")
    configs = {f"configs/{name}" for name in _files(ROOT / "configs", "**/*.yaml")}
    assert {"py.typed", "__main__.py", "samples/README.md", "samples/cat.jpg"} <= package
    assert configs
    assert _files(installed / "visiontasks") == package | configs | set(PLANTED)


def test_nothing_else_is_in_the_wheel(installed):
    (metadata,) = installed.glob("*.dist-info")
    assert {entry.name for entry in installed.iterdir()} == {"visiontasks", metadata.name}
    assert (metadata / "licenses" / "LICENSE").is_file()


def test_version_is_the_package_s(installed):
    import visiontasks

    (metadata,) = installed.glob("*.dist-info")
    assert metadata.name == f"visiontasks-{visiontasks.__version__}.dist-info"


def test_installed_package_finds_its_configs_and_samples(installed, tmp_path):
    """Run where no checkout is in sight."""
    configs = sorted(_files(ROOT / "configs", "**/*.yaml"))
    script = (
        "import sys; from pathlib import Path; import visiontasks;"
        "from visiontasks.config_files import read_config;"
        "home = Path(visiontasks.__file__).parent;"
        "assert (home / 'samples' / 'cat.jpg').is_file();"
        "assert home.is_relative_to(sys.argv[1]), home;"
        "assert all(read_config(Path('configs', name)).is_file() for name in sys.argv[2:])"
    )
    command = [sys.executable, "-c", script, str(installed), *configs]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)}, check=True)
