"""The evaluator on a Keras model that reads its answer off the image; one and two replicas."""

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.util import event_pb2

from wss.data.dataset_info import DatasetInfo, SplitInfo
from wss.errors import UserError
from wss.evaluation.evaluation import write_scalars
from wss.evaluation.evaluator import Evaluator
from wss.evaluation.result import read_json, write_json
from wss.inference.prediction import predict
from wss.ops import metrics
from wss.ops.dense_crf import CRFSettings

SHARDS = {"val-0": 3}
INFO = DatasetInfo(
    name="toy",
    class_names=("background", "cat", "dog", "cow"),
    colors=((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)),
    splits={
        "val": SplitInfo(SHARDS, num_masks=3, num_image_labels=0, max_size=(2, 2)),
        "unlabeled": SplitInfo(SHARDS, num_masks=0, num_image_labels=0, max_size=(2, 2)),
    },
)
# Three 2x2 images and a filler; class 3 is neither labelled nor predicted, class 2 only predicted.
PREDICTION = np.array([[[0, 0], [0, 1]], [[1, 1], [1, 1]], [[2, 0], [0, 0]], [[2, 2], [2, 2]]])
LABEL = np.array([[[0, 0], [0, 0]], [[1, 1], [1, 255]], [[0, 0], [0, 0]], [[255, 255], [255, 255]]])
CONFUSION = [[6, 1, 1, 0], [0, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def build_model() -> keras.Model:
    """Logits (20 at the class that the red channel names): a convolution with fixed weights."""
    layer = keras.layers.Conv2D(4, 1, name="logits")
    model = keras.Sequential([keras.Input((None, None, 3)), layer])
    classes = np.arange(4)
    # -10 (x - c)^2 without the x^2 that all classes share.
    kernel = np.zeros([1, 1, 3, 4])
    kernel[0, 0, 0] = 20 * classes
    layer.set_weights([kernel, -10.0 * classes**2])
    model.num_classes = 4
    return model


def batches(label=LABEL, batch_size=2) -> tf.data.Dataset:
    image = np.repeat(PREDICTION[..., None], 3, axis=-1).astype(np.float32)
    examples = {
        "image": image,
        "label": label[..., None].astype(np.int32),
        "name": np.array(["a", "b", "c", ""]),
    }
    return tf.data.Dataset.from_tensor_slices(examples).batch(batch_size, drop_remainder=True)


@pytest.fixture(scope="module")
def model():
    return build_model()


@pytest.fixture(scope="module")
def result(model):
    return Evaluator(model, INFO)(batches(), "val")


def test_numbers_by_hand(result):
    np.testing.assert_array_equal(result.confusion, CONFUSION)
    assert result.num_images == 3
    np.testing.assert_allclose(result.mean_iou, (6 / 8 + 3 / 4 + 0) / 3)
    np.testing.assert_allclose(result.pixel_accuracy, 9 / 11)
    np.testing.assert_allclose(result.mean_accuracy, (6 / 8 + 1) / 2)
    # It is sure of every pixel and wrong in 2 of 11.
    np.testing.assert_allclose(result.expected_calibration_error, 2 / 11, atol=1e-3)
    assert result.calibration[:, 0].sum() == 11


def test_two_replicas_give_the_same(result, two_replicas):
    with two_replicas.scope():
        model = build_model()
    mirrored = Evaluator(model, INFO, strategy=two_replicas)(batches(), "val")
    np.testing.assert_array_equal(mirrored.confusion, result.confusion)
    # Confidences are float32, and some processors round them differently in batches of another size.
    np.testing.assert_allclose(mirrored.calibration, result.calibration, rtol=1e-6)
    assert mirrored.num_images == result.num_images


def test_batch_size_does_not_matter(model, result):
    other = Evaluator(model, INFO)(batches(batch_size=4), "val")
    np.testing.assert_array_equal(other.confusion, result.confusion)


def test_predict_fn_and_number_of_bins(model, result):
    flipped = Evaluator(model, INFO, predict_fn=functools.partial(predict, flip=True), num_bins=4)(batches(), "val")
    np.testing.assert_array_equal(flipped.confusion, result.confusion)
    assert flipped.calibration.shape == (4, 3)


def test_step_is_traced_once(model):
    traces = []

    def counting(model, images):
        traces.append(images.shape)
        return predict(model, images)

    evaluate = Evaluator(model, INFO, predict_fn=counting)
    first = evaluate(batches(), "val")
    model.layers[-1].bias.assign_add([100.0, 0, 0, 0])
    second = evaluate(batches(), "val")
    model.layers[-1].bias.assign_sub([100.0, 0, 0, 0])
    assert traces == [(2, 2, 2, 3)]
    assert first.confusion[0, 1] == 1 and second.confusion[:, 0].sum() == 11


def test_split_without_masks(model):
    with pytest.raises(UserError, match="'unlabeled': it has no masks"):
        Evaluator(model, INFO)(batches(), "unlabeled")


def test_unknown_label_value(model):
    with pytest.raises(UserError, match=r"neither a class \(0 .. 3\) nor the ignore label \(255\)"):
        Evaluator(model, INFO)(batches(np.where(LABEL == 1, 9, LABEL)), "val")


def test_model_of_another_data_set():
    model = build_model()
    model.num_classes = 21
    with pytest.raises(UserError, match="21 classes and data set toy has 4"):
        Evaluator(model, INFO)


def test_json_says_null_for_absent_classes_and_reads_back(result, tmp_path):
    path = tmp_path / "new" / "val.json"
    write_json(result, path)
    content = json.loads(path.read_text())
    assert content["iou"] == {"background": 0.75, "cat": 0.75, "dog": None, "cow": None}
    assert content["mean_iou"] == result.mean_iou == 0.5
    assert [child.name for child in path.parent.iterdir()] == ["val.json"]
    again = read_json(path)
    assert again.as_dict() == result.as_dict()


@pytest.mark.parametrize("content", [None, "", "{}", "[]"])
def test_unreadable_json_is_one_line(content, tmp_path):
    path = tmp_path / "val.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match="not a readable evaluation result") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)


def test_scalars_reach_tensorboard(result, tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path))
    write_scalars(result, writer, step=7)
    (path,) = tmp_path.iterdir()
    values = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = event_pb2.Event.FromString(record.numpy())
        for value in event.summary.value:
            values[value.tag] = (event.step, float(tf.make_ndarray(value.tensor)))
    assert values["eval/mean_iou"] == (7, 0.5)
    assert values["eval/iou/cat"] == (7, 0.75)
    assert "eval/iou/dog" not in values
    np.testing.assert_allclose(
        values["eval/expected_calibration_error"][1],
        metrics.expected_calibration_error(result.calibration),
        rtol=1e-6,
    )


def test_a_crf_repairs_a_single_pixel(two_replicas):
    """A grey photo of one class, of which a pixel is called another; the padding is not looked at."""
    image = np.zeros([2, 9, 9, 3], np.float32)
    image[:, 4, 4] = 1
    label = np.zeros([2, 9, 9, 1], np.int32)
    label[:, 8:] = 255
    image, label = (np.concatenate([x, np.full_like(x, fill)]) for x, fill in ((image, 0), (label, 255)))
    examples = {"image": image, "label": label, "size": np.int32([[8, 9]] * 2 + [[0, 0]] * 2)}  # the last fill up
    data = tf.data.Dataset.from_tensor_slices(examples).batch(2)
    unsure = build_model()
    unsure.layers[-1].set_weights([weight / 20 for weight in unsure.layers[-1].get_weights()])
    assert Evaluator(unsure, INFO)(data, "val").confusion[0, 1] == 2
    with two_replicas.scope():
        mirrored = build_model()
        mirrored.layers[-1].set_weights(unsure.layers[-1].get_weights())
    for model, strategy in ((unsure, None), (mirrored, two_replicas)):
        result = Evaluator(model, INFO, strategy=strategy, crf=CRFSettings())(data, "val")
        assert result.confusion[0, 0] == 2 * 8 * 9 and result.confusion.sum() == 2 * 8 * 9
