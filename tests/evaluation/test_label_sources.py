"""What pseudo labels are made of: counts by hand on logits that are chosen, the same as the maps of a tiny model."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import pseudoseg_network
from PIL import Image

from wss import config
from wss.data.dataset_info import DatasetInfo, SplitInfo
from wss.data.padding import Padding
from wss.errors import UserError
from wss.evaluation.evaluator import Evaluator
from wss.evaluation.label_sources import Gate, LabelSources, label_sources_table, write_label_sources
from wss.evaluation.pseudo_label_quality import default_fusions, evaluate_label_sources
from wss.inference.photos import Batch, SplitExamples
from wss.inference.prediction import valid_pixels
from wss.methods.pseudoseg.pseudoseg import PseudoSeg
from wss.methods.supervised import Supervised
from wss.models.weights.weights_file import save_weights
from wss.ops import metrics
from wss.ops.resizing import resize_bilinear
from wss.run_directory import CONFIG_NAME, RunDirectory

ROOT = Path(__file__).resolve().parents[2]
GREY = (127.5, 127.5, 127.5)
TOY = DatasetInfo(
    name="toy",
    class_names=("background", "cat", "dog"),
    colors=((0, 0, 0), (255, 0, 0), (0, 255, 0)),
    splits={"val": SplitInfo({"val-0": 1}, num_masks=1, num_image_labels=0, max_size=(1, 4))},
)


@dataclasses.dataclass(frozen=True)
class ToyModel:
    """Reads its answers off the image: 3 channels are the decoder's logits, 3 those of SGC, 2 of the classifier."""

    stride: int = 1
    num_classes: int = 3

    def __call__(self, images, training=False):
        return self.segment(self.features(images))

    def features(self, images):
        return {"all": images[:, :: self.stride, :: self.stride]}

    def segment(self, features):
        return features["all"][..., :3]

    @property
    def branches(self):
        return self

    def classify(self, features):
        return features["all"][:, 0, 0, 6:]

    def cam(self, features, image_label):
        return image_label

    def refine_cam(self, features, cam, valid):
        # The classifier's logits are the same all over an image, so this is 0 unless the attention sees padding.
        seen = valid * tf.abs(features["all"] - features["all"][:, :1, :1])[..., 6:7]
        return features["all"][..., 3:6] + tf.reduce_max(seen, axis=[1, 2], keepdims=True) * [1.0, 0.0, 0.0]


def image_of(decoder, sgc=None, classifier=(0.0, 0.0)) -> np.ndarray:
    """An image for `ToyModel` from logits [H, W, 3]; those of SGC are the decoder's by default."""
    decoder = np.asarray(decoder, np.float32)
    sgc = decoder if sgc is None else np.asarray(sgc, np.float32)
    return np.concatenate([decoder, sgc, np.broadcast_to(np.float32(classifier), (*decoder.shape[:2], 2))], axis=-1)


def batch_of(images, labels, sizes=None, number=None) -> Batch:
    images, labels = np.stack(images), np.stack(labels).astype(np.int32)
    sizes = np.array([labels.shape[1:]] * len(images) if sizes is None else sizes, np.int32)
    return Batch([f"image_{i}" for i in range(number or len(images))], images, sizes, labels)


def toy_parts(*batches: Batch, method=None, stride=1) -> LabelSources:
    return evaluate_label_sources(ToyModel(stride), method or PseudoSeg(), TOY, split="val", examples=batches)


