"""The best step of a run: its weights are kept, and what gets no better ends."""

import json
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf

from wss import experiment
from wss.data.dataset_info import DatasetInfo
from wss.errors import UserError
from wss.evaluation.evaluation import SplitEvaluation
from wss.evaluation.result import Result, read_json
from wss.experiment import LAST, open_run
from wss.run_directory import RunDirectory
from wss.training.loop import Trainer
from wss.training.validation import Best, Validation

EVERY = ["train.evaluate_every = 1", "train.checkpoint_every = 2", "train.num_steps = 6"]
KEEP = [*EVERY, "train.keep_best = True"]
# Correct pixels of 100 in each of the two classes after steps 1 to 6.
CURVE = (20, 60, 50, 90, 80, 70)


def one_device():
    return tf.distribute.MirroredStrategy(["CPU:0"])


def train(run_dir, parameters):
    return experiment.run([], parameters, run_dir, strategy=one_device())


def iou(correct):
    return correct / (200 - correct)


@pytest.fixture
def curve(monkeypatch):
    """Evaluations find what `CURVE` says of their step; returns the steps in the order in which they were asked."""
    asked = []
    evaluate_step = Trainer._evaluate

    def evaluate_after(self, step):
        asked.append(step)
        return evaluate_step(self, step)

    def evaluate(self, number_of_batches=None):
        right = CURVE[asked[-1] - 1]
        confusion = np.zeros([7, 7], np.int64)
        confusion[:2, :2] = [[right, 100 - right], [100 - right, right]]
        return Result(
            dataset="shapes", split="val", class_names=tuple("abcdefg"), confusion=confusion,
            calibration=np.zeros([20, 3]), num_images=6, seconds=1.0,
        )  # fmt: skip

    monkeypatch.setattr(Trainer, "_evaluate", evaluate_after)
    monkeypatch.setattr(SplitEvaluation, "__call__", evaluate)
    return asked


def at_checkpoint(run_dir, copy, step):
    """The run as if it had been killed after the checkpoint of a step."""
    shutil.copytree(run_dir, copy)
    for path in [*copy.glob("*.weights.h5"), *copy.glob("checkpoints/ckpt-*")]:
        if f"ckpt-{step}." not in path.name:
            path.unlink()
    return open_run(str(copy), [], one_device())


