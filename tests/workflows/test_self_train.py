"""tools/self_train.py and tools/compare_self_training.py as users run them: killed, started again, compared."""

from pathlib import Path

import pytest
from tools_in_processes import finish, kill, start

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "build_model.backbone": "'mobilenet_v2'",
    "build_model.depth_multiplier": 0.25,
    "build_model.aspp_rates": (),
    "build_model.use_decoder": False,
    "build_model.fine_tune_batch_norm": False,
    "train.method": "@Supervised()",
    "train.num_steps": 6,
    "train.pictures_every": 0,
    "TrainingData.labeled_split": "'train_1_4'",
    "TrainingData.unlabeled_split": "'train'",
    "TrainingData.labeled_batch_size": 2,
    "TrainingData.pseudo_batch_size": 2,
    "TrainingData.crop_size": "(33, 33)",
    "Augmentation.min_scale": 0.5,
    "Augmentation.max_scale": 1.0,
    "Augmentation.scale_step": 0,
    "Evaluation.batch_size": 2,
    "Labeling.flip": False,
    "Rounds.num_steps": 2,
    "Rounds.alphas": "(0.3,)",
    "Rounds.scale_growth": "((0.2, 0.5),)",
}


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tmp_path / "tiny.gin"
    path.write_text("".join(f"{name} = {value}\n" for name, value in TINY.items()))
    return path


def rows(printed: str) -> dict[str, list[str]]:
    """The last table that was printed: first cell -> the others."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    first = max(number for number, line in enumerate(lines) if set("".join(line)) <= set("-:"))
    return {line[0]: line[1:] for line in lines[first + 1 :]}


@pytest.mark.slow
def test_rounds_that_were_killed_go_on_and_are_compared(tmp_path, tiny_shapes, recipe):
    """All processes are killed when the first labels are there; then the rest of round 1, and CBST from the same teacher."""
    run_dir = tmp_path / "runs/seed_0"
    kill(start("self_train", recipe, run_dir, tiny_shapes), run_dir / "round_1/labels/dataset.json")

    printed = finish(start("self_train", recipe, run_dir, tiny_shapes))
    titles = [line for line in printed.splitlines() if line.startswith("== ")]
    assert titles == [
        f"== round 0: training: finished before ({run_dir}/round_0/finished)",
        f"== round 1: labelling: finished before ({run_dir}/round_1/labels/dataset.json)",
        "== round 1: training",
    ]
    self_trained = rows(printed)
    assert list(self_trained) == ["0", "1"] and all(len(row) == 6 for row in self_trained.values())

    flags = "--seeds=0", "--policies=cbst"
    printed = finish(start("compare_self_training", recipe, tmp_path / "runs", tiny_shapes, *flags))
    compared = rows(printed)
    assert list(compared) == [
        "supervised (round 0)",
        "supervised, the steps of round 1",
        "cbst",
        "dars, round 1",
    ]
    of_round = {"supervised (round 0)": "0", "dars, round 1": "1"}
    assert {title: compared[title][:-1] for title in of_round} == {
        title: self_trained[number] for title, number in of_round.items()
    }
    # CBST labels 30 % of the pixels of each class and what ties with them, DARS at most 30 % of all.
    assert float(compared["cbst"][0]) >= 30 >= float(compared["dars, round 1"][0]) > 0
