"""Files of weights: whole or not at all, and read from end to end before a network takes them."""

import errno
import os

import numpy as np
import pytest
from networks import small_model

from wss.errors import UserError
from wss.files import WriteError
from wss.models.tf1_names import tf1_values
from wss.models.weights.initial_weights import assign_weights, load_initial_weights
from wss.models.weights.weights_file import load_weights, write_weights


@pytest.fixture(scope="module")
def model():
    return small_model()


def test_what_is_written_is_read(model, tmp_path):
    write_weights(model, tmp_path / "w.weights.h5")
    other = small_model()
    other.variables[0].assign(other.variables[0] * 0)
    load_weights(other, tmp_path / "w.weights.h5")
    for ours, theirs in zip(model.variables, other.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert os.listdir(tmp_path) == ["w.weights.h5"]


def test_a_full_disk_is_found_before_anything_is_written(model, tmp_path, monkeypatch):
    """HDF5 ends the process with a segmentation fault if it finds the disk full itself."""
    (tmp_path / "w.weights.h5").write_text("the old ones")

    def full(descriptor, offset, length):
        assert length > sum(variable.numpy().nbytes for variable in model.variables)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(WriteError, match="w.weights.h5: cannot be written .No space left on device"):
        write_weights(model, tmp_path / "w.weights.h5")
    assert os.listdir(tmp_path) == ["w.weights.h5"]
    assert (tmp_path / "w.weights.h5").read_text() == "the old ones"


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "folder"])
def test_a_damaged_file_is_one_line(model, tmp_path, damage):
    path = tmp_path / "w.weights.h5"
    write_weights(model, path)
    content = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"weights"}[damage])
    what = "cut off .truncated." if damage == "cut" else "not a readable .weights.h5"
    with pytest.raises(UserError, match=f"w.weights.h5: {what}"):
        load_weights(model, path)


def test_weights_from_elsewhere_that_are_not_finite_are_named(model, tmp_path):
    values = tf1_values(model)
    name = next(name for name in values if name.endswith("moving_variance"))
    values[name] = np.full_like(values[name], np.inf)
    with pytest.raises(UserError, match=f"elsewhere: {name} is not finite"):
        assign_weights(model, values, [], source="elsewhere")
    np.savez(tmp_path / "w.npz", **values)
    with pytest.raises(UserError, match=f"w.npz: {name} is not finite"):
        load_initial_weights(model, str(tmp_path / "w.npz"))


def test_pickled_arrays_are_not_read(model, tmp_path):
    np.savez(tmp_path / "w.npz", a=np.array([{"a": 1}], object))
    with pytest.raises(UserError, match="not a readable .npz of arrays"):
        load_initial_weights(model, str(tmp_path / "w.npz"))
