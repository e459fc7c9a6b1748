"""tools/convert_checkpoint.py as a user runs it: a full-size Xception-65 from TensorFlow 1 and back."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import run_command
from networks import dataset_of, pseudoseg_network

from wss.models.tf1_names import tf1_shapes
from wss.models.weights.tf1_checkpoint import read_checkpoint, write_checkpoint

ROOT = Path(__file__).resolve().parents[2]


RUN_AND_TELL_MEMORY = """
import atexit, runpy, sys
from wss.runtime.memory import peak_process_memory
atexit.register(lambda: print("peak bytes", peak_process_memory()))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def convert(*arguments):
    """Runs the command; returns its exit status, output and peak memory in bytes."""
    tool = str(ROOT / "tools/convert_checkpoint.py")
    command = [sys.executable, "-c", RUN_AND_TELL_MEMORY, tool, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output, _, peak = done.stdout.rpartition("peak bytes")
    return done.returncode, output, int(peak)


@pytest.mark.slow
def test_a_full_size_checkpoint_and_back(tmp_path):
    rng = np.random.default_rng(0)
    shapes = tf1_shapes(pseudoseg_network(dataset_of(21), backbone="xception_65"))
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    slots = {
        f"{name}/Momentum": np.zeros(shape, np.float32) for name, shape in shapes.items() if "/moving_" not in name
    }
    write_checkpoint(tmp_path / "deeplab" / "model.ckpt-30000", {**values, **slots}, step=30000)

    status, output, memory = convert(f"--input={tmp_path / 'deeplab'}", f"--output={tmp_path / 'voc.weights.h5'}")
    assert status == 0, output
    assert "backbone             660        0        0" in output
    assert f"slots and counters, ignored: {len(slots) + 1} (" in output
    assert memory < 1.5e9

    back = tmp_path / "back" / "model.ckpt"
    status, output, _ = convert(f"--input={tmp_path / 'voc.weights.h5'}", "--num_classes=21", f"--output={back}")
    assert status == 0, output
    returned, _ = read_checkpoint(str(back))
    assert returned.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(returned[name], value, err_msg=name)


def test_mistakes_are_one_line(tmp_path):
    np.savez(tmp_path / "some.npz", a=np.zeros(1))
    for arguments, message in (
        (["--output=x.npz"], "--input or --run_dir: expected one of them"),
        ([f"--input={tmp_path / 'some.npz'}", "--output=x.npz"], "give --num_classes"),
        (["--input=some.npz", f"--output={tmp_path}"], "is a folder; give a file or a prefix in it"),
        (["--input=some.npz", "--output=x.h5"], "expected .weights.h5, .npz or the prefix of a checkpoint"),
    ):
        result = run_command(["tools/convert_checkpoint.py", *arguments])
        last = result.stderr.strip().splitlines()[-1]
        assert result.returncode == 2 and last.startswith("error: ") and message in last
        assert "Traceback" not in result.stderr
