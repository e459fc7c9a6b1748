"""wss-label from a run to a data set: every number of the manifest is counted again in the records."""

import dataclasses
import functools
import io
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import pseudoseg_network
from pages import Page
from PIL import Image
from scripts import load_module, separate_flags
from tiny import TINY

from wss import config
from wss.conversion.encode import LabelMap
from wss.conversion.shapes import CLASS_NAMES, generate
from wss.conversion.sources import Source
from wss.conversion.writer import write_dataset
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_example
from wss.data.masks import lookup_table, voc_colors
from wss.data.record_files import split_records
from wss.data.resize import ResizeToRange
from wss.data.splits import records_of
from wss.data.training_data import TrainingData
from wss.errors import Interrupted, UserError
from wss.files import WriteError
from wss.inspection.inspect import inspect_split
from wss.jobs.runner import Runner
from wss.methods.dars.class_quotas import kl_divergence, quotas
from wss.methods.dars.self_training import SelfTraining
from wss.models.weights.weights_file import save_weights
from wss.pseudo_labels import jobs, labeled_records, predicting
from wss.pseudo_labels import prediction_store as predictions
from wss.pseudo_labels import teacher as teacher_module
from wss.pseudo_labels import temperature as calibration
from wss.pseudo_labels.dataset_writer import Policy, labeled_pixels
from wss.pseudo_labels.label import label, predict, summary
from wss.pseudo_labels.teacher import Teacher, TeacherDescription
from wss.run_directory import CONFIG_NAME, RunDirectory

ROOT = Path(__file__).resolve().parents[2]
NUM_CLASSES = len(CLASS_NAMES)
NUM_UNLABELED = 10
DARS = Policy("dars", alpha=0.3)


@pytest.fixture(autouse=True, scope="module")
def clean_gin():
    """Instead of the one for each test: an open run and its configuration belong together."""
    yield
    gin.clear_config()


