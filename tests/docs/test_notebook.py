"""The notebook runs from its first cell to its last, and what it shows is what it gave."""

import json
import subprocess
import sys

import pytest
from commands import ROOT

NOTEBOOK = ROOT / "docs/quickstart.ipynb"


def cells():
    return json.loads(NOTEBOOK.read_text())["cells"]


def test_every_cell_of_code_was_run_in_order():
    counts = [cell["execution_count"] for cell in cells() if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert "image/png" in json.dumps(cells())
    assert "Traceback" not in json.dumps(cells())


@pytest.mark.slow
def test_it_runs(tmp_path):
    """As in a notebook: one process, one cell after the other, in an empty folder."""
    program = "".join("".join(cell["source"]) + "\n\n" for cell in cells() if cell["cell_type"] == "code")
    (tmp_path / "notebook.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{program}")
    done = subprocess.run([sys.executable, "notebook.py"], cwd=tmp_path, capture_output=True, text=True, timeout=1100)
    assert done.returncode == 0, done.stderr
    (mean,) = [line for line in done.stdout.splitlines() if line.startswith("mean ")]
    supervised, pseudoseg = map(float, mean.split()[1:])
    assert pseudoseg > supervised > 20
    assert (tmp_path / "pictures/panels.png").exists()
