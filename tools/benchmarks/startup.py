"""From the start of a process to its first finished step, and what the imports take of that."""

import subprocess
import sys

from benchmarks.measure import Case, Workload

_FIRST_STEP = """
import os
import wss.command  # as wss-train does
from benchmarks.step import first_step
first_step()
os._exit(0)  # to take an interpreter down takes a second that no step waits for
"""


def cases() -> list[Case]:
    """Returns a process that takes one step of PseudoSeg, Xception-65, crop 129, 2 + 2 images, and ends."""
    return [Case("first finished step, Xception-65, crop 129", build, {"program": _FIRST_STEP})]


def import_cases() -> list[Case]:
    """Returns processes that only import."""
    return [
        Case("import tensorflow", build, {"program": "import tensorflow"}),
        Case("import wss.train and all that it configures", build, {"program": "import wss.train, wss.config"}),
    ]


def build(program: str) -> Workload:
    """Builds a Python process that runs a program."""
    return Workload(lambda: subprocess.run([sys.executable, "-c", program], check=True, stderr=subprocess.DEVNULL))