@pytest.fixture(autouse=True, scope="module")
def one_device():
    """The tests' second processor is for tests of several replicas. No network is built twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher_module, "build_strategy", lambda name, tpu: tf.distribute.MirroredStrategy(["CPU:0"]))
        patch.setattr(TeacherDescription, "open", functools.cache(TeacherDescription.open))
        patch.setattr(Teacher, "predictor", functools.cache(Teacher.predictor))
        yield
        predicting._opened_here.cache_clear()


def scene(number: int, has_mask: bool) -> Source:
    """Images of two sizes; some of those without a mask have image-level labels."""
    image, mask = generate(0, number, 48)
    bottom = 48 if number % 3 else 40
    image, mask = image[:bottom], mask[:bottom]
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    labels = tuple(int(j) for j in np.unique(mask) if 0 < j < NUM_CLASSES) if number % 2 else None
    return Source(f"scene_{number:03d}", buffer.getvalue(), mask if has_mask else None, labels)


def build(folder: Path, num_shards: int) -> Path:
    pools = {"train": [scene(n, True) for n in range(8)], "unlabeled": [scene(n, False) for n in range(100, 110)]}
    colors = [tuple(color) for color in voc_colors(NUM_CLASSES).tolist()]
    labels = LabelMap(lookup_table(NUM_CLASSES))
    write_dataset(
        folder,
        "scenes",
        pools,
        class_names=CLASS_NAMES,
        colors=colors,
        labels=labels,
        num_shards=num_shards,
        workers=1,
    )
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[int, Path]:
    """Number of record files -> the same images in so many."""
    root = tmp_path_factory.mktemp("scenes")
    return {number: build(root / str(number), number) for number in (1, 2, 4)}


def write_run(folder: Path, data: Path, seed: int = 0) -> Path:
    """What a training would leave: random weights that are sure of what they say, and often say background."""
    own = {"labeled_split": "train", "unlabeled_split": "unlabeled"}
    bindings = {**TINY, **{f"TrainingData.{name}": repr(value) for name, value in own.items()}}
    parameters = [
        f"{name} = {value}" for name, value in {"load_dataset.directory": repr(str(data)), **bindings}.items()
    ]
    config.parse_config([], parameters)
    keras.utils.set_random_seed(seed)
    model = pseudoseg_network(DatasetInfo.load(data))
    last = model.segmentation_head.layers[-1]
    last.kernel.assign(2e7 * last.kernel)
    last.bias.assign(np.float32([3] + [0] * (NUM_CLASSES - 1)))
    folder.mkdir()
    (folder / CONFIG_NAME).write_text("\n".join(parameters) + "\n")
    save_weights(model, RunDirectory(folder))
    return folder


@pytest.fixture(scope="module")
def run_dir(data, tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "teacher", data[2])


@pytest.fixture(scope="module")
def teacher(run_dir) -> Teacher:
    return TeacherDescription(str(run_dir)).open()


@pytest.fixture(scope="module")
def predicted(teacher, tmp_path_factory) -> str:
    """Predictions of the unlabelled images in two record files, for all policies."""
    folder = str(tmp_path_factory.mktemp("predicted"))
    predict(teacher, "unlabeled", folder)
    return folder


@pytest.fixture(scope="module")
def labeled(teacher, tmp_path_factory) -> tuple[Path, dict]:
    """One labelled data set, its predictions made on the way, and its manifest."""
    folder = tmp_path_factory.mktemp("labeled") / "pseudo"
    return folder, label(teacher, "unlabeled", "train", output_dir=str(folder), policy=DARS, write_confidences=True)


def masks_of(folder: Path) -> dict[str, np.ndarray]:
    """The labels as the pipeline reads them: id -> int32 [H, W]."""
    info = DatasetInfo.load(folder)
    examples = split_records(info, "pseudo").map(lambda record: parse_example(record, info.num_classes))
    return {each["name"].decode(): each["label"][..., 0] for each in examples.as_numpy_iterator()}


def features_of(info: DatasetInfo, split: str) -> dict[str, dict]:
    found = {}
    for record in split_records(info, split).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        found[feature["image/filename"].bytes_list.value[0].decode()] = dict(feature)
    return found


def counts_of(masks: dict[str, np.ndarray]) -> np.ndarray:
    return sum(np.bincount(mask.ravel(), minlength=256) for mask in masks.values())


def assert_same_labels(folder: Path, manifest: dict, expected: tuple[Path, dict]) -> None:
    assert manifest["checksum"] == expected[1]["checksum"]
    found, masks = masks_of(folder), masks_of(expected[0])
    assert found.keys() == masks.keys()
    for name, mask in masks.items():
        np.testing.assert_array_equal(found[name], mask)


# What is written.


def test_the_manifest_tells_where_the_labels_come_from(labeled, run_dir, data):
    folder, manifest = labeled
    assert manifest == json.loads((folder / "manifest.json").read_text())
    content = manifest["predictions"]
    assert content["teacher"]["run_dir"] == str(run_dir) and len(content["teacher"]["checksum"]) == 64
    assert content["teacher"]["weights"] == "the finished run's weights"
    assert (content["dataset"], content["split"], content["temperature"]) == (str(data[2]), "unlabeled", 1.0)
    assert content["labeling"]["flip"] is True and content["labeling"]["average"] == "logits"
    assert manifest["labeled_split"] == "train"
    assert "mobilenet_v2" in manifest["operative_config"]
    assert manifest["policy"] == dataclasses.asdict(DARS) and manifest["policy"]["seed"] == 0
    assert manifest["classes"] == list(CLASS_NAMES)
    assert manifest["num_images"] == NUM_UNLABELED and re.fullmatch("[0-9a-f]{32}", manifest["checksum"])


def test_quotas_are_met_to_the_pixel(labeled, data):
    """Counted again: classes of the labelled masks, pixels of the images, labels in the records."""
    folder, manifest = labeled
    truth = np.bincount(np.concatenate([np.asarray(scene(n, True).mask).ravel() for n in range(8)]), minlength=256)
    target = truth[:NUM_CLASSES]
    np.testing.assert_allclose(manifest["target_distribution"], target / target.sum())
    masks, selection = masks_of(folder), manifest["selection"]
    total = sum(mask.size for mask in masks.values())
    assert manifest["num_pixels"] == total == sum(48 * (48 if n % 3 else 40) for n in range(100, 110))
    np.testing.assert_array_equal(selection["quotas"], quotas(0.3, target / target.sum(), total))
    counts = counts_of(masks)
    np.testing.assert_array_equal(counts[:NUM_CLASSES], np.minimum(selection["quotas"], selection["available"]))
    np.testing.assert_array_equal(counts[:NUM_CLASSES], selection["kept"])
    assert counts[NUM_CLASSES:255].sum() == 0 and counts.sum() == total
    assert any(
        0 < kept < candidates for kept, candidates in zip(selection["kept"], selection["candidates"], strict=True)
    )
    divergence = kl_divergence(target, counts[:NUM_CLASSES])
    assert manifest["kl_to_labeled"] == (pytest.approx(divergence) if np.isfinite(divergence) else None)
    assert manifest["accuracy"] is None and manifest["kl_to_true"] is None  # no masks to compare with


def test_all_but_the_masks_stays_as_it_was(labeled, data):
    """Images to the byte, image-level labels, index entries."""
    info, before = DatasetInfo.load(labeled[0]), DatasetInfo.load(data[2])
    found, originals = features_of(info, "pseudo"), features_of(before, "unlabeled")
    assert found.keys() == originals.keys() and len(found) == NUM_UNLABELED
    new = {"image/segmentation/class/encoded", "image/segmentation/class/format", "image/confidence/encoded"}
    for name, original in originals.items():
        assert found[name].keys() == original.keys() | new
        assert all(found[name][key] == value for key, value in original.items())
    assert sum("image/class/label" in original for original in originals.values()) == NUM_UNLABELED / 2
    masks = masks_of(labeled[0])
    entries = {record.entry.id: record.entry for record in records_of(info, "pseudo")}
    for record in records_of(before, "unlabeled"):
        old, entry = record.entry, entries[record.entry.id]
        assert entry == dataclasses.replace(old, pixels=entry.pixels, offset=entry.offset)
        assert entry.pixels == {
            int(j): int(n) for j, n in zip(*np.unique(masks[old.id], return_counts=True), strict=True)
        }


def test_the_new_data_set_is_one_to_train_on(labeled, data):
    info = DatasetInfo.load(labeled[0])
    split = info.split("pseudo")
    assert info.name == "scenes_pseudo" and list(info.splits) == ["pseudo"]
    assert split.num_masks == split.num_examples == NUM_UNLABELED and split.num_image_labels == NUM_UNLABELED / 2
    assert split.checksum == DatasetInfo.load(data[2]).split("unlabeled").checksum
    assert list(split.shards) == ["pseudo-00000-of-00002.tfrecord", "pseudo-00001-of-00002.tfrecord"]
    inspection = inspect_split(info, "pseudo")
    assert not inspection.defects
    streams = TrainingData(
        DatasetInfo.load(data[2]), (0, 0, 0), seed=0, labeled_split="train", pseudo_directory=str(labeled[0])
    )
    streams.check(SelfTraining.streams)


def test_pngs_and_confidences_are_of_the_same_pixels(labeled, teacher, predicted):
    """The PNG's palette shows the classes; 16 bits of each pixel are those of its fp16 confidence."""
    folder, manifest = labeled
    info = DatasetInfo.load(folder)
    masks, features = masks_of(folder), features_of(info, "pseudo")
    thresholds = np.array([np.nan if t is None else t for t in manifest["selection"]["thresholds"]], np.float16)
    assert sorted(path.stem for path in (folder / "pngs").iterdir()) == sorted(masks)
    of_split = teacher.predictions(predicted, "unlabeled")
    parts = [prediction for part in of_split.parts for prediction in of_split.read(part)]
    for name, prediction, confidence in parts:
        png = Image.open(folder / "pngs" / f"{name}.png")
        np.testing.assert_array_equal(np.asarray(png), masks[name])
        kept = masks[name] < NUM_CLASSES
        shown = np.asarray(png.convert("RGB"))
        np.testing.assert_array_equal(shown[kept], np.array(info.colors)[masks[name][kept]])
        assert (shown[~kept] == (224, 224, 192)).all()
        stored = tf.io.decode_png(features[name]["image/confidence/encoded"].bytes_list.value[0], dtype=tf.uint16)
        np.testing.assert_array_equal(stored.numpy()[..., 0], confidence.view(np.uint16))
        np.testing.assert_array_equal(masks[name][kept], prediction[kept])
        assert (confidence[kept] >= thresholds[prediction[kept]]).all()
    assert len(parts) == NUM_UNLABELED


