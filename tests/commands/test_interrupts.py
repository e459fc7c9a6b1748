"""Ctrl-C in any command: one line and the exit code that shells expect, never a traceback."""

import signal
import subprocess
import sys
from unittest import mock

import pytest
from commands import ROOT, run_command

COMMANDS = {
    "train": (["-m", "wss.train", "--run_dir={run}", "--gin_file={gin}"], "wss.experiment.run"),
    "eval": (["-m", "wss.eval", "--run_dir={run}", "--output={run}/e.json"], "wss.experiment.open_run"),
    "vis": (["-m", "wss.vis", "--run_dir={run}", "--output={run}/pictures"], "wss.experiment.open_run"),
    "label": (["-m", "wss.label", "--run_dir={run}", "--output_dir={run}/out"], "wss.pseudo_labels.teacher.open_run"),
    "build_shapes": (["datasets/build_shapes.py", "--output_dir={run}/shapes"], "wss.conversion.shapes.generate"),
    "convert_checkpoint": (
        ["tools/convert_checkpoint.py", "--run_dir={run}", "--output={run}/x.npz"],
        "wss.experiment.open_run",
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_is_one_line_and_exit_code_130(tmp_path, command):
    arguments, inside = COMMANDS[command]
    (tmp_path / "empty.gin").write_text("")
    filled = [argument.format(run=tmp_path, gin=tmp_path / "empty.gin") for argument in arguments]
    with mock.patch(inside, side_effect=KeyboardInterrupt):
        done = run_command(filled)
    assert done.returncode == 128 + signal.SIGINT
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert line.startswith("interrupted by Ctrl-C")


@pytest.mark.slow
def test_ctrl_c_while_images_are_written_by_several_processes(tmp_path):
    command = [sys.executable, "datasets/build_shapes.py", f"--output_dir={tmp_path / 'shapes'}"]
    process = subprocess.Popen(
        [*command, "--num_train=1500", "--workers=2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    for _ in range(3000):  # of a tenth of a second; the images are drawn first
        if list(tmp_path.glob(".shapes.partial/*.tmp-*")):
            break
        try:
            process.wait(timeout=0.1)
            pytest.fail(f"it ended: {process.communicate()}")
        except subprocess.TimeoutExpired:
            pass
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted by Ctrl-C; the same command goes on where it stopped"
    assert "Traceback" not in said
