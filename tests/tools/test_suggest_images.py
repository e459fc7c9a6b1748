"""The command that says which photos to mask next: the list, as make_split reads it, and what is refused."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wss.data.dataset_info import DatasetInfo
from wss.data.splits import entries_of

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "gin_configs/recipes/shapes/classifier.npz"


def run(script: str, *flags: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, script, *flags], cwd=ROOT, capture_output=True, text=True, timeout=300)


def suggest(dataset: Path, output: Path, *flags: str) -> subprocess.CompletedProcess:
    network = ("--gin_param=build_model.depth_multiplier = 0.5", f"--initial_weights={WEIGHTS}", "--image_size=65")
    return run("tools/suggest_images.py", f"--data_dir={dataset}", f"--output={output}", *network, *flags)


def ids_of(dataset: Path, split: str) -> set[str]:
    return {entry.id for entry in entries_of(DatasetInfo.load(dataset), split)}


@pytest.mark.slow
def test_the_list_has_other_photos_than_those_with_masks_and_becomes_a_split(tiny_shapes, tmp_path):
    shapes = Path(shutil.copytree(tiny_shapes, tmp_path / "shapes"))
    output = tmp_path / "next.txt"
    done = suggest(shapes, output, "--labeled_split=train_1_4", "--split=train", "--number=5")
    assert done.returncode == 0, done.stderr
    assert f"{output}: 5 of the 24 photos to choose from" in done.stdout
    found = output.read_text().splitlines()
    assert len(set(found)) == 5 and set(found) <= ids_of(shapes, "train") - ids_of(shapes, "train_1_4")
    split = run(
        "datasets/make_split.py", f"--dataset={shapes}", f"--list_file={output}", "--from_split=train", "--name=next"
    )
    assert split.returncode == 0 and ids_of(shapes, "next") == set(found), split.stderr
    again = suggest(shapes, output, "--split=train")
    assert again.returncode == 2 and "is there already; give another file, or --overwrite" in again.stderr
    assert output.read_text().splitlines() == found
    # Before the first mask, and of more photos than there are.
    done = suggest(shapes, output, "--split=val", "--number=50", "--overwrite")
    assert done.returncode == 0 and set(output.read_text().splitlines()) == ids_of(shapes, "val"), done.stderr


@pytest.mark.slow
def test_of_a_run_it_takes_data_splits_network_and_initial_weights(tiny_shapes, tmp_path):
    file = tmp_path / "operative_config.gin"
    file.write_text(
        f"""load_dataset.directory = '{tiny_shapes}'
build_model.backbone = 'mobilenet_v2'
build_model.depth_multiplier = 0.5
train.initial_weights = '{WEIGHTS}'
train.method = @PseudoSeg()
TrainingData.labeled_split = 'train_1_4'
TrainingData.unlabeled_split = 'train'
"""
    )
    of_run = run("tools/suggest_images.py", f"--run_dir={tmp_path}", "--number=3", "--image_size=65")
    assert of_run.returncode == 0, of_run.stderr
    assert "above: 3 of the 24 photos to choose from" in of_run.stdout
    output = tmp_path / "next.txt"
    assert suggest(tiny_shapes, output, "--labeled_split=train_1_4", "--split=train", "--number=3").returncode == 0
    assert f"\n{output.read_text()}\n" in of_run.stdout
    other = run("tools/suggest_images.py", f"--run_dir={tmp_path}", "--split=val", "--number=3", "--image_size=65")
    assert other.returncode == 0 and len(set(other.stdout.splitlines()) & ids_of(tiny_shapes, "val")) == 3, other.stderr


def test_without_a_run_or_data_it_says_what_it_needs():
    done = run("tools/suggest_images.py", "--number=3")
    assert done.returncode == 2 and "--run_dir or --data_dir: expected one of them" in done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--split=trian"], "no split 'trian'.*Did you mean 'train'"),
        (["--split=train", "--labeled_split=none"], "no split 'none'"),
        (["--split=train", "--number=0"], "--number"),
        (
            ["--split=train_1_4", "--labeled_split=train"],
            "no photo to choose; all 8 are in --labeled_split=train",
        ),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_leaves_no_file(flags, message, tiny_shapes, tmp_path):
    done = suggest(tiny_shapes, tmp_path / "next.txt", *flags)
    assert done.returncode and re.search(message, done.stderr), done.stderr
    assert not (tmp_path / "next.txt").exists()