def test_nothing_but_the_data_set_is_left(labeled):
    folder, _ = labeled
    assert os.listdir(folder.parent) == ["pseudo"]
    records = [f"pseudo-0000{n}-of-00002.tfrecord" for n in range(2)]
    assert sorted(os.listdir(folder)) == sorted(
        ["dataset.json", "manifest.json", "pngs", *records, *(f"{name}.index.jsonl" for name in records)]
    )


def test_the_table_has_a_row_for_each_class(labeled):
    folder, manifest = labeled
    lines = summary(manifest, str(folder)).splitlines()
    kept = manifest["selection"]["kept"]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2 : 2 + NUM_CLASSES]]
    assert [row[0] for row in rows] == list(CLASS_NAMES)
    assert [int(row[-1]) for row in rows] == kept
    assert lines[-2].startswith(f"dars: {sum(kept)} of {manifest['num_pixels']} pixels labelled")
    assert lines[-1] == f"10 images in {folder}, split pseudo"


# The same labels, whatever does the work.


@pytest.fixture
def in_files(teacher, data):
    """Returns in_files(number): the teacher whose images lie in so many record files."""

    def change(number: int) -> Teacher:
        run = dataclasses.replace(teacher.run, info=DatasetInfo.load(data[number]))
        return dataclasses.replace(teacher, run=run)

    return change


