"""Tools in processes of their own, to be killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def start(tool: str, recipe: Path, run_dir: Path, records: Path, *flags: str) -> subprocess.Popen:
    """Starts a tool in a process group of its own."""
    command = [sys.executable, f"tools/{tool}.py", f"--gin_file={recipe}", f"--run_dir={run_dir}"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [*command, f"--data_dir={records}", *flags],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill(process: subprocess.Popen, when: Path) -> None:
    """Kills a tool and what it runs as soon as a file exists."""
    deadline = time.monotonic() + 900
    while not when.exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def finish(process: subprocess.Popen) -> str:
    """Waits for a tool that ends well, and returns what it printed."""
    try:
        printed, errors = process.communicate(timeout=900)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, errors[-3000:]
    return printed
