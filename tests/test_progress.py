"""Progress as people see it: on a pseudo-terminal one bar, drawn again in its place; in a log lines."""

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from wss import progress

ROOT = Path(__file__).resolve().parents[1]
# A training of 6 steps with an evaluation after the third, which prints a table.
TRAINING = """
import time
from wss.progress import TrainingProgress, say, track
bar = TrainingProgress(0, 6, 4)
for step in range(1, 7):
    time.sleep(0.15)
    bar.update(step, {"total": 2.5})
    if step == 2:
        say("a remark")
    if step == 3:
        for _ in track(range(4), "evaluating val", unit="step"):
            time.sleep(0.15)
        print("a table", flush=True)
bar.close()
print("the end", flush=True)
"""


def on_a_terminal(program: str, columns: int = 100) -> str:
    """What a program writes to a terminal of so many columns."""
    terminal, other_end = pty.openpty()
    termios.tcsetwinsize(other_end, (24, columns))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=other_end, stdout=other_end, stderr=other_end, env=environment
    ):
        os.close(other_end)
        written = b""
        while True:
            try:
                found = os.read(terminal, 4096)
            except OSError:  # Linux: the other end is closed
                break
            if not found:
                break
            written += found
    os.close(terminal)
    return written.decode()


def screen(text: str) -> list[str]:
    """The lines that a terminal shows after a text with carriage returns and moves of the cursor."""
    rows, row, column = [[]], 0, 0
    for part in re.findall(r"\x1b\[\d*[A-Za-z]|[^\x1b]", text):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            rows += [[]] * (row == len(rows))
        elif part == "\x1b[A":
            row -= 1
        else:
            assert len(part) == 1, part
            rows[row] = [*rows[row], *" " * (column - len(rows[row]))]
            rows[row][column : column + 1] = part
            column += 1
    return ["".join(found).rstrip() for found in rows]


def test_a_terminal_shows_one_bar_in_its_place():
    written = on_a_terminal(TRAINING)
    assert written.count("\rtraining: ") >= 6  # drawn again and again
    lines = screen(written)
    assert len(lines) == 6 and lines[-1] == ""
    remark, evaluation, table, training, end = lines[:5]
    assert (remark, table, end) == ("a remark", "a table", "the end")
    assert evaluation.startswith("evaluating val: 100%") and "4/4" in evaluation
    assert training.startswith("training: 100%") and "6/6" in training
    assert "images/s, total 2.500]" in training


def test_a_bar_tells_the_time_left():
    written = on_a_terminal(TRAINING)
    assert re.search(r"training:  *50%.*3/6 \[00:0\d<00:0\d,", written)
    assert re.search(r"evaluating val:  *50%.*2/4 \[00:0\d<00:0\d,", written)


def test_a_bar_fits_its_line():
    assert max(map(len, screen(on_a_terminal(TRAINING, columns=60)))) <= 60


def test_a_terminal_without_a_size_shows_the_bar_too():
    assert any(line.startswith("training: 100%") for line in screen(on_a_terminal(TRAINING, columns=0)))


def test_a_log_has_lines(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    bar = progress.TrainingProgress(0, 2, 4)
    for step in (1, 2):
        bar.update(step, {"total": 2.5})
    progress.say("a remark")
    bar.close()
    assert list(progress.track([1, 2], "evaluating val", unit="step")) == [1, 2]
    first, second, remark, *evaluation = capsys.readouterr().err.splitlines()
    assert first.startswith("step 1/2, ") and " left, total 2.500" in first
    assert second.startswith("step 2/2, ") and remark == "a remark"
    assert evaluation[0].startswith("evaluating val: 1/2 steps, ") and evaluation[0].endswith(" left")
    assert not any("\r" in line or "\x1b" in line for line in (first, second, *evaluation))


@pytest.mark.parametrize(("seconds", "text"), [(42, "42 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")])
def test_seconds_in_words(seconds, text):
    assert progress.format_seconds(seconds) == text
