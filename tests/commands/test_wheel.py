"""The wheel: recipes, their weights and the converters travel in it, and are found from any folder."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from wss.project import recipes

ROOT = Path(__file__).resolve().parents[2]
RECIPE = "gin_configs/recipes/shapes/pseudoseg.gin"
CONFIGURES = f"""
import json, gin, wss
from wss import config, experiment
from wss.data.dataset_info import load_dataset
from wss.errors import UserError
from wss.project import locate, recipes

def error(function, *arguments):
    try:
        function(*arguments)
    except UserError as error:
        return str(error)

experiment.configure([{RECIPE!r}], ["train.num_steps = 3"])
print(json.dumps({{
    "package": wss.__file__,
    "recipes": recipes(),
    "method": str(gin.query_parameter("train.method")),
    "weights": locate(gin.query_parameter("train.initial_weights")),
    "no data": error(load_dataset),
    "typo": error(config.parse_config, ["gin_configs/recipes/shapes/pseudosegg.gin"], []),
}}))
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    """The wheel of these sources, unpacked; built from a copy, for setuptools leaves its own files beside what it builds."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("wss", "gin_configs", "datasets"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / "source")
    build = [
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        f"--wheel-dir={folder}",
    ]
    subprocess.run([sys.executable, *build, folder / "source"], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def run(unpacked: Path, folder: Path, *command: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    command = (sys.executable, *command)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_recipe_is_found_from_another_folder(unpacked, tmp_path):
    done = run(unpacked, tmp_path, "-c", CONFIGURES)
    found = json.loads(done.stdout)
    assert Path(found["package"]) == unpacked / "wss/__init__.py"
    assert found["recipes"] == recipes()
    assert found["method"] == "@PseudoSeg()"
    assert Path(found["weights"]).is_file() and Path(found["weights"]).is_relative_to(unpacked)
    assert "python -m wss.datasets.build_* (build_shapes" in found["no data"]
    assert f"Did you mean {RECIPE!r}" in found["typo"]


@pytest.mark.slow
def test_the_templates_of_pages_are_there(unpacked):
    assert (unpacked / "wss/pages/templates/run.html").is_file()


@pytest.mark.slow
def test_the_command_that_makes_the_data_is_there(unpacked, tmp_path):
    done = run(unpacked, tmp_path, "-m", "wss.datasets.build_shapes", "--help")
    assert "--output_dir:" in done.stdout and done.stderr == ""
