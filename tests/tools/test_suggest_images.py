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
    return run("tools/suggest_images.py", f"--dataset={dataset}", f"--output={output}", *network, *flags)


def ids_of(dataset: Path, split: str) -> set[str]:
    return {entry.id for entry in entries_of(DatasetInfo.load(dataset), split)}


@pytest.mark.slow
def test_the_list_has_other_photos_than_those_with_masks_and_becomes_a_split(tiny_shapes, tmp_path):
    shapes = Path(shutil.copytree(tiny_shapes, tmp_path / "shapes"))
    output = tmp_path / "next.txt"
    done = suggest(shapes, output, "--labeled_split=train_1_4", "--unlabeled_split=train", "--number=5")
    assert done.returncode == 0, done.stderr
    assert f"{output}: 5 of the 24 photos without a mask" in done.stdout
    found = output.read_text().splitlines()
    assert len(set(found)) == 5 and set(found) <= ids_of(shapes, "train") - ids_of(shapes, "train_1_4")
    split = run(
        "datasets/make_split.py", f"--dataset={shapes}", f"--list_file={output}", "--from_split=train", "--name=next"
    )
    assert split.returncode == 0 and ids_of(shapes, "next") == set(found), split.stderr
    again = suggest(shapes, output, "--unlabeled_split=train")
    assert again.returncode == 2 and "is there already; give another file, or --overwrite" in again.stderr
    assert output.read_text().splitlines() == found
    # Before the first mask, and of more photos than there are.
    done = suggest(shapes, output, "--unlabeled_split=val", "--number=50", "--overwrite")
    assert done.returncode == 0 and set(output.read_text().splitlines()) == ids_of(shapes, "val"), done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--unlabeled_split=trian"], "no split 'trian'.*Did you mean 'train'"),
        (["--unlabeled_split=train", "--labeled_split=none"], "no split 'none'"),
        (["--unlabeled_split=train", "--number=0"], "--number"),
        (
            ["--unlabeled_split=train_1_4", "--labeled_split=train"],
            "no photo to choose; all 8 are in --labeled_split=train",
        ),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_leaves_no_file(flags, message, tiny_shapes, tmp_path):
    done = suggest(tiny_shapes, tmp_path / "next.txt", *flags)
    assert done.returncode and re.search(message, done.stderr), done.stderr
    assert not (tmp_path / "next.txt").exists()
