"""A run of the box classifier on records with boxes: resumed bit for bit, and what is refused before it."""

import dataclasses

import numpy as np
import pytest
from networks import two_convolutions
from stopped_runs import run_training
from tiny import SMALL, bindings

from wss.conversion.shapes import build_shapes
from wss.data.dataset_info import DatasetInfo
from wss.data.training_data import TrainingData
from wss.errors import UserError
from wss.methods.bap_nal.box_classification import BoxClassification

STEPS = 6
OF_RUN = {
    "train.method": "@BoxClassification()",
    "TrainingData.unlabeled_split": "'train'",
    "TrainingData.labeled_split": "'train'",
    "train.evaluate_at_end": False,
    "train.num_steps": STEPS,
    "train.steps_per_loop": 1,
    "train.pictures_every": 3,
}


@pytest.fixture(scope="module")
def boxed_shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxed") / "shapes"
    build_shapes(folder, num_train=8, num_val=4, size=48, num_shards=2, boxes_from_masks=16)
    return folder


@pytest.fixture(autouse=True)
def two_layers():
    with two_convolutions():
        yield


@pytest.mark.slow
def test_a_run_that_is_stopped_resumes_to_the_same_bits(tmp_path, boxed_shapes):
    parameters = bindings({**SMALL, **OF_RUN}, boxed_shapes)
    whole = run_training(tmp_path / "whole", parameters)
    assert run_training(tmp_path / "parts", parameters, stop=True).finished_steps == 3
    resumed = run_training(tmp_path / "parts", parameters)
    assert resumed.finished_steps == STEPS
    kernels = [trainer.step.model.branches.kernel.numpy() for trainer in (whole, resumed)]
    assert np.abs(kernels[0]).max() > 0
    for one, other in zip(whole.step.model.variables, resumed.step.model.variables, strict=True):
        np.testing.assert_array_equal(np.array(one), np.array(other), err_msg=one.path)


def test_images_without_boxes_are_refused(tmp_path, tiny_shapes):
    with pytest.raises(UserError, match="the objects of 0 of its 32 images are known"):
        run_training(tmp_path / "run", bindings({**SMALL, **OF_RUN}, tiny_shapes))
    assert not (tmp_path / "run" / "run.json").exists()


def test_classes_without_a_background_are_refused(boxed_shapes):
    info = dataclasses.replace(DatasetInfo.load(boxed_shapes), has_background=False)
    data = TrainingData(info, (0, 0, 0), seed=0, labeled_split="train")
    with pytest.raises(UserError, match=r"class 0 \(background\) is an object"):
        BoxClassification().check(data)
