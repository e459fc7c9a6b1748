"""Shared fixtures. TensorFlow is told about two logical CPUs before anything else touches it, for MirroredStrategy tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NoReturn

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import gin
import pytest
import tensorflow as tf
from networks import two_convolutions
from parity_table import ParityTable
from scripts import load_module
from tiny import SMALL, TINY, bindings

import wss.configurables  # noqa: F401  so that gin knows all names
from wss.runtime.strategy import build_strategy

SMALL_GOLDENS = Path(__file__).parent / "goldens"
SHARED = Path(os.environ.get("WSS_SHARED", Path(__file__).resolve().parents[2] / "shared"))

_table = ParityTable()


def pytest_addoption(parser):
    parser.addoption("--parity-table", action="store_true", help="print the deviations from the goldens")


def pytest_collection_modifyitems(items):
    for item in items:
        if "parity" in item.fixturenames:
            item.add_marker("parity")


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("--parity-table"):
        terminalreporter.write("\n" + "\n".join(_table.lines()) + "\n")


def pytest_configure(config):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(autouse=True)
def clean_gin():
    """No test sees another's gin bindings."""
    yield
    gin.clear_config()


@pytest.fixture(scope="session")
def two_replicas() -> tf.distribute.Strategy:
    """The strategy that the commands build, too: a second one over the same devices breaks the collectives of the first."""
    return build_strategy("mirrored")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with goldens and real photos; absent for most users, required under CI."""
    if not SHARED.is_dir():
        _absent(f"no shared folder at {SHARED} (set WSS_SHARED)")
    return SHARED


def _absent(message: str) -> NoReturn:
    """Skips a test whose data is not here; under CI it must be."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


class Goldens:
    """Folder of the original's tensors: `goldens / name` is a file of the full set, or of the small one beside the tests."""

    def __truediv__(self, name: str) -> Path:
        for folder in (SHARED / "goldens", SMALL_GOLDENS):
            if (folder / name).exists():
                return folder / name
        _absent(f"no golden {name} (the full set lies in ../shared or $WSS_SHARED)")


@pytest.fixture(scope="session")
def goldens() -> Goldens:
    """The tensors of the original TensorFlow 1 code."""
    return Goldens()


@pytest.fixture(scope="session")
def parity() -> ParityTable:
    """Compares with goldens and collects the rows of `make parity`."""
    return _table


@pytest.fixture(scope="session")
def golden_rule(goldens) -> ModuleType:
    """The rule behind weights, images and labels of the goldens."""
    return load_module(goldens / "make_weights.py")


@pytest.fixture(scope="session")
def make_weight(golden_rule):
    """(TF1 name, shape) -> array: the rule behind the weights of the goldens."""
    return golden_rule.make_weight


@pytest.fixture(scope="session")
def tiny_shapes(tmp_path_factory) -> Path:
    """The embedded data set in small: 32 training and 6 validation images of 48 pixels."""
    from wss.conversion.shapes import build_shapes

    directory = tmp_path_factory.mktemp("records") / "shapes"
    build_shapes(directory, num_train=32, num_val=6, size=48, num_shards=2)
    return directory


@pytest.fixture
def tiny_parameters(tiny_shapes) -> list[str]:
    """Gin bindings of a PseudoSeg run that takes seconds."""
    return bindings(TINY, tiny_shapes)


@pytest.fixture
def small_parameters(tiny_shapes) -> Iterator[list[str]]:
    """Gin bindings of a supervised run on two convolutions: for what the loop does, whatever it trains."""
    with two_convolutions():
        yield bindings(SMALL, tiny_shapes)