def random_images(number: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Images of 4 x 6 pixels, each with larger logits than the one before, and their masks."""
    rng = np.random.default_rng(0)
    logits = [rng.normal(0, 1 + i, (2, 4, 6, 3)) for i in range(number)]
    return (
        [image_of(*both, classifier=rng.normal(size=2)) for both in logits],
        [rng.choice([0, 1, 2, 255], (4, 6)) for _ in logits],
    )


def assert_same(one: LabelSources, other: LabelSources, titles) -> None:
    np.testing.assert_array_equal(one.gate.counts, other.gate.counts)
    for title in titles:
        np.testing.assert_array_equal(one.results[title].confusion, other.results[title].confusion, title)
        np.testing.assert_allclose(one.results[title].calibration, other.results[title].calibration, rtol=1e-5)
        assert one.results[title].num_images == other.results[title].num_images


def test_counts_by_hand():
    """Labels 0, 1, 2 and one pixel that is ignored. A bin is 1/15 wide: 0.525 and 0.475 share one, so do 0.85 and 0.85.

    Decoder: sure by 0.85, 0.65 (wrong), 0.85, so ECE = (|2 - 1.7| + 0.65) / 3. SGC: 0.55 (wrong), 0.7, 0.85. Their mean:
    0.525, 0.475, 0.85, all right; T = 0.5 squares it: 0.525^2 / (0.525^2 + 0.175^2 + 0.3^2) = 0.69558, 0.54204, 0.98467.
    """
    decoder = [[(0.85, 0.1, 0.05), (0.65, 0.25, 0.1), (0.1, 0.05, 0.85), (0.2, 0.2, 0.6)]]
    sgc = [[(0.2, 0.25, 0.55), (0.2, 0.7, 0.1), (0.05, 0.1, 0.85), (0.2, 0.2, 0.6)]]
    parts = toy_parts(batch_of([image_of(np.log(decoder), np.log(sgc))], [[[0, 1, 2, 255]]]))
    all_right = np.eye(3)
    expected = {
        "decoder": ([[1, 0, 0], [1, 0, 0], [0, 0, 1]], 0.95 / 3, 2.35 / 3),
        "SGC": ([[0, 0, 1], [0, 1, 0], [0, 0, 1]], (0.55 + 0.3 + 0.15) / 3, 2.1 / 3),
        "no norm, T=1": (all_right, (1.0 + 0.15) / 3, 1.85 / 3),
        "no norm, T=0.5": (all_right, (3 - 2.22229) / 3, 2.22229 / 3),
    }
    for title, (confusion, error, confidence) in expected.items():
        result = parts.results[title]
        np.testing.assert_array_equal(result.confusion, confusion, title)
        np.testing.assert_allclose(result.expected_calibration_error, error, atol=1e-5)
        np.testing.assert_allclose(result.calibration.sum(axis=0), [3, 3 * confidence, np.trace(confusion)], atol=1e-4)
        assert result.num_images == 1 and result.class_names == TOY.class_names
    assert list(parts.results) == list(default_fusions(PseudoSeg()))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in label_sources_table(parts).splitlines()]
    assert rows[0] == ["part", "mIoU", "pixel acc.", "mean confidence", "ECE"]
    assert rows[2] == ["decoder", "50.00", "66.67", "78.33", "31.67"]
    assert rows[-1] == ["classes", "100.00", "100.00"]


def test_norms_by_hand():
    """Two images of one pixel, logits (3, 0, 0) and (1, 0, 0) of both decoder and SGC: the mean square is 3 or 1/3 of
    an image or pixel, 5/3 of the batch; the sum of the squares of both maps 18 or 2."""
    images = [image_of([[(value, 0, 0)]]) for value in (3.0, 1.0)]
    parts = toy_parts(batch_of(images, [[[0]], [[0]]]))

    def confidence(logits, temperature):
        p = np.exp(logits) / (np.exp(logits) + 2)
        return np.sum(p ** (1 / temperature) / (p ** (1 / temperature) + 2 * ((1 - p) / 2) ** (1 / temperature)))

    values = np.array([3.0, 1.0])
    for title, norm, temperature in (
        ("norm of the batch, T=1", np.sqrt(5 / 3), 1.0),
        ("norm of the batch, T=0.5", np.sqrt(5 / 3), 0.5),
        ("norm of the image, T=0.5", values / np.sqrt(3), 0.5),
        ("norm of the pixel, T=0.5", values / np.sqrt(3), 0.5),
        ("sum over the image, T=0.5", values * np.sqrt(2), 0.5),
    ):
        found = parts.results[title].calibration[:, 1].sum()
        np.testing.assert_allclose(found, confidence(values / norm, temperature), rtol=1e-5, err_msg=title)


def test_gamma_and_temperature_are_the_runs():
    fusions = default_fusions(PseudoSeg(gamma=0.3, temperature=0.25, norm_scope="none", label="hard", threshold=0.9))
    own = fusions["norm of the batch, T=0.25"]
    assert (own.gamma, own.temperature, own.norm_scope, own.label) == (0.3, 0.25, "batch", "soft")
    assert (fusions["no norm, T=1"].gamma, fusions["no norm, T=1"].temperature) == (0.3, 1.0)
    assert len(fusions) == 9 and len(default_fusions(PseudoSeg(temperature=1.0))) == 7


@pytest.mark.parametrize(
    ("threshold", "counts"),
    [(0.5, [[1, 1, 0], [0, 0, 1]]), (0.8, [[0, 0, 1], [0, 0, 1]]), (0.2, [[1, 1, 0], [1, 1, 0]])],
)
def test_gate_by_hand(threshold, counts):
    """Scores 0.73 for cats and 0.27 for dogs in each image; the first shows both, the second neither: its dog is padding.
    The third, without a labelled pixel, says nothing."""
    image = image_of(np.zeros([1, 3, 3]), classifier=(1.0, -1.0))
    labels = [[[1, 2, 0]], [[0, 255, 2]], [[255, 255, 1]]]
    batch = batch_of([image] * 3, labels, sizes=[(1, 3), (1, 2), (1, 2)])
    parts = toy_parts(batch, method=PseudoSeg(class_threshold=threshold))
    np.testing.assert_array_equal(parts.gate.counts, counts)
    assert parts.gate.class_names == ("cat", "dog")
    assert all(result.num_images == 2 for result in parts.results.values())


def test_recall_and_precision_by_hand():
    gate = Gate(("cat", "dog", "cow"), np.array([[3, 1, 2], [0, 0, 1], [0, 0, 0]]))
    assert (gate.recall, gate.precision) == (3 / 6, 3 / 4)
    np.testing.assert_array_equal(list(gate.recall_per_class.values()), [3 / 5, 0, np.nan])
    np.testing.assert_array_equal(list(gate.precision_per_class.values()), [3 / 4, np.nan, np.nan])


def test_without_a_background_every_class_has_an_image_label():
    info = dataclasses.replace(TOY, class_names=("cat", "dog"), colors=TOY.colors[:2], has_background=False)
    image = np.concatenate([np.zeros([1, 2, 6]), np.ones([1, 2, 2])], axis=-1).astype(np.float32)
    fusions = {"decoder": default_fusions(PseudoSeg())["decoder"]}
    examples = [batch_of([image], [[[0, 0]]])]
    parts = evaluate_label_sources(ToyModel(), PseudoSeg(), info, split="val", examples=examples, fusions=fusions)
    np.testing.assert_array_equal(parts.gate.counts, [[1, 0, 0], [0, 1, 0]])
    assert list(parts.gate.recall_per_class) == ["cat", "dog"] and list(parts.results) == ["decoder"]


def evaluated(batch: Batch, stride: int):
    dataset = tf.data.Dataset.from_tensors({"image": batch.images, "label": batch.labels[..., None]})
    return Evaluator(ToyModel(stride), TOY)(dataset, "val")


def test_decoder_is_what_the_evaluator_counts():
    images, labels = random_images(3)
    batch = batch_of(images, labels)
    found, expected = toy_parts(batch).results["decoder"], evaluated(batch, 1)
    np.testing.assert_array_equal(found.confusion, expected.confusion)
    np.testing.assert_allclose(found.calibration, expected.calibration, rtol=1e-6)
    assert found.num_images == expected.num_images == 3


def test_parts_are_resized_as_probabilities():
    """Logits (0, 2, -9) and (9, 0, -9) four pixels apart, class 1 everywhere. A quarter of the way logits are (2.25, 1.5),
    class 0, which the evaluator says, but probabilities 3/4 (0.119, 0.881) + 1/4 (1, 0), class 1."""
    logits = np.zeros([1, 5, 3])
    logits[0, 0], logits[0, 4] = (0, 2, -9), (9, 0, -9)
    batch = batch_of([image_of(logits)], [np.ones([1, 5])])
    np.testing.assert_array_equal(toy_parts(batch, stride=4).results["decoder"].confusion[1], [3, 2, 0])
    np.testing.assert_array_equal(evaluated(batch, 4).confusion[1], [4, 1, 0])


INDEPENDENT = [title for title in default_fusions(PseudoSeg()) if "batch" not in title]


def test_other_batches_change_only_the_norm_of_the_batch():
    images, labels = random_images(5)
    parts = {
        size: toy_parts(*[batch_of(images[i : i + size], labels[i : i + size]) for i in range(0, 5, size)])
        for size in (2, 5)
    }
    assert_same(parts[2], parts[5], INDEPENDENT)
    assert len(INDEPENDENT) == 7
    for title in set(parts[2].results) - set(INDEPENDENT):
        confidences = [each.results[title].calibration[:, 1].sum() for each in parts.values()]
        assert abs(confidences[0] - confidences[1]) > 1e-2, title


def test_padding_counts_nowhere():
    """Its logits are huge and its labels classes. The norms over maps see it, as in training; the others do not."""
    images, labels = random_images(3)
    sizes = np.array([(4, 6), (3, 5), (1, 2)])
    cut = [batch_of([i[:h, :w]], [m[:h, :w]]) for i, m, (h, w) in zip(images, labels, sizes, strict=True)]
    padded = batch_of(images, labels, sizes)
    padded.images[:] += np.arange(100, 108) * (1 - valid_pixels(sizes, (4, 6)).numpy())
    titles = ["decoder", "SGC", "no norm, T=1", "no norm, T=0.5", "norm of the pixel, T=0.5"]
    assert_same(toy_parts(padded), toy_parts(*cut), titles)
    assert toy_parts(padded).results["decoder"].confusion.sum() == sum((b.labels != 255).sum() for b in cut)


def test_images_that_fill_up_a_batch_count_nowhere_and_move_no_norm():
    images, labels = random_images(4)
    filled = batch_of(images, labels, number=3)
    filled.images[3] *= 100
    parts = toy_parts(filled)
    assert_same(parts, toy_parts(batch_of(images[:3], labels[:3])), parts.results)


def test_masks_that_are_wrong_or_absent_are_refused():
    image = image_of(np.zeros([1, 3, 3]))
    with pytest.raises(UserError, match=r"toy, split 'val': a mask has a value that is neither a class \(0 .. 2\)"):
        toy_parts(batch_of([image], [[[0, 1, 3]]]))
    with pytest.raises(UserError, match="toy, split 'val': it has no masks"):
        toy_parts(dataclasses.replace(batch_of([image], [[[0, 1, 1]]]), labels=None))


def test_another_method_is_refused():
    with pytest.raises(UserError, match="train.method is Supervised, .* expected a run of PseudoSeg"):
        evaluate_label_sources(ToyModel(), Supervised(), TOY, split="val", examples=[])


def test_json_reads_back(tmp_path):
    path = tmp_path / "parts.json"
    parts = toy_parts(batch_of([image_of(np.zeros([1, 3, 3]), classifier=(1, -1))], [[[0, 1, 1]]]))
    write_label_sources(parts, path)
    gate = json.loads(path.read_text())["gate"]
    assert gate["recall_per_class"] == {"cat": 1.0, "dog": None} and gate["counts"] == [[1, 0, 0], [0, 0, 0]]
    again = LabelSources.from_dict(json.loads(path.read_text()))
    assert again.as_dict() == parts.as_dict() and label_sources_table(again) == label_sources_table(parts)
    assert [file.name for file in tmp_path.iterdir()] == ["parts.json"]


@pytest.fixture(scope="module")
def info(tiny_shapes) -> DatasetInfo:
    return DatasetInfo.load(tiny_shapes)


def surer(model):
    """Untrained, all classes are equally probable but for rounding, and the CAM is 0."""
    for kernel, factor in ((model.segmentation_head.layers[-1].kernel, 1e7), (model.branches.classifier.kernel, 1e12)):
        kernel.assign(factor * kernel)
    return model


@pytest.fixture(scope="module")
def model(info):
    keras.utils.set_random_seed(0)
    return surer(pseudoseg_network(info, backbone="mobilenet_v2", depth_multiplier=0.25))


def test_parts_are_those_that_the_method_explains(info, model):
    """In two batches of 3, whose CAM has some of the classes."""
    method = PseudoSeg()
    examples = SplitExamples(info, "val", Padding(GREY), batch_size=3)
    parts = evaluate_label_sources(model, method, info, split="val", examples=examples)
    expected = {"prediction": [], "pseudo label": []}
    for batch in examples:
        shape = batch.images.shape[1:3]
        features = model.features(tf.constant(batch.images))
        logits = model.segment(features)
        figures = method.intermediate_maps(model, features, logits=logits, valid=valid_pixels(batch.sizes, shape))
        maps = {"prediction": tf.nn.softmax(logits), **{figure.title: figure.values for figure in figures}}
        for title, counts in expected.items():
            counts.append(metrics.calibration_histogram(batch.labels, resize_bilinear(maps[title], shape)))
    for title, own in (("prediction", "decoder"), ("pseudo label", "norm of the batch, T=0.5")):
        found, wanted = parts.results[own].calibration.sum(axis=0), np.sum(expected[title], axis=(0, 1))
        assert parts.results[own].num_images == 6 and 0 < parts.gate.counts[:, :2].sum() < 6 * 6
        np.testing.assert_allclose(found, wanted, rtol=1e-4, err_msg=own)


@pytest.fixture
def run_dir(tmp_path, tiny_parameters) -> Path:
    """What a training that learned nothing would leave."""
    config.parse_config([], tiny_parameters)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / CONFIG_NAME).write_text("\n".join(tiny_parameters) + "\n")
    save_weights(
        surer(pseudoseg_network(DatasetInfo.load(gin.query_parameter("load_dataset.directory")))), RunDirectory(folder)
    )
    return folder


def run_tool(*arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "tools/evaluate_pseudo_labels.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_tool_writes_table_json_and_diagrams(run_dir):
    done = run_tool(f"--run_dir={run_dir}", "--batch_size=4")
    assert done.returncode == 0, done.stderr
    parts = LabelSources.from_dict(json.loads((run_dir / "pseudo_labels_val.json").read_text()))
    assert label_sources_table(parts) in done.stdout
    assert all(result.num_images == 6 and result.split == "val" for result in parts.results.values())
    assert Image.open(run_dir / "pseudo_labels_val.png").mode == "RGB"


@pytest.mark.slow
def test_the_tool_refuses_a_supervised_run_in_one_line(run_dir):
    done = run_tool(
        f"--run_dir={run_dir}", "--gin_param=train.method = @Supervised()", f"--output={run_dir / 'a.json'}"
    )
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: train.method is Supervised")
    assert not (run_dir / "a.json").exists()