def test_the_best_step_is_kept_reported_and_opened(tmp_path, small_parameters, curve, capsys):
    run_dir = tmp_path / "run"
    result = train(run_dir, [*small_parameters, *KEEP])
    assert curve == [1, 2, 3, 4, 5, 6]
    assert result.mean_iou == read_json(run_dir / "eval_val.json").mean_iou == iou(90)
    assert Best.read(run_dir / "best.weights.h5") == Best(4, iou(90))
    said = capsys.readouterr().out
    assert "best on 'val': step 4. Its weights are in" in said
    assert "81.82" in said and "53.85" in said
    for which, step in (("best", 4), (LAST, 6)):
        opened = open_run(str(run_dir), [], one_device(), weights=which)
        expected = at_checkpoint(run_dir, tmp_path / which, step)
        assert opened.step == expected.step == step
        for one, other in zip(opened.model.variables, expected.model.variables, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_without_it_the_last_step_is_the_runs(tmp_path, small_parameters, curve, capsys):
    result = train(tmp_path, [*small_parameters, *EVERY])
    assert result.mean_iou == read_json(tmp_path / "eval_val.json").mean_iou == iou(70)
    assert not (tmp_path / "best.weights.h5").exists()
    assert "best on 'val': step 4\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "validation.json").read_text())["mean_iou"]["4"] == iou(90)


def test_a_run_ends_when_it_gets_no_better(tmp_path, small_parameters, curve, capsys):
    parameters = [*small_parameters, *EVERY, "train.num_steps = 50", "train.early_stopping = 2"]
    train(tmp_path, parameters)
    assert "ends after 6 of 50 steps: 2 evaluations on 'val' were no better" in capsys.readouterr().out
    assert (tmp_path / "model.weights.h5").exists()
    before = (tmp_path / "model.weights.h5").read_bytes()
    train(tmp_path, parameters)  # and does not go on
    assert "ends after 6 of 50 steps" in capsys.readouterr().out
    assert (tmp_path / "model.weights.h5").read_bytes() == before


@pytest.mark.parametrize("at", [3, 4, 6])
def test_a_kill_before_an_evaluation_changes_nothing(tmp_path, small_parameters, monkeypatch, curve, at):
    """An odd step has no checkpoint and is taken again; an even one has, and lacks its evaluation."""
    parameters = [*small_parameters, *KEEP]
    whole = train(tmp_path / "whole", parameters)
    with monkeypatch.context() as patch:
        evaluate = SplitEvaluation.__call__

        def die(self):
            if curve[-1] == at:
                raise KeyboardInterrupt
            return evaluate(self)

        patch.setattr(SplitEvaluation, "__call__", die)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed", parameters)
    del curve[:]
    assert train(tmp_path / "killed", parameters).mean_iou == whole.mean_iou
    assert curve == list(range(at, 7))
    assert Best.read(tmp_path / "killed" / "best.weights.h5") == Best(4, iou(90))
    for name in ("best.weights.h5", "model.weights.h5", "validation.json", "eval_val.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.fixture
def validation(tiny_shapes, tmp_path):
    info = DatasetInfo.load(str(tiny_shapes))
    return lambda **options: Validation(RunDirectory(tmp_path / "run"), info, "val", **options)


def test_nan_and_equals_are_no_better(validation):
    found = validation(patience=3)
    for step, value in enumerate((math.nan, 0.5, 0.5, math.nan), 1):
        found.add(step, value)
    assert found.best == Best(2, 0.5) and not found.exhausted
    found.add(5, 0.4)
    assert found.exhausted
    again = validation(patience=3)
    again.go_on(4)
    assert again.best == Best(2, 0.5) and sorted(again.mean_iou) == [1, 2, 3, 4] and not again.exhausted


def test_never_better_than_nothing(validation):
    found = validation(patience=2)
    found.add(1, math.nan)
    assert not found.exhausted
    found.add(2, math.nan)
    assert found.exhausted and found.last_words(2) == "no step of the run has an mIoU on 'val'"


@pytest.mark.parametrize(
    ("curve", "said"),
    [
        ({4: 0.3, 8: 0.4, 10: 0.45}, "still rises: more steps would pay"),
        ({4: 0.3, 8: 0.44, 10: 0.45}, ""),
        ({4: 0.45, 8: 0.4, 10: 0.4}, "It fell since: the masks are learnt by heart"),
        ({4: 0.45, 8: 0.44, 10: 0.44}, ""),
        ({10: 0.45}, ""),
        ({8: math.nan, 10: 0.45}, ""),
    ],
)
def test_the_end_says_whether_more_steps_would_pay(validation, curve, said):
    found = validation()
    for step, value in curve.items():
        found.add(step, value)
    words = found.last_words(10)
    assert words.startswith("best on 'val': step ")
    assert said in words and ("more steps" in words) == ("more steps" in said) and ("fell" in words) == ("fell" in said)


def test_the_best_stands_beside_the_last(validation):
    found = validation()
    for step, value in {4: 0.45, 8: 0.5, 10: 0.4}.items():
        found.add(step, value)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found.table(10).splitlines() if "|" in line]
    assert rows[0] == ["weights", "step", "mIoU"]
    assert rows[2:] == [["best on 'val'", "8", "50.00"], ["last", "10", "40.00"]]
    assert "chosen on the images that it is measured on" in found.table(10)


def test_evaluations_of_other_images_do_not_count(validation, tmp_path, capsys):
    found = validation()
    found.add(1, 0.9)
    path = tmp_path / "run" / "validation.json"
    path.write_text(path.read_text().replace('"images": "', '"images": "0'))
    again = validation()
    again.go_on(1)
    assert again.best is None and "the evaluations count anew" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"split": "val", "images": "", "mean_iou": []}', "null"])
def test_a_damaged_record_is_one_line(validation, tmp_path, content, tiny_shapes):
    path = tmp_path / "run" / "validation.json"
    path.parent.mkdir()
    checksum = DatasetInfo.load(str(tiny_shapes)).split("val").checksum
    path.write_text(content.replace('"images": ""', f'"images": "{checksum}"'))
    with pytest.raises(UserError, match=r"validation.json: damaged .*remove it") as error:
        validation().go_on(1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["empty", "no attributes", "cut off"])
def test_damaged_best_weights_are_one_line(tmp_path, small_parameters, curve, damage):
    train(tmp_path / "run", [*small_parameters, *KEEP])
    best = tmp_path / "run" / "best.weights.h5"
    if damage == "no attributes":
        shutil.copy(tmp_path / "run" / "model.weights.h5", best)
    else:
        content = best.read_bytes()
        best.write_bytes(b"" if damage == "empty" else content[: len(content) // 2])
    with pytest.raises(UserError, match=r"best.weights.h5: .*--weights=last") as error:
        open_run(str(tmp_path / "run"), [], one_device())
    assert "\n" not in str(error.value)
    assert open_run(str(tmp_path / "run"), [], one_device(), weights=LAST).step == 6


@pytest.mark.parametrize("parameter", ["train.keep_best = True", "train.early_stopping = 2"])
def test_without_evaluations_nothing_can_be_best(tmp_path, small_parameters, parameter):
    with pytest.raises(UserError, match=r"train\.\w+ = .* and train.evaluate_every = 0, expected an evaluate_every"):
        train(tmp_path / "run", [*small_parameters, parameter])
    assert not (tmp_path / "run").exists()