def test_record_files_do_not_matter(labeled, in_files, tmp_path):
    """One instead of two; four are below."""
    manifest = label(in_files(1), "unlabeled", "train", output_dir=str(tmp_path / "out"), policy=DARS)
    assert list(DatasetInfo.load(tmp_path / "out").split("pseudo").shards) == ["pseudo-00000-of-00001.tfrecord"]
    assert_same_labels(tmp_path / "out", manifest, labeled)
    assert manifest["selection"] == labeled[1]["selection"]


@pytest.mark.slow
def test_workers_do_not_matter(labeled, teacher, predicted, tmp_path):
    manifest = label(
        teacher,
        "unlabeled",
        "train",
        output_dir=str(tmp_path / "out"),
        policy=DARS,
        predictions_dir=predicted,
        runner=Runner(workers=2),
    )
    assert_same_labels(tmp_path / "out", manifest, labeled)


def test_beam_does_not_matter(labeled, teacher, tmp_path, capsys):
    runner = Runner(beam_pipeline_options="runner=DirectRunner")
    manifest = label(
        teacher,
        "unlabeled",
        "train",
        output_dir=str(tmp_path / "out"),
        policy=DARS,
        predictions_dir=str(tmp_path / "kept"),
        runner=runner,
    )
    assert_same_labels(tmp_path / "out", manifest, labeled)


def test_hosts_that_share_the_prediction_do_not_matter(labeled, in_files, tmp_path, capsys):
    """Of four record files the first of two hosts takes two, the second the others, and then one labels."""
    teacher = in_files(4)
    shared = str(tmp_path / "predictions")
    for index in (0, 1):
        found = predict(teacher, "unlabeled", shared, shard=(index, 2))
        assert found.missing() == list(found.parts)[1::2] * (index == 0)
    assert "there already" not in capsys.readouterr().out
    manifest = label(
        teacher, "unlabeled", "train", output_dir=str(tmp_path / "out"), policy=DARS, predictions_dir=shared
    )
    assert "the predictions of unlabeled are there already" in capsys.readouterr().out
    assert len(DatasetInfo.load(tmp_path / "out").split("pseudo").shards) == 4
    assert_same_labels(tmp_path / "out", manifest, labeled)


def test_another_seed_draws_other_pixels(labeled, teacher, predicted, tmp_path):
    manifest = label(
        teacher,
        "unlabeled",
        "train",
        output_dir=str(tmp_path / "out"),
        policy=dataclasses.replace(DARS, seed=1),
        predictions_dir=predicted,
    )
    assert manifest["selection"] == labeled[1]["selection"]
    assert manifest["checksum"] != labeled[1]["checksum"]


# Going on.


def test_what_is_predicted_is_not_predicted_again(labeled, teacher, tmp_path, monkeypatch):
    """Ctrl-C in the second of two record files: the same command predicts that one only."""
    begun, photos_of = [], predicting.photos_of

    def interrupted(info, split, file):
        begun.append(file)
        for number, photo in enumerate(photos_of(info, split, file)):
            if len(begun) == 2 and number == 2:
                raise KeyboardInterrupt
            yield photo

    monkeypatch.setattr(predicting, "photos_of", interrupted)
    with pytest.raises(Interrupted, match="interrupted by Ctrl-C; the same command goes on where it stopped"):
        label(teacher, "unlabeled", "train", output_dir=str(tmp_path / "out"), policy=DARS)
    assert len(begun) == 2 and not (tmp_path / "out").exists()
    kept = tmp_path / ".out.predictions"
    assert [path.name for path in kept.glob("*.histogram.npz")] == [f"{begun[0]}.histogram.npz"]
    assert not list(kept.glob("*.tmp-*"))
    monkeypatch.setattr(predicting, "photos_of", lambda *where: begun.append(where[2]) or photos_of(*where))
    manifest = label(teacher, "unlabeled", "train", output_dir=str(tmp_path / "out"), policy=DARS)
    assert begun[2:] == begun[1:2]
    assert_same_labels(tmp_path / "out", manifest, labeled)


