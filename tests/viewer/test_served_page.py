"""The page in a process of its own, as a user has it."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
import tensorflow as tf
from commands import ROOT

from wss import experiment


@pytest.mark.slow
def test_it_is_served_on_this_machine_alone_until_ctrl_c(tiny_parameters, tmp_path):
    parameters = [*tiny_parameters, "train.num_steps = 2", "train.evaluate_at_end = False"]
    experiment.run([], parameters, tmp_path / "run", strategy=tf.distribute.MirroredStrategy(["CPU:0"]))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "wss.demo", f"--run_dir={tmp_path / 'run'}", f"--port={port}"],
        env={**os.environ, "HTTP_PROXY": "http://127.0.0.1:9"},  # a proxy that answers nobody
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        for line in process.stdout:
            if line.startswith("serving"):
                break
        assert line == f"serving on http://127.0.0.1:{port}; Ctrl-C ends it\n"
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60).read().decode()
        assert "fonts.googleapis" not in text and "cdn" not in text
        with pytest.raises(OSError):  # another address of this machine
            socket.create_connection(("127.0.0.2", port), timeout=5)
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
