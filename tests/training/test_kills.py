"""A training that is killed again and again: the end is the same to the bit, and nothing grows meanwhile."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from wss import experiment
from wss.training import loop

HELPERS = Path(__file__).parents[1] / "helpers"
# The commands of a user with the tests' small network, which trains hundreds of steps a second.
PROGRAM = """
import sys
sys.path.insert(0, {helpers!r})
from networks import two_convolutions
from wss import train
from wss.command import run_main
with two_convolutions():
    run_main(train.main)
"""
KILLS, DAMAGES = 12, 2


def newest(checkpoints):
    steps = [int(match[1]) for path in checkpoints.glob("*.index") if (match := re.search(r"-(\d+)\.index", path.name))]
    return max(steps, default=0)


@pytest.mark.slow
def test_kills_and_damage_end_in_the_same_bits(tmp_path, small_parameters):
    """Twelve SIGKILLs at random moments, then two starts with a damaged newest checkpoint."""
    settings = ["train.num_steps = 1500", "train.checkpoint_every = 25", "train.summary_every = 0"]
    flags = [f"--gin_param={line}" for line in [*small_parameters, *settings, "train.evaluate_at_end = False"]]
    (tmp_path / "empty.gin").write_text("")
    program = PROGRAM.format(helpers=str(HELPERS))
    command = lambda name: [
        sys.executable, "-c", program, f"--gin_file={tmp_path / 'empty.gin'}", f"--run_dir={tmp_path / name}", *flags
    ]  # fmt: skip
    start = lambda name: subprocess.Popen(command(name), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    whole = start("whole")
    assert whole.wait() == 0, whole.communicate()[1]

    draw = random.Random(0)
    checkpoints = tmp_path / "killed" / "checkpoints"
    for _ in range(KILLS):
        process, begin = start("killed"), newest(checkpoints)
        deadline = time.monotonic() + 120
        while newest(checkpoints) == begin and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.4))  # at any moment between two checkpoints, or in one
        process.kill()
        assert process.wait() in (0, -signal.SIGKILL), process.communicate()[1]
    for suffix in (".index", ".data-00000-of-00001"):
        process, begin = start("killed"), newest(checkpoints)
        while newest(checkpoints) == begin and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.wait()
        path = checkpoints / f"ckpt-{newest(checkpoints)}{suffix}"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    process = start("killed")
    printed, said = process.communicate()
    assert process.returncode == 0, said
    assert "resuming" in printed and "damaged" in said
    killed, expected = (tmp_path / name / "model.weights.h5" for name in ("killed", "whole"))
    assert killed.read_bytes() == expected.read_bytes()
    assert not list(checkpoints.glob("*_temp"))


@pytest.mark.slow
def test_memory_and_open_files_do_not_grow(tmp_path, small_parameters, monkeypatch):
    """300 steps with an evaluation every 20."""
    seen = []
    evaluate = loop.Trainer._evaluate

    def measured(self, step):
        result = evaluate(self, step)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        seen.append((pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir("/proc/self/fd"))))
        return result

    monkeypatch.setattr(loop.Trainer, "_evaluate", measured)
    settings = ["train.num_steps = 300", "train.evaluate_every = 20", "train.checkpoint_every = 20"]
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    experiment.run([], [*small_parameters, *settings, "train.pictures_every = 60"], tmp_path / "run", strategy=strategy)
    memory, files = np.array(seen).T
    assert len(seen) == 15
    assert files[-1] <= files[1]
    assert memory[-5:].mean() - memory[3:8].mean() < 30, memory  # MiB