def test_what_is_written_is_not_written_again(labeled, teacher, predicted, tmp_path, monkeypatch):
    """Killed after the first record file; but with another seed all are written anew."""
    output, written, write = tmp_path / "out", [], jobs.write_record_file

    def counted(path, examples):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, examples)

    monkeypatch.setattr(jobs, "write_record_file", counted)
    with pytest.raises(Interrupted):
        label(teacher, "unlabeled", "train", output_dir=str(output), policy=DARS, predictions_dir=predicted)
    monkeypatch.setattr(jobs, "write_record_file", lambda *to: written.append(to[0].name) or write(*to))
    shutil.copytree(tmp_path / ".out.partial", tmp_path / ".other.partial")
    manifest = label(teacher, "unlabeled", "train", output_dir=str(output), policy=DARS, predictions_dir=predicted)
    first, second = (f"pseudo-0000{n}-of-00002.tfrecord" for n in range(2))
    assert written == [first, second]
    assert_same_labels(output, manifest, labeled)
    label(
        teacher,
        "unlabeled",
        "train",
        output_dir=str(tmp_path / "other"),
        policy=dataclasses.replace(DARS, seed=1),
        predictions_dir=predicted,
    )
    assert written[2:] == [first, second]


def _label_and_die(folder: str, files_before_death: int, predicted: str, run_dir: str) -> None:
    """Kills its own process as SIGKILL does, while the second record file is written."""
    teacher_module.build_strategy = lambda name, tpu: tf.distribute.MirroredStrategy(["CPU:0"])
    encode, write, begun = labeled_records.encode_mask, jobs.write_record_file, []
    jobs.write_record_file = lambda *to: begun.append(1) or write(*to)
    labeled_records.encode_mask = lambda mask: (
        os.kill(os.getpid(), signal.SIGKILL) if len(begun) > files_before_death else encode(mask)
    )
    teacher = TeacherDescription(run_dir).open()
    label(teacher, "unlabeled", "train", output_dir=folder, policy=DARS, predictions_dir=predicted)


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_in_the_way(labeled, teacher, predicted, tmp_path):
    process = multiprocessing.get_context("spawn").Process(
        target=_label_and_die, args=(str(tmp_path / "out"), 1, predicted, teacher.description.run_dir)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / ".out.partial/pseudo-00000-of-00002.tfrecord.done").exists()
    manifest = label(
        teacher, "unlabeled", "train", output_dir=str(tmp_path / "out"), policy=DARS, predictions_dir=predicted
    )
    assert_same_labels(tmp_path / "out", manifest, labeled)
    assert os.listdir(tmp_path) == ["out"] and len(os.listdir(tmp_path / "out")) == 7


def test_what_dead_processes_left_among_the_predictions_goes(teacher, predicted, tmp_path):
    folder = shutil.copytree(predicted, tmp_path / "predictions")
    (folder / "unlabeled-00000-of-00002.tfrecord.predictions.tmp-123").write_text("half")
    predict(teacher, "unlabeled", str(folder))
    assert sorted(os.listdir(folder)) == sorted(os.listdir(predicted))


def test_pngs_of_an_earlier_plan_do_not_stay(teacher, predicted, tmp_path):
    stale = tmp_path / ".out.partial/pngs"
    stale.mkdir(parents=True)
    (stale / "stale.png").write_bytes(b"")
    label(teacher, "unlabeled", "train", output_dir=str(tmp_path / "out"), policy=DARS, predictions_dir=predicted)
    assert "stale.png" not in os.listdir(tmp_path / "out/pngs")


# Policies and settings.


