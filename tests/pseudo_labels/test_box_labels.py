"""wss-label --policy=boxes: what is in the records, the same bytes however it is run, and what is refused."""

import dataclasses
import functools
import io
import json
import os
import shutil
from pathlib import Path

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tiny import TINY

from wss import config
from wss.conversion.encode import LabelMap
from wss.conversion.shapes import CLASS_NAMES, generate
from wss.conversion.sources import Source
from wss.conversion.writer import write_dataset
from wss.data.boxes import Box
from wss.data.companions import parse_second_mask
from wss.data.dataset_info import DatasetInfo
from wss.data.example import parse_example
from wss.data.masks import lookup_table, voc_colors
from wss.data.record_files import split_records
from wss.data.splits import records_of
from wss.errors import Interrupted, UserError
from wss.files import WriteError
from wss.inspection.inspect import inspect_split
from wss.jobs.runner import Runner
from wss.methods.bap_nal.box_classification import BoxClassification
from wss.methods.bap_nal.noise_aware import NoiseAware
from wss.methods.supervised import Supervised
from wss.models.weights.weights_file import save_weights
from wss.pseudo_labels import box_label_jobs
from wss.pseudo_labels import teacher as teacher_module
from wss.pseudo_labels.box_label_jobs import SOURCES, label_part
from wss.pseudo_labels.box_labeler import BoxLabeler
from wss.pseudo_labels.box_labels import label_boxes, summary
from wss.pseudo_labels.teacher import Teacher, TeacherDescription
from wss.run_directory import CONFIG_NAME, RunDirectory
from wss.training.train import build_network

NUM_IMAGES, NUM_CLASSES = 7, len(CLASS_NAMES)


@pytest.fixture(autouse=True, scope="module")
def clean_gin():
    """Instead of the one for each test: an open run and its configuration belong together."""
    yield
    gin.clear_config()


@pytest.fixture(autouse=True, scope="module")
def one_device():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher_module, "build_strategy", lambda name, tpu: tf.distribute.MirroredStrategy(["CPU:0"]))
        patch.setattr(TeacherDescription, "open", functools.cache(TeacherDescription.open))
        yield
        box_label_jobs._opened_here.cache_clear()


def scene(number: int, *, has_mask: bool) -> Source:
    """Photos of two sizes with boxes around what they show; the second also has a crowd."""
    image, mask = generate(0, number, 48)
    bottom = 48 if number % 3 else 40
    image, mask = image[:bottom], mask[:bottom]
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    boxes = []
    for label in range(1, NUM_CLASSES):
        rows, columns = np.nonzero(mask == label)
        if rows.size:
            boxes.append(Box(label, rows.min(), columns.min(), rows.max() + 1, columns.max() + 1))
    crowd = [Box(1, 0, 0, 6, 6, is_crowd=True)] if number == 1 else []
    return Source(f"scenes/{number:03d}", buffer.getvalue(), mask if has_mask else None, boxes=(*boxes, *crowd))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "data"
    without = dataclasses.replace(scene(50, has_mask=False), boxes=None)
    write_dataset(
        folder,
        "scenes",
        {
            "boxes": [scene(n, has_mask=False) for n in range(NUM_IMAGES)],
            "masked": [scene(n, has_mask=True) for n in range(20, 23)],
            "mixed": [scene(n, has_mask=False) for n in range(40, 42)] + [without],
        },
        class_names=CLASS_NAMES,
        colors=[tuple(color) for color in voc_colors(NUM_CLASSES).tolist()],
        labels=LabelMap(lookup_table(NUM_CLASSES)),
        num_shards=2,
        workers=1,
    )
    return folder


def write_run(folder: Path, data: Path, method: str = "BoxClassification") -> Path:
    """What a training would leave: random weights."""
    own = {
        "train.method": f"@{method}()",
        "TrainingData.unlabeled_split": "'boxes'",
        "load_dataset.directory": repr(str(data)),
    }
    parameters = [f"{name} = {value}" for name, value in {**TINY, **own}.items()]
    config.parse_config([], parameters)
    keras.utils.set_random_seed(0)
    methods = {"BoxClassification": BoxClassification, "Supervised": Supervised}
    model = build_network(DatasetInfo.load(data), methods[method]())
    if model.branches is not None:
        model.branches.kernel.assign(10 * model.branches.kernel)
    folder.mkdir()
    (folder / CONFIG_NAME).write_text("\n".join(parameters) + "\n")
    save_weights(model, RunDirectory(folder))
    return folder


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory) -> Teacher:
    return TeacherDescription(str(write_run(tmp_path_factory.mktemp("runs") / "boxes", data))).open()


