"""The benchmark of conversions: what it measures is there, for each number of processes and of images."""

import json
from pathlib import Path

import pytest
from absl import flags
from scripts import load_module, separate_flags

from wss.errors import UserError

TOOL = Path(__file__).resolve().parents[2] / "tools" / "benchmark_conversion.py"


def run(*arguments: str) -> None:
    with separate_flags():
        tool = load_module(TOOL)
        tool.NUM_FILES = 2
        tool.measure = lambda output, images, workers: {
            "images_per_second": 10.0 * workers, "peak_mb": 100.0 + images
        }  # fmt: skip
        flags.FLAGS(["benchmark_conversion", *arguments])
        tool.main([])


def test_a_row_for_each_run(tmp_path, capsys):
    run(f"--output={tmp_path}", "--images=50", "--workers=1,3", "--memory_images=20,50")
    rows = json.loads((tmp_path / "benchmark.json").read_text())
    assert [(row["images"], row["processes"], row["peak_mb"]) for row in rows] == [
        (50, 1, 150),
        (50, 3, 150),
        (20, 1, 120),
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:4] == ["50", "3", "30.0", "3.00"] and len(lines) == 4


@pytest.mark.slow
def test_a_conversion_is_measured(tmp_path):
    with separate_flags():
        tool = load_module(TOOL)
        tool.NUM_FILES = 4
        tool.draw_files(tmp_path / "files")
        results: list[dict] = []
        tool.convert(tmp_path, 70, 1, result=type("Queue", (), {"put": staticmethod(results.append)}))
    (result,) = results
    assert result["images_per_second"] > 0 and result["peak_mb"] > 100
    assert json.loads((tmp_path / "dataset/dataset.json").read_text())["splits"]["train"]["num_masks"] == 70


def test_a_folder_with_files_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="is not empty"):
        run(f"--output={tmp_path}")
    with pytest.raises(UserError, match="--workers and --memory_images: expected numbers"):
        run(f"--output={tmp_path}", "--workers=two")