@pytest.mark.parametrize(
    "policy",
    [
        Policy("dars", alpha=0.3, sample="ties"),
        Policy("dars", alpha=0.3, rounding="floor"),
        Policy("dars", alpha=0.0),
        Policy("dars", alpha=1.0),
        Policy("da", alpha=0.3),
        Policy("cbst", alpha=0.2),
        Policy("threshold", alpha=0.5),
        Policy("threshold", threshold=0.4),
        Policy("threshold", threshold=1.0),
    ],
    ids=lambda policy: "-".join(str(value) for value in dataclasses.astuple(policy)),
)
def test_every_policy_keeps_what_it_says(teacher, predicted, tmp_path, policy):
    manifest = label(
        teacher,
        "unlabeled",
        "train",
        output_dir=str(tmp_path / "out"),
        policy=policy,
        predictions_dir=predicted,
        write_pngs=False,
    )
    selection, counts = manifest["selection"], counts_of(masks_of(tmp_path / "out"))
    np.testing.assert_array_equal(counts[:NUM_CLASSES], selection["kept"])
    if policy.name == "dars":
        expected = np.minimum(selection["quotas"], selection["available"])
    else:
        content = teacher.predictions(predicted, "unlabeled")
        thresholds = np.array([np.nan if t is None else t for t in selection["thresholds"]], np.float16)
        images = [image for part in content.parts for image in content.read(part)]
        expected = sum(np.bincount(p[u >= thresholds[p]], minlength=NUM_CLASSES) for _, p, u in images)
    np.testing.assert_array_equal(counts[:NUM_CLASSES], expected)
    assert not (tmp_path / "out/pngs").exists()


def test_labels_are_compared_with_masks_that_are_there(teacher, tmp_path):
    """The labelled images themselves are labelled: they have masks to count right labels by."""
    manifest = label(
        teacher, "train", "train", output_dir=str(tmp_path / "out"), policy=Policy("threshold", threshold=0.0)
    )
    masks = masks_of(tmp_path / "out")
    right = known = 0
    for number in range(8):
        truth, mask = np.asarray(scene(number, True).mask), masks[f"scene_{number:03d}"]
        right += np.sum(mask == truth)
        known += np.sum(truth < NUM_CLASSES)
    assert manifest["accuracy"] == pytest.approx(right / known)
    assert manifest["kl_to_true"] == manifest["kl_to_labeled"]


def test_windows_and_sizes_are_those_of_gin(run_dir, tmp_path):
    settings = ("Labeling.window = (33, 33)", "Labeling.base_size = 40", "Labeling.flip = False")
    windowed = TeacherDescription(str(run_dir), settings).open()
    found = predict(windowed, "unlabeled", str(tmp_path))
    assert found.content["labeling"]["window"] == [33, 33] and found.content["labeling"]["base_size"] == 40
    for part in found.parts:
        for name, prediction, confidence in found.read(part):
            assert prediction.shape == confidence.shape == scene_size(name)


def scene_size(name: str) -> tuple[int, int]:
    return (48 if int(name[-3:]) % 3 else 40, 48)


def test_a_temperature_is_fitted_and_recorded(teacher, tmp_path, monkeypatch, capsys):
    fitted = []
    fit = calibration.fit_temperature

    def spying(logits, labels, ignore_label):
        fitted.append((logits.shape, labels.shape, set(np.unique(labels))))
        return fit(logits, labels, ignore_label)

    monkeypatch.setattr(calibration, "fit_temperature", spying)
    folder = str(tmp_path / "predictions")
    manifest = label(
        teacher,
        "unlabeled",
        "train",
        output_dir=str(tmp_path / "out"),
        policy=DARS,
        predictions_dir=folder,
        fit_on="train",
    )
    known = sum(int((np.asarray(scene(n, True).mask) < NUM_CLASSES).sum()) for n in range(8))
    assert fitted[0][:2] == ((known, NUM_CLASSES), (known,)) and 255 not in fitted[0][2]
    content = manifest["predictions"]
    assert content["temperature_fitted_on"] == "train" and content["temperature"] not in (1.0, 0.0)
    assert f"temperature {content['temperature']}, fitted on train" in capsys.readouterr().out
    # It is known now, and the same number by hand finds the same predictions.
    predict(teacher, "unlabeled", folder, fit_on="train")
    predict(teacher, "unlabeled", folder, temperature=content["temperature"])
    assert len(fitted) == 1 and capsys.readouterr().out.count("there already") == 2


# Mistakes.


def test_hidden_masks_are_no_masks(data):
    """The index still counts their pixels."""
    info = DatasetInfo.load(data[2])
    hidden = dataclasses.replace(info.split("train"), num_masks=0, hide_masks=True)
    with pytest.raises(UserError, match="split 'train' of .* has no masks"):
        labeled_pixels(dataclasses.replace(info, splits={"train": hidden}), "train")


