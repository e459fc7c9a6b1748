"""Commands one after the other: what is finished, what stops them, going on."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wss.errors import UserError
from wss.workflows.stages import Stage, command_line, run_all

STUB = """
import pathlib, sys, time
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
with open("calls", "a") as file:
    file.write(name + "\\n")
folder.mkdir(exist_ok=True)
if name in ("good", "unfinished"):
    (folder / "eval_val.json").touch()
if name == "good":
    (folder / "model.weights.h5").touch()
if name == "waits":
    import signal
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    (folder / "waits").touch()
    time.sleep(60)
sys.exit(1 if name == "fails" else 0)
"""


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Makes trainings that do as their name says, in `tmp_path`."""
    (tmp_path / "stub.py").write_text(STUB)
    monkeypatch.chdir(tmp_path)

    def make(name: str) -> Stage:
        folder = tmp_path / name
        command = ["stub", name, str(folder)]
        done, result = folder / "finished", folder / "eval_val.json"
        return Stage(title=f"{name} training", command=command, done=done, result=result)

    return make


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().split()


def test_a_finished_stage_does_not_run_again(tmp_path, stage, capfd):
    run_all([stage("good")])
    assert calls(tmp_path) == ["good"] and (tmp_path / "good/finished").exists()
    run_all([stage("good")])
    assert calls(tmp_path) == ["good"]
    assert f"== good training: finished before ({tmp_path}/good/finished)" in capfd.readouterr().out


@pytest.mark.parametrize(("name", "status"), [("fails", 1), ("unfinished", 0), ("leaves_nothing", 0)])
def test_a_stage_that_fails_or_leaves_no_result_stops_the_rounds(tmp_path, stage, name, status):
    with pytest.raises(UserError) as error:
        run_all([stage(name), stage("good")])
    assert str(error.value) == f"{name} training stopped (exit code {status}); the same command goes on there"
    assert calls(tmp_path) == [name] and not (tmp_path / name / "finished").exists()


def test_labels_need_no_weights(tmp_path, stage):
    """A labelling is finished by what it leaves."""
    labels = dataclasses.replace(stage("unfinished"), done=tmp_path / "unfinished/eval_val.json")
    run_all([labels])
    run_all([labels])
    assert calls(tmp_path) == ["unfinished"]


RUN = """
import sys
from pathlib import Path
from wss.workflows.stages import Stage, run_all
folder = Path(sys.argv[1])
command = ["stub", "waits", str(folder)]
run_all([Stage(title="training", command=command, done=folder / "finished", result=folder / "eval_val.json")])
"""


def test_sigterm_goes_on_to_the_running_stage_and_stops_the_rounds(tmp_path, stage):
    """The stub ends well on SIGTERM, as a training does."""
    pipe = subprocess.PIPE
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path / "waits")], stdout=pipe, stderr=pipe, text=True, env=environment
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "waits/waits").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=50)
    assert "UserError: training stopped (exit code -15); the same command goes on there" in errors


def test_commands_are_printed_as_a_user_types_them():
    folder = Path("runs/a b")
    files = {"done": folder / "finished", "result": folder / "eval_val.json"}
    training = Stage(title="training", command=["wss.train", f"--run_dir={folder}"], **files)
    assert command_line(training) == "wss-train '--run_dir=runs/a b'"
    tool = dataclasses.replace(training, command=["tools.run_table", "--plan"])
    assert command_line(tool) == "python -m tools.run_table --plan"
