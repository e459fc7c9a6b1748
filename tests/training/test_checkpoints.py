"""Checkpoints on disk: the newest readable one is taken whatever is damaged, missing or odd in the path."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from wss.errors import UserError
from wss.files import LockedError, WriteError
from wss.models.weights.tf1_checkpoint import find_checkpoint, read_checkpoint, write_checkpoint
from wss.run_directory import RunDirectory
from wss.training.checkpoints import Checkpoints, newest_readable, saved_checkpoints

DATA = ".data-00000-of-00001"
ODD_NAMES = ("lr [1e-3]", "a*b?", "back\\slash", "{x,y}", "ä 'quoted\"", "%s $HOME")


class Weights(tf.Module):
    """A hundred numbers."""

    def __init__(self):
        super().__init__()
        self.numbers = tf.Variable(tf.zeros([100]))


def saved(run, steps, *, keep=10):
    """Writes checkpoints of steps, whose numbers are the step; returns what saved them."""
    weights = Weights()
    checkpoints = Checkpoints({"model": weights}, run, keep)
    for step in steps:
        weights.numbers.assign(tf.fill([100], float(step)))
        checkpoints.save(step)
    return checkpoints


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "run")


def cut(path, length):
    path.write_bytes(path.read_bytes()[:length])


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def not_finite(folder):
    weights = Weights()
    weights.numbers.assign(tf.fill([100], np.nan))
    tf.train.Checkpoint(model=weights).write(str(folder / "ckpt-20"))


DAMAGES = {
    "index deleted": lambda folder: (folder / "ckpt-20.index").unlink(),
    "index cut": lambda folder: cut(folder / "ckpt-20.index", 100),
    "index empty": lambda folder: cut(folder / "ckpt-20.index", 0),
    "index flipped": lambda folder: flip(folder / "ckpt-20.index", 60),
    "index is a folder": lambda folder: ((folder / "ckpt-20.index").unlink(), (folder / "ckpt-20.index").mkdir()),
    "data deleted": lambda folder: (folder / f"ckpt-20{DATA}").unlink(),
    "data cut": lambda folder: cut(folder / f"ckpt-20{DATA}", 300),
    "data empty": lambda folder: cut(folder / f"ckpt-20{DATA}", 0),
    "data flipped": lambda folder: flip(folder / f"ckpt-20{DATA}", 200),
    "not finite": not_finite,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_one_before_a_damaged_checkpoint_is_taken_and_said(run, capsys, damage):
    checkpoints = saved(run, [10, 20])
    DAMAGES[damage](run.checkpoints)
    found = newest_readable(run)
    assert found is not None and found.step == 10
    checkpoints.restore(found)
    (line,) = capsys.readouterr().err.splitlines()
    assert "ckpt-20: damaged (" in line and line.endswith("ckpt-10 is taken")


@pytest.mark.parametrize("content", [None, "", "garbage", b"\xff\xfe\x00", 'model_checkpoint_path: "ckpt-10"\n'])
def test_the_state_file_does_not_matter(run, content):
    saved(run, [10, 20])
    state = run.checkpoints / "checkpoint"
    if content is None:
        state.unlink()
    else:
        state.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert newest_readable(run).step == 20


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_path_goes(tmp_path, name):
    run = RunDirectory(tmp_path / name)
    checkpoints = saved(run, [1, 2])
    found = newest_readable(run)
    assert found.step == 2
    checkpoints.restore(found)
    write_checkpoint(tmp_path / name / "export" / f"{name}.ckpt", {"a": np.arange(3.0)})
    values, _ = read_checkpoint(find_checkpoint(tmp_path / name / "export"))
    np.testing.assert_array_equal(values["a"], np.arange(3.0))


def test_none_readable_is_an_error_and_no_fresh_start(run):
    saved(run, [10, 20])
    for step in (10, 20):
        cut(run.checkpoints / f"ckpt-{step}{DATA}", 10)
    with pytest.raises(UserError, match=r"no readable checkpoint \(ckpt-20: .*; ckpt-10: .*--run_dir"):
        newest_readable(run)


def test_an_empty_or_absent_folder_has_none(run):
    assert newest_readable(run) is None
    run.checkpoints.mkdir(parents=True)
    (run.checkpoints / "notes.txt").write_text("ckpt-10")
    assert newest_readable(run) is None
    run.checkpoints.joinpath("notes.txt").unlink()
    run.checkpoints.rmdir()
    run.checkpoints.write_text("")
    with pytest.raises(UserError, match="cannot be read .Not a directory.; expected a folder"):
        newest_readable(run)


def test_the_last_are_kept_in_the_order_of_their_numbers(run):
    saved(run, [8, 9, 10, 100], keep=2)
    assert [found.step for found in saved_checkpoints(run)] == [100, 10]
    assert tf.train.latest_checkpoint(str(run.checkpoints)) == str(run.checkpoints / "ckpt-100")
    again = saved(run, [50], keep=2)  # after a damaged ckpt-100: not what was just written is removed
    assert [found.step for found in saved_checkpoints(run)] == [100, 50, 10]
    assert again is not None


def test_a_full_disk_names_the_file_and_what_is_whole(run, monkeypatch):
    checkpoints = saved(run, [10])

    def full(prefix):
        os.mkdir(f"{prefix}_temp")
        Path(f"{prefix}{DATA}").write_text("half")
        raise tf.errors.ResourceExhaustedError(None, None, f"{prefix}; No space left on device")

    monkeypatch.setattr(checkpoints._checkpoint, "write", full)
    with pytest.raises(WriteError, match="ckpt-20: cannot be written .*No space left.*ckpt-10 is whole; make room"):
        checkpoints.save(20)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["checkpoint", f"ckpt-10{DATA}", "ckpt-10.index"]


def test_the_same_step_is_not_written_twice(run):
    """A kill in the middle of the second time would damage the newest checkpoint."""
    checkpoints = saved(run, [10])
    times = [path.stat().st_mtime_ns for path in sorted(run.checkpoints.iterdir())]
    checkpoints.save(10)
    saved(run, []).restore(newest_readable(run))
    assert [path.stat().st_mtime_ns for path in sorted(run.checkpoints.iterdir())] == times


def test_what_a_killed_training_left_is_removed(run):
    saved(run, [10])
    temporaries = [
        run.checkpoints / "ckpt-20_temp",
        run.checkpoints / f"checkpoint.tmp-{'0' * 32}",
        run.path / f"model.weights.h5.tmp-{'a' * 32}.weights.h5",
        run.path / f"eval_val.json.tmp-{'f' * 32}",
    ]
    temporaries[0].mkdir()
    (temporaries[0] / "part-00000-of-00001").write_text("half")
    for path in temporaries[1:]:
        path.write_text("half")
    kept = [run.path / "notes.tmp-1", run.path / "model.tmp", run.checkpoints / "ckpt-10.index"]
    for path in kept[:2]:
        path.write_text("the user's")
    outside = run.path.parent / "outside"
    outside.write_text("the user's")
    (run.path / f"x.tmp-{'1' * 32}").symlink_to(outside)
    with run.held():
        assert not any(path.exists() for path in temporaries)
    assert all(path.exists() for path in [*kept, outside])


def test_a_second_training_is_refused_until_the_first_ends(run):
    message = rf"another training or wss-plan is running there.*process {os.getpid()} on "
    with run.held(), pytest.raises(LockedError, match=message), RunDirectory(run.path).held():
        pass
    with run.held():
        pass


def test_the_lock_goes_with_a_killed_process(run):
    code = f"""
from pathlib import Path; import time
from wss.run_directory import RunDirectory
with RunDirectory(Path({str(run.path)!r})).held():
    print("held", flush=True); time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(LockedError), run.held():
        pass
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            with run.held():
                return
        except LockedError:
            time.sleep(0.1)
    pytest.fail("the lock outlived its process")


def test_a_lock_that_is_a_link_is_not_followed(run, tmp_path):
    (tmp_path / "other").write_text("precious")
    run.path.mkdir()
    run.lock.symlink_to(tmp_path / "other")
    with pytest.raises(WriteError, match="lock: cannot be written"), run.held():
        pass
    assert (tmp_path / "other").read_text() == "precious"


def test_a_folder_that_nothing_was_written_to_vanishes(run):
    with pytest.raises(UserError, match="a mistake"), run.held():
        raise UserError("a mistake")
    assert not run.path.exists()
    with run.held():
        (run.path / "something").write_text("")
    assert run.path.exists()


def test_a_run_directory_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "run").write_text("")
    message = "run: cannot be written .File exists.; expected a folder"
    with pytest.raises(WriteError, match=message), RunDirectory(tmp_path / "run").held():
        pass