def test_predictions_of_something_else_are_refused(teacher, data, predicted):
    def refused(expected: str, split: str = "unlabeled", teacher: Teacher = teacher, **settings) -> None:
        with pytest.raises(UserError, match=f"{predicted}: has predictions with another {expected}") as error:
            predict(teacher, split, predicted, **settings)
        assert len(str(error.value).splitlines()) == 1

    refused(r"split \(\"unlabeled\", now \"train\"\)", split="train")
    refused(r"temperature \(1.0, now 1.27\)", temperature=1.27)
    run = teacher.run
    changes = {
        "teacher.checksum": {"checksum": teacher_module._checksum(pseudoseg_network(run.info))},
        r"labeling.flip \(true, now false\)": {"settings": dataclasses.replace(teacher.settings, flip=False)},
        r"resize_to_range.min_size \(null, now 33\)": {"resize": ResizeToRange(min_size=33)},
        "dataset": {"run": dataclasses.replace(run, info=DatasetInfo.load(data[1]))},
    }
    for expected, change in changes.items():
        refused(expected, teacher=dataclasses.replace(teacher, **change))


def test_weights_elsewhere_are_the_same_teacher(teacher, predicted):
    elsewhere = dataclasses.replace(teacher, description=TeacherDescription("moved"))
    moved = elsewhere.predictions(predicted, "unlabeled")
    moved.begin()
    assert not moved.missing()


def test_damaged_files_are_named(teacher, data, predicted, tmp_path):
    copy = Path(shutil.copytree(predicted, tmp_path / "predictions"))
    path = copy / "unlabeled-00001-of-00002.tfrecord.predictions"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{path}: damaged .*; remove it, and it is predicted again"):
        label(teacher, "unlabeled", "train", output_dir=str(tmp_path / "out"), policy=DARS, predictions_dir=str(copy))
    path.unlink()
    label(teacher, "unlabeled", "train", output_dir=str(tmp_path / "out"), policy=DARS, predictions_dir=str(copy))
    broken = Path(shutil.copytree(data[2], tmp_path / "broken"))
    path = broken / "unlabeled-00001-of-00002.tfrecord"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=rf"{path}: .*\(record 4 ends behind its end\); build the data set again"):
        list(predicting.photos_of(DatasetInfo.load(broken), "unlabeled", path.name))


def test_predictions_of_images_in_another_order_are_refused(teacher, data, predicted, tmp_path):
    """As after building the data set again: the folder and the ids are the same, the record files are not."""
    copy = Path(shutil.copytree(predicted, tmp_path / "predictions"))
    one, two = (copy / f"unlabeled-0000{n}-of-00002.tfrecord.predictions" for n in range(2))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    with pytest.raises(UserError, match="has predictions of other images than .*unlabeled-00000-of-00002.tfrecord now"):
        label(
            teacher,
            "unlabeled",
            "train",
            output_dir=str(tmp_path / "out"),
            policy=Policy("da", alpha=0.3),
            predictions_dir=str(copy),
        )


def test_a_full_memory_is_not_taken_for_a_full_disk(teacher, tmp_path, monkeypatch):
    def full(self, function, photos):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[8,361,361,64]")
        yield

    monkeypatch.setattr(predicting.PhotoPredictor, "map", full)
    with pytest.raises(UserError, match="lower Labeling.windows_at_once") as error:
        label(teacher, "unlabeled", "train", output_dir=str(tmp_path / "out"), policy=DARS)
    assert "cannot be written" not in str(error.value)


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(teacher, tmp_path, monkeypatch, labeled):
    def full(*arguments, **arrays):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(predictions.np, "savez_compressed", full)
        with pytest.raises(WriteError, match="cannot be written .No space left on device.; the same command"):
            label(teacher, "unlabeled", "train", output_dir=str(tmp_path / "out"), policy=DARS)
    manifest = label(teacher, "unlabeled", "train", output_dir=str(tmp_path / "out"), policy=DARS)
    assert_same_labels(tmp_path / "out", manifest, labeled)


@pytest.fixture
def command(capsys, monkeypatch, run_dir):
    """Returns run(*flags): wss-label in this process; its exit code, and what it said on stderr."""

    def run(*flags: str) -> tuple[int, str]:
        with separate_flags():
            script = load_module(ROOT / "wss/label.py")
            monkeypatch.setattr(sys, "argv", ["wss-label", f"--run_dir={run_dir}", *flags])
            with pytest.raises(SystemExit) as end:
                script.console_main()
        return end.value.code or 0, capsys.readouterr().err

    return run


