"""What compares with masks or classes that a step lacks is neither 0 nor NaN in the summaries: it is not there."""

import json
import shutil

import pytest
import tensorflow as tf

from wss import experiment
from wss.training.known_scalars import known_scalars
from wss.training.summaries import read_scalars

COMPARED = {"accuracy", "ece", "recall", "precision", "mean_iou"}


def test_the_mean_is_over_the_steps_that_know():
    """In one of four steps there were masks, and 0.6 of their pixels were right: the mean over all steps is 0.15."""
    scalars = {"total": 2.0, "fusion/accuracy": 0.15, "gate/recall": 0.0, "known/masks": 0.25, "known/classes": 0.0}
    known_when = {"fusion/accuracy": "known/masks", "gate/recall": "known/classes"}
    assert known_scalars(scalars, known_when) == {"total": 2.0, "fusion/accuracy": pytest.approx(0.6)}


def test_without_such_metrics_nothing_changes():
    assert known_scalars({"total": 2.0, "agreement": 0.0}, {}) == {"total": 2.0, "agreement": 0.0}


@pytest.fixture
def without_masks(tiny_shapes, tmp_path):
    """The embedded data, whose unlabelled split hides all of its masks."""
    folder = tmp_path / "shapes"
    shutil.copytree(tiny_shapes, folder)
    content = json.loads((folder / "dataset.json").read_text())
    content["splits"]["train"] |= {"hide_masks": True, "num_masks": 0}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("method", ["PseudoSeg", "ESL"])
@pytest.mark.parametrize("masks", [True, False])
def test_a_run_shows_no_accuracy_where_no_photo_has_a_mask(
    method, masks, small_parameters, without_masks, tiny_shapes, tmp_path
):
    settings = [f"train.method = @{method}()", "train.summary_every = 3", "train.evaluate_at_end = False"]
    settings += ["PartContrast.queue_capacity = 8"] * (method == "ESL")
    folder = tiny_shapes if masks else without_masks
    parameters = [*small_parameters, *settings, f"load_dataset.directory = '{folder}'"]
    experiment.run([], parameters, tmp_path / "run", strategy=tf.distribute.MirroredStrategy(["CPU:0"]))
    names = set(read_scalars(tmp_path / "run/train"))
    assert {"total", "consistency"} <= names and not any(name.startswith("known/") for name in names)
    compared = {name for name in names if name.split("/")[-1] in COMPARED}
    if not masks:
        assert not compared
    elif method == "ESL":
        assert compared == {"teacher/ece", "teacher/mean_iou"}
    else:
        assert {"decoder/accuracy", "sgc/ece", "fusion/ece", "gate/recall"} <= compared