@pytest.fixture(scope="module")
def labeled(teacher, tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("labeled") / "masks"
    return folder, label_boxes(teacher, "boxes", output_dir=str(folder), runner=Runner(1))


def masks_of(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Both masks as the pipeline reads them: id -> int32 [H, W]."""
    info, found = DatasetInfo.load(folder), {}
    for record in split_records(info, "pseudo"):
        example = parse_example(record, info.num_classes)
        second = parse_second_mask(record, tf.shape(example["image"])[:2], info.ignore_label)
        found[example["name"].numpy().decode()] = (example["label"].numpy()[..., 0], second.numpy()[..., 0])
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_both_masks_lie_in_the_boxes_of_their_classes(labeled):
    masks = masks_of(labeled[0])
    assert masks.keys() == {f"scenes/{n:03d}" for n in range(NUM_IMAGES)}
    objects = 0
    for n in range(NUM_IMAGES):
        source = scene(n, has_mask=False)
        for mask in masks[f"scenes/{n:03d}"]:
            allowed = np.zeros([*mask.shape, 256], bool)
            allowed[..., 0] = True
            for box in source.boxes:
                where = np.s_[int(box.ymin) : int(box.ymax), int(box.xmin) : int(box.xmax)]
                allowed[(*where, 255 if box.is_crowd else box.label)] = True
            assert np.take_along_axis(allowed, mask[..., None], -1).all()
            objects += np.count_nonzero(mask)
    assert objects > 100


def test_a_crowd_alone_is_not_known(labeled):
    first, second = masks_of(labeled[0])["scenes/001"]
    in_box = np.zeros(first.shape, bool)
    for box in scene(1, has_mask=False).boxes:
        if not box.is_crowd:
            in_box[int(box.ymin) : int(box.ymax), int(box.xmin) : int(box.xmax)] = True
    crowd = ~in_box[:6, :6]
    assert crowd.any()
    for mask in (first, second):
        assert (mask[:6, :6][crowd] == 255).all() and (mask[6:, 6:] != 255).all()


def test_pngs_index_and_features_belong_to_the_masks(labeled, data):
    folder, _ = labeled
    info, masks = DatasetInfo.load(folder), masks_of(folder)
    for name, (first, second) in masks.items():
        for kind, mask in (("crf", first), ("ret", second)):
            np.testing.assert_array_equal(Image.open(folder / "pngs" / kind / f"{name}.png"), mask)
    for record in records_of(info, "pseudo"):
        values, counts = np.unique(masks[record.entry.id][0], return_counts=True)
        assert record.entry.pixels == dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert info.split("pseudo").num_masks == NUM_IMAGES
    before, after = (
        {
            e.features.feature["image/filename"].bytes_list.value[0]: e.features.feature
            for e in map(tf.train.Example.FromString, split_records(i, s).as_numpy_iterator())
        }
        for i, s in ((DatasetInfo.load(data), "boxes"), (info, "pseudo"))
    )
    for name, features in before.items():
        for key, value in features.items():
            assert after[name][key] == value, key


def test_the_data_set_is_whole(labeled):
    assert not inspect_split(DatasetInfo.load(labeled[0]), "pseudo").defects


def test_without_true_masks_there_is_no_score(labeled):
    folder, manifest = labeled
    assert manifest == json.loads((folder / "manifest.json").read_text())
    assert manifest["scores"] == {} and manifest["num_images"] == NUM_IMAGES and manifest["policy"] == "boxes"
    masks = masks_of(folder).values()
    assert manifest["agreed"] == sum(np.count_nonzero((first == second) & (first != 255)) for first, second in masks)
    assert manifest["num_pixels"] == sum(np.count_nonzero(first != 255) for first, _ in masks)
    assert "agree on" in summary(manifest, str(folder)) and "mIoU" not in summary(manifest, str(folder))


def test_scores_are_counted_again(teacher, tmp_path):
    manifest = label_boxes(teacher, "masked", output_dir=str(tmp_path / "masks"), runner=Runner(1))
    assert list(manifest["scores"]) == list(SOURCES)
    masks = masks_of(tmp_path / "masks")
    truth = np.concatenate([scene(n, has_mask=True).mask.ravel() for n in range(20, 23)])
    found = [np.concatenate([masks[f"scenes/{n:03d}"][i].ravel() for n in range(20, 23)]) for i in (0, 1)]
    both = np.where(found[0] == found[1], found[0], 255)
    known = truth < NUM_CLASSES
    for name, mask in (("Y_crf", found[0]), ("Y_ret", found[1]), ("both agree", both)):
        iou = [
            np.count_nonzero((mask == c) & (truth == c)) / np.count_nonzero(((mask == c) | (truth == c)) & known)
            for c in range(NUM_CLASSES)
            if np.any(truth == c)
        ]
        assert manifest["scores"][name]["mean_iou"] == pytest.approx(np.mean(iou)), name
    assert manifest["scores"]["filled boxes"]["labeled"] == 1
    assert manifest["scores"]["both agree"]["labeled"] == pytest.approx(np.mean(both[known] != 255))
    assert "| Y_crf" in summary(manifest, "masks")


def test_two_workers_write_the_same_bytes(teacher, labeled, tmp_path):
    label_boxes(teacher, "boxes", output_dir=str(tmp_path / "masks"), runner=Runner(2))
    assert files_of(tmp_path / "masks") == files_of(labeled[0])


def test_jobs_on_their_own_write_the_same_bytes(teacher, labeled, tmp_path, monkeypatch):
    """As on Beam: the network and the CRF in one process."""

    def on_beam(self, function, jobs, what, *, total, accelerators=False):
        assert function is label_part and accelerators and total == NUM_IMAGES
        for job in jobs:
            function(job, lambda count: None)

    monkeypatch.setattr(Runner, "__post_init__", lambda self: None)
    monkeypatch.setattr(Runner, "__call__", on_beam)
    label_boxes(teacher, "boxes", output_dir=str(tmp_path / "masks"), runner=Runner(1, "runner=DirectRunner"))
    assert files_of(tmp_path / "masks") == files_of(labeled[0])


@pytest.mark.slow
def test_beam_writes_the_same_bytes(teacher, labeled, tmp_path):
    pytest.importorskip("apache_beam")
    options = "runner=DirectRunner,direct_running_mode=multi_threading,direct_num_workers=2"
    label_boxes(teacher, "boxes", output_dir=str(tmp_path / "masks"), runner=Runner(1, options))
    assert files_of(tmp_path / "masks") == files_of(labeled[0])


def test_after_a_kill_it_goes_on_and_the_bytes_are_the_same(teacher, labeled, tmp_path, monkeypatch):
    written, write = [], box_label_jobs.write_record_file

    def killed(path, examples):
        if written:
            raise KeyboardInterrupt
        write(path, examples)
        written.append(path)

    monkeypatch.setattr(box_label_jobs, "write_record_file", killed)
    with pytest.raises(Interrupted, match="the same command goes on"):
        label_boxes(teacher, "boxes", output_dir=str(tmp_path / "masks"), runner=Runner(1))
    assert len(written) == 1 and not (tmp_path / "masks").exists()
    again = []
    monkeypatch.setattr(
        box_label_jobs, "write_record_file", lambda path, examples: (again.append(path), write(path, examples))
    )
    label_boxes(teacher, "boxes", output_dir=str(tmp_path / "masks"), runner=Runner(1))
    assert len(again) == 1 and again != written
    assert files_of(tmp_path / "masks") == files_of(labeled[0])


def test_photos_above_the_largest_side_have_masks_of_their_own_size(teacher, tmp_path):
    with gin.unlock_config():
        gin.bind_parameter("BoxMasks.largest_side", 33)
    try:
        label_boxes(teacher, "boxes", output_dir=str(tmp_path / "masks"), runner=Runner(1), write_pngs=False)
    finally:
        with gin.unlock_config():
            gin.bind_parameter("BoxMasks.largest_side", 768)
    assert {first.shape for first, _ in masks_of(tmp_path / "masks").values()} == {(48, 48), (40, 48)}
    assert not (tmp_path / "masks" / "pngs").exists()


def test_images_whose_objects_are_unknown_are_refused(teacher, tmp_path):
    with pytest.raises(UserError, match="--split = 'mixed': the objects of 2 of its 3 images are known"):
        label_boxes(teacher, "mixed", output_dir=str(tmp_path / "masks"))


def test_a_run_of_another_method_is_refused(data, tmp_path):
    run = write_run(tmp_path / "run", data, "Supervised")
    with pytest.raises(UserError, match="a run of Supervised; --policy=boxes needs one of BoxClassification"):
        label_boxes(TeacherDescription(str(run)).open(), "boxes", output_dir=str(tmp_path / "masks"))


def test_the_second_mask_is_checked_before_training(labeled, data):
    method = NoiseAware()
    info = {"pseudo": DatasetInfo.load(labeled[0])}
    data_of = lambda infos, split: type("Data", (), {"infos": infos, "splits": {"pseudo": split}})()
    method.check(data_of(info, "pseudo"))
    with pytest.raises(UserError, match="its records have one mask, expected two"):
        method.check(data_of({"pseudo": DatasetInfo.load(data)}, "masked"))


def test_what_cannot_be_drawn_is_labelled_once(teacher, labeled, tmp_path, monkeypatch):
    def broken(path, labeled, **others):
        raise OSError("no pictures today")

    with monkeypatch.context() as patch:
        patch.setattr("wss.pseudo_labels.box_labels.draw_panels", broken)
        with pytest.raises(WriteError, match="no pictures today"):
            label_boxes(teacher, "boxes", output_dir=str(tmp_path / "masks"), runner=Runner(1))
    monkeypatch.setattr(box_label_jobs, "write_record_file", lambda path, examples: pytest.fail("labelled again"))
    label_boxes(teacher, "boxes", output_dir=str(tmp_path / "masks"), runner=Runner(1))
    assert files_of(tmp_path / "masks") == files_of(labeled[0])


def test_records_that_were_built_again_are_labelled_again(teacher, tmp_path, monkeypatch):
    """Their boxes may be others, though their ids are the same."""
    plans = []
    monkeypatch.setattr("wss.pseudo_labels.box_labels.keep_same_plan", lambda folder, plan: plans.append(plan))
    monkeypatch.setattr("wss.pseudo_labels.box_labels._run", lambda *arguments: pytest.fail("enough"))
    records = Path(teacher.run.info.directory) / next(iter(teacher.run.info.split("boxes").shards))
    before = records.stat()
    for seconds in (0, 60, 0):
        os.utime(records, (before.st_atime, before.st_mtime + seconds))
        with pytest.raises(pytest.fail.Exception, match="enough"):
            label_boxes(teacher, "boxes", output_dir=str(tmp_path / "masks"))
    assert plans[0] == plans[2] != plans[1]


@pytest.mark.parametrize("size", [(3, 4000), (2000, 2), (1, 1), (1, 900)])
def test_very_flat_and_tall_photos(teacher, size):
    labeler = BoxLabeler(teacher)
    image = np.random.default_rng(0).integers(0, 256, [*size, 3], np.uint8)
    seen, probabilities = labeler.see(image, [Box(1, 0, 0, size[0], size[1] / 2)])
    assert probabilities.shape == (*size, 2) and np.isfinite(probabilities).all()
    assert labeler.retrieve(seen, np.zeros(size, np.uint8)).shape == size


def test_many_photos_wait_only_as_long_as_memory_allows(teacher, labeled, tmp_path, monkeypatch):
    monkeypatch.setattr(box_label_jobs, "MOST_HELD", 1)
    label_boxes(teacher, "boxes", output_dir=str(tmp_path / "masks"), runner=Runner(2))
    assert files_of(tmp_path / "masks") == files_of(labeled[0])


def test_a_damaged_record_is_named(teacher, data, tmp_path):
    """Not the first of its file, which is looked at before; and nothing is left behind."""
    info = teacher.run.info
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    (file, *_) = info.split("boxes").shards
    records = list(tf.data.TFRecordDataset(str(copy / file)).as_numpy_iterator())
    example = tf.train.Example.FromString(records[1])
    name = example.features.feature["image/filename"].bytes_list.value[0].decode()
    content = example.features.feature["image/encoded"].bytes_list.value
    content[0] = content[0][:60] + bytes(len(content[0]) - 60)
    records[1] = example.SerializeToString(deterministic=True)
    with tf.io.TFRecordWriter(str(copy / file)) as writer:
        for record in records:
            writer.write(record)
    damaged = dataclasses.replace(teacher.run, info=DatasetInfo.load(copy))
    with pytest.raises(UserError, match=rf"{file}.*{name}"):
        label_boxes(
            dataclasses.replace(teacher, run=damaged), "boxes", output_dir=str(tmp_path / "masks"), runner=Runner(1)
        )
    assert not (tmp_path / "masks").exists() and not (tmp_path / ".masks.partial").exists()