def test_the_command_labels_the_splits_of_the_run(command, labeled, tmp_path):
    flags = ("--alpha=0.3", "--confidences", f"--output_dir={tmp_path / 'out'}")
    code, error = command(*flags)
    assert code == 0, error
    assert_same_labels(tmp_path / "out", json.loads((tmp_path / "out/manifest.json").read_text()), labeled)
    page = Page(tmp_path / "out/report.html")
    page.check_that_it_stands_alone()
    assert (
        page.tags.count("img") == 1 and "10 images in" in page.text and all(name in page.text for name in CLASS_NAMES)
    )
    code, error = command(*flags)
    assert code == 2 and f"error: {tmp_path / 'out'}: has a data set already; add --overwrite" in error
    # Nothing was predicted for it.
    assert os.listdir(tmp_path) == ["out"]
    assert command(*flags, "--overwrite", "--nopngs")[0] == 0 and not (tmp_path / "out/pngs").exists()


def test_hosts_by_the_command(command, labeled, tmp_path):
    shared = f"--predictions_dir={tmp_path / 'predictions'}"
    for shard in ("0/2", "1/2"):
        assert command(shared, "--stage=predict", f"--shard={shard}")[0] == 0
    code, error = command(shared, "--alpha=0.3", f"--output_dir={tmp_path / 'out'}")
    assert code == 0, error
    assert_same_labels(tmp_path / "out", json.loads((tmp_path / "out/manifest.json").read_text()), labeled)


MISTAKES = {
    "unknown policy": (["--policy=darts", "--alpha=0.2"], r"policy: found 'darts'.* Did you mean 'dars'\?"),
    "no alpha": ([], "policy 'dars': expected alpha"),
    "alpha above 1": (["--alpha=1.5"], "--alpha=1.5"),
    "alpha and threshold": (["--policy=threshold", "--alpha=0.2", "--threshold=0.5"], "one of them"),
    "dars with threshold": (["--alpha=0.2", "--threshold=0.5"], "and no threshold"),
    "unknown sample": (["--alpha=0.2", "--sample=tie"], r"sample: found 'tie'.* Did you mean 'ties'\?"),
    "unknown rounding": (["--alpha=0.2", "--rounding=flor"], r"rounding: found 'flor'.* Did you mean 'floor'\?"),
    "unknown split": (["--alpha=0.2", "--split=unlabelled"], r"no split 'unlabelled'.* Did you mean 'unlabeled'\?"),
    "no masks": (["--alpha=0.2", "--labeled_split=unlabeled"], "split 'unlabeled' of .* has no masks"),
    "no masks for the temperature": (
        ["--alpha=0.2", "--fit_temperature_on=unlabeled"],
        "--fit_temperature_on=unlabeled: has no masks",
    ),
    "temperature twice": (["--alpha=0.2", "--temperature=2", "--fit_temperature_on=train"], "give one of them"),
    "temperature 0": (["--alpha=0.2", "--temperature=0"], "--temperature=0.0: expected a number above 0"),
    "shard past the end": (["--stage=predict", "--predictions_dir=x", "--shard=3/3"], "--shard=3/3: expected i/n"),
    "shard without predictions": (["--alpha=0.2", "--shard=1/3"], "--shard=1/3: goes with --stage=predict"),
    "no predictions_dir": (["--stage=predict"], "--stage=predict: expected --predictions_dir"),
    "several hosts": (["--alpha=0.2", "--strategy=multi_worker"], "use --stage=predict --shard=i/n on each"),
    "other files": (["--alpha=0.2", "--output_dir={tmp}/full"], "full: has other files in it"),
    "unknown setting": (["--alpha=0.2", "--gin_param=Labeling.windw = None"], r"Did you mean 'window'\?"),
    "unknown Beam option": (["--alpha=0.2", "--beam_pipeline_options=runer=x"], "Apache Beam knows no option runer"),
    "no run": (["--alpha=0.2", "--run_dir={tmp}"], "no operative_config.gin in it"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(command, tmp_path, case):
    flags, expected = MISTAKES[case]
    (tmp_path / "full").mkdir()
    (tmp_path / "full/other").write_text("")
    code, error = command(f"--output_dir={tmp_path / 'out'}", *(flag.replace("{tmp}", str(tmp_path)) for flag in flags))
    assert code == 2, error
    assert "Traceback" not in error
    (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
    assert re.search(expected, line), line
    assert not (tmp_path / "out").exists()


def test_no_output_dir_is_one_line(command):
    code, error = command("--alpha=0.2")
    assert code == 2 and "error: --output_dir is missing" in error
