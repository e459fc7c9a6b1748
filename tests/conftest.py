"""Shared fixtures. TensorFlow is told about two logical CPUs before anything else touches it, for MirroredStrategy tests."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import gin
import pytest
import tensorflow as tf

SHARED = Path(os.environ.get("WSS_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def pytest_configure(config):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(autouse=True)
def clean_gin():
    """No test sees another's gin bindings."""
    yield
    gin.clear_config()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with goldens and real photos; absent for most users, required under CI."""
    if not SHARED.is_dir():
        message = f"no shared folder at {SHARED} (set WSS_SHARED)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return SHARED


@pytest.fixture(scope="session")
def goldens(shared) -> Path:
    """The tensors of the original TensorFlow 1 code."""
    return shared / "goldens"
