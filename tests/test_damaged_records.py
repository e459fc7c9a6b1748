"""Damaged records through everything that reads them: one line that names file and record, or harmless; no crash."""

import dataclasses
import resource
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from commands import run_command
from damaged_records import HEIGHT, WIDTH, changed, data_set, mask_of, mutations, record, write
from networks import two_convolutions
from scripts import load_module, separate_flags
from tiny import SMALL, bindings

from wss import experiment
from wss.conversion.shapes import build_shapes
from wss.data.dataset_info import DatasetInfo
from wss.data.evaluation_data import evaluation_batches
from wss.data.example import MASK
from wss.data.masks import encode_mask
from wss.data.padding import Padding
from wss.data.record_check import check_record
from wss.data.streams import Views
from wss.data.training_data import TrainingData
from wss.errors import UserError
from wss.evaluation.evaluator import Evaluator
from wss.inference.photos import SplitExamples
from wss.inspection.contact_sheet import contact_sheet
from wss.inspection.findings import find
from wss.inspection.inspect import inspect_split
from wss.pseudo_labels.predicting import photos_of

GREY = (127.5, 127.5, 127.5)
ROOT = Path(__file__).resolve().parents[1]
LABELS = {0, 1, 2, 255}
EVERYTHING = Views(strong=1, boxes=4, second_mask=True)
FILE = "train.tfrecord"


class Passes:
    """All passes over one file, whose pipelines are built once; the file is written anew for each damage."""

    def __init__(self, folder):
        self.info = data_set(folder, *(record(f"good_{i}", i) for i in range(4)))
        self.path = folder / FILE
        data = TrainingData(
            self.info, GREY, seed=0, labeled_split="train", unlabeled_split="train",
            labeled_batch_size=2, unlabeled_batch_size=2, crop_size=(33, 33),
        )  # fmt: skip
        self.streams = {"labeled": EVERYTHING, "unlabeled": dataclasses.replace(EVERYTHING, masks=False)}
        self.data, self._training = data, data.batches(self.streams).take(4)
        self._evaluated = evaluation_batches(self.info, "train", 2, padding=Padding(GREY))
        model = mock.Mock(num_classes=3)
        self._evaluator = Evaluator(
            model, self.info, predict_fn=lambda _, images: tf.one_hot(tf.zeros(images.shape[:3], tf.int32), 3)
        )
        self._shown = SplitExamples(self.info, "train", Padding(GREY), batch_size=2)
        with separate_flags():
            self._describe = load_module(ROOT / "datasets/describe_records.py")

    def train(self) -> None:
        with self.data.damage_told(self.streams):
            for batch in self._training.as_numpy_iterator():
                for part in batch.values():
                    for name in ("label", "second_label"):
                        assert set(np.unique(part[name])) <= LABELS

    def evaluate(self) -> None:
        assert self._evaluator(self._evaluated, "train").num_images <= 4

    def show(self) -> None:
        for batch in self._shown:
            for example in batch:
                assert example.image.shape[:2] == example.label.shape == (HEIGHT, WIDTH)
                assert set(np.unique(example.label)) <= LABELS
                assert ".." not in example.name and not example.name.startswith("/")

    def label(self) -> None:
        for example in photos_of(self.info, "train", FILE, use_mask=True):
            assert example.image.shape[:2] == example.label.shape == (HEIGHT, WIDTH)

    def describe(self) -> None:
        if problems := self._describe.index_file((self.info, FILE), lambda _: None):
            raise UserError(problems[0])

    def inspect(self) -> None:
        inspection = inspect_split(self.info, "train")
        sheet = [candidate.serialized for candidate in inspection.candidates.choose([1, 2])]
        contact_sheet(self.info, sheet)
        problems = [
            f for f in find(self.info, [inspection], ()) if f.kind in ("file", "record", "size", "class_range", "box")
        ]
        if problems:
            raise UserError(problems[0].message)

    def check(self, what: str, damaged: bytes) -> bool:
        """Runs all passes over a file whose second record is damaged; returns whether it is refused."""
        good = [record(f"good_{i}", i) for i in range(3)]
        write(self.path, good[0], damaged, *good[1:])
        told = ""
        try:
            check_record(damaged, self.info, (HEIGHT, WIDTH))
        except UserError as error:
            told = str(error)
        for run in (self.train, self.evaluate, self.show, self.label, self.describe, self.inspect):
            try:
                run()
            except UserError as error:
                line = str(error)
                assert "\n" not in line and "Graph execution error" not in line, what
                assert told, f"{what}: {run.__name__} says {line}"
                if run != self.inspect and not (run == self.describe and "dataset.json says" in told):
                    assert f"{FILE}: record 1: {told}" in line, f"{what}: {run.__name__} says {line}"
            else:
                # Training reads no ids, the others no boxes, second masks or image labels; two believe no dataset.json.
                others = ("box", "second mask", "image-level label", "dataset.json says")
                unread = ("cannot be named",) if run == self.train else others
                assert not told or any(words in told for words in unread), f"{what}: {run.__name__} says nothing"
        return bool(told)


def check_all(folder, number: int, seed: int) -> None:
    passes = Passes(folder)
    assert not passes.check("nothing", record("nothing"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = sum(passes.check(what, damaged) for what, damaged in mutations(seed, number))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # kB
    assert number / 2 < refused < number


def test_damage_by_chance_is_one_line_everywhere(tmp_path):
    check_all(tmp_path, 8, seed=1)


@pytest.mark.slow
def test_much_damage_by_chance_is_one_line_everywhere(tmp_path):
    check_all(tmp_path, 240, seed=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two steps and its data set."""
    folder = tmp_path_factory.mktemp("trained")
    build_shapes(folder / "data", num_train=8, num_val=4, size=48, num_shards=1)
    with two_convolutions():
        parameters = [*bindings(SMALL, folder / "data"), "train.num_steps = 2"]
        strategy = tf.distribute.MirroredStrategy(["CPU:0"])
        experiment.run([], parameters, folder / "run", strategy=strategy)
    return folder


def damage(folder, file: str) -> None:
    """Gives the last image of a file a mask of another size."""
    (path,) = folder.glob(f"{file}-*.tfrecord")
    records = [*tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]
    records[-1] = changed(records[-1], MASK, "bytes_list", [encode_mask(mask_of(height=47, width=48))])
    write(path, *records)


COMMANDS = {
    "train": lambda f: ["-m", "wss.train", f"--run_dir={f / 'new'}", f"--gin_file={f / 'run/operative_config.gin'}"],
    "eval": lambda f: ["-m", "wss.eval", f"--run_dir={f / 'run'}"],
    "vis": lambda f: ["-m", "wss.vis", f"--run_dir={f / 'run'}", f"--output={f / 'pictures'}"],
    "label": lambda f: [
        "-m", "wss.label", f"--run_dir={f / 'run'}", f"--output_dir={f / 'pseudo'}", "--split=val", "--alpha=0.2",
    ],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_name_the_record(trained, tmp_path, command):
    folder = shutil.copytree(trained, tmp_path / "copy")
    for file in ("images", "train", "val"):
        for _ in folder.glob(f"data/{file}-*.tfrecord"):
            damage(folder / "data", file)
    with two_convolutions():
        result = run_command([*COMMANDS[command](folder), f"--data_dir={folder / 'data'}"])
    assert result.returncode == 2, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "has 48x48 pixels, its mask 48x47; expected equal sizes; build the data set again" in line
    assert ".tfrecord: record " in line and "Traceback" not in result.stderr
    assert DatasetInfo.load(folder / "data").num_classes == 7
