"""Mistakes of a user, through the real commands: each is one clear line on stderr and exit code 2, never a traceback."""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from commands import run_command
from PIL import Image

RECIPE = "gin_configs/recipes/shapes/supervised.gin"


@dataclasses.dataclass(frozen=True)
class Workspace:
    """Right and broken things to point commands at."""

    path: Path
    records: Path

    def train(self, *flags: str, gin_file: str = RECIPE, data_dir: Path | None = None) -> list[str]:
        run_dir = f"--run_dir={self.path / 'run'}"
        data = f"--data_dir={data_dir or self.records}"
        return ["-m", "wss.train", f"--gin_file={gin_file}", run_dir, data, "--dry_run", *flags]

    def parameter(self, binding: str) -> list[str]:
        return self.train(f"--gin_param={binding}")

    def broken_records(self, name: str, breaking) -> list[str]:
        copy = self.path / name
        shutil.copytree(self.records, copy)
        breaking(copy)
        return self.train(data_dir=copy)

    def devkit(self, name: str, breaking, *flags: str) -> list[str]:
        root = self.path / name
        for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (root / folder).mkdir(parents=True)
        for stem in ("one", "two"):
            Image.fromarray(np.full([20, 30, 3], 99, np.uint8)).save(root / f"JPEGImages/{stem}.jpg")
            Image.fromarray(np.full([20, 30], 3, np.uint8)).save(root / f"SegmentationClass/{stem}.png")
        (root / "ImageSets/Segmentation/train.txt").write_text("one\ntwo\n")
        breaking(root)
        return ["datasets/build_voc2012.py", f"--voc_root={root}", f"--output_dir={root}-records", *flags]

    def build(self, converter: str, *flags: str) -> list[str]:
        return [f"datasets/build_{converter}.py", f"--output_dir={self.path / converter}-records", *flags]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:37])


def save_mask(root: Path, array: np.ndarray) -> None:
    Image.fromarray(array).save(root / "SegmentationClass/two.png")


def empty_folder(path: Path) -> Path:
    path.mkdir()
    return path


def broken_photos(path: Path) -> Path:
    (empty_folder(path) / "photo.jpg").write_bytes(b"no photo")
    return path


def weights_without_backbone(path: Path) -> Path:
    np.savez(path, **{"logits/semantic/biases": np.zeros(7, np.float32)})
    return path


# name -> (command, what its one line must say)
CASES = {
    # flags
    "unknown flag": (lambda w: w.train("--dry_rum"), r"unknown flag --dry_rum. Did you mean 'dry_run'\?"),
    "no run directory": (lambda w: ["-m", "wss.train", f"--gin_file={RECIPE}"], "--run_dir must have a value"),
    "no gin file flag": (lambda w: ["-m", "wss.train", "--run_dir=x"], "--gin_file must have a value"),
    "empty output": (
        lambda w: ["tools/inspect_dataset.py", f"--dataset={w.records}", "--output="],
        "--output=: empty; expected a value",
    ),
    "empty run directory": (lambda w: w.train("--run_dir= "), "--run_dir= : empty; expected a value"),
    "no flag at all": (lambda w: ["-m", "wss.train"], "--gin_file must have a value.*; .*--run_dir must have a value"),
    "two flags missing": (lambda w: ["-m", "wss.plan"], "--data_dir must have a value.*; .*--run_dir must have a value"),
    "unknown strategy": (lambda w: w.train("--strategy=mirored"), "--strategy=mirored: expected one of mirrored"),
    "no TF_CONFIG": (lambda w: w.train("--strategy=multi_worker"), "needs TF_CONFIG, such as"),
    "seed is no number": (lambda w: w.train("--seed=one"), "--seed=one"),
    # gin
    "missing gin file": (
        lambda w: w.train(gin_file="gin_configs/recipes/shapes/supervized.gin"),
        r"not found. Did you mean '.*shapes/supervised.gin'\?",
    ),
    "unknown configurable": (lambda w: w.parameter("trian.num_steps = 1"), r"'trian'. Did you mean 'train'\?"),
    "unknown parameter": (lambda w: w.parameter("train.num_step = 1"), r"'num_step'. Did you mean 'num_steps'\?"),
    "unknown method": (lambda w: w.parameter("train.method = @PseudoSeq()"), r"Did you mean 'PseudoSeg'\?"),
    "name without a dot": (lambda w: w.parameter("num_steps = 1"), r"Did you mean 'train.num_steps'\?"),
    "string without quotes": (lambda w: w.parameter("Evaluation.split = val"), "with strings in quotes"),
    "missing include": (
        lambda w: w.train(gin_file=str(_write(w.path / "include.gin", "include 'gin_configs/base/deeplap.gin'\n"))),
        r"deeplap.gin not found. Did you mean 'gin_configs/base/deeplab.gin'\?",
    ),
    "nothing configured": (lambda w: w.train(gin_file=str(_write(w.path / "empty.gin", ""))), "train needs .*'method'"),
    "unknown backbone": (
        lambda w: w.parameter("build_model.backbone = 'xception65'"),
        r"build_model.backbone = 'xception65', expected one of .* Did you mean 'xception_65'\?",
    ),
    "wrong output stride": (
        lambda w: w.parameter("build_model.output_stride = 12"),
        "build_model.output_stride = 12, expected one of 8, 16, 32",
    ),
    "unknown precision": (lambda w: w.parameter("set_precision.policy = 'half'"), "'half', expected one of float32"),
    "wrong fusion source": (
        lambda w: w.train("--gin_param=train.method = @PseudoSeg()", "--gin_param=PseudoSeg.source = 'cam'"),
        "PseudoSeg.source = 'cam', expected one of",
    ),
    "unknown optimizer": (lambda w: w.parameter("build_optimizer.name = 'sgdm'"), "build_optimizer.name = 'sgdm'"),
    "missing weights": (lambda w: w.parameter("train.initial_weights = 'no.npz'"), "'no.npz': no such checkpoint or file"),
    "weights of something else": (
        lambda w: w.parameter(f"train.initial_weights = '{weights_without_backbone(w.path / 'head.npz')}'"),
        r"variables of the backbone mobilenet_v2 are missing\); .* is it of another backbone",
    ),
    # records
    "no data set": (lambda w: w.train(data_dir=w.path), "dataset.json: not found. Build the records"),
    "damaged dataset.json": (
        lambda w: w.broken_records("json", lambda d: (d / "dataset.json").write_text("{}")),
        "dataset.json: damaged",
    ),
    "missing shard": (
        lambda w: w.broken_records("shard", lambda d: [path.unlink() for path in d.glob("train-*.tfrecord")]),
        "train-.*: missing, though dataset.json lists it",
    ),
    "truncated shard": (
        lambda w: w.broken_records("cut", lambda d: [truncate(path) for path in d.glob("train-*.tfrecord")]),
        r"train-.*build the data set again",
    ),
    "unknown split": (
        lambda w: w.parameter("TrainingData.labeled_split = 'train_1_15'"),
        r"no split 'train_1_15'.* Did you mean 'train_1_16'\?",
    ),
    # a run, photos
    "not a run": (lambda w: ["-m", "wss.eval", f"--run_dir={w.path}"], "no operative_config.gin in it"),
    "not a run to label by": (
        lambda w: ["-m", "wss.label", f"--run_dir={w.path}", "--output_dir=x", "--alpha=0.2"],
        "no operative_config.gin in it",
    ),
    "a share of the pixels for masks from boxes": (
        lambda w: [
            "-m", "wss.label", f"--run_dir={w.path}", "--output_dir=x", "--policy=boxes", "--alpha=0.2"
        ],
        "--alpha=0.2: not with --policy=boxes",
    ),
    "shard past the end": (
        lambda w: ["-m", "wss.label", f"--run_dir={w.path}", "--stage=predict", "--predictions_dir=x", "--shard=3/3"],
        "--shard=3/3: expected i/n with i from 0 to n - 1",
    ),
    "no photos": (
        lambda w: ["-m", "wss.vis", f"--run_dir={w.path}", "--output=x", f"--images={empty_folder(w.path / 'none')}"],
        "no photos in it|no operative_config.gin",
    ),
    # converters
    "label outside the classes": (
        lambda w: w.devkit("label", lambda root: save_mask(root, np.full([20, 30], 77, np.uint8))),
        "two.png: .*77",
    ),
    "mask of another size": (
        lambda w: w.devkit("size", lambda root: save_mask(root, np.zeros([20, 31], np.uint8))),
        "two.png: mask of 31x20 pixels for an image of 30x20",
    ),
    "RGBA mask": (
        lambda w: w.devkit("rgba", lambda root: save_mask(root, np.zeros([20, 30, 4], np.uint8))),
        "two.png: .*RGBA",
    ),
    "broken photo": (lambda w: w.devkit("jpeg", lambda root: truncate(root / "JPEGImages/two.jpg")), "two.jpg: "),
    "missing mask": (lambda w: w.devkit("gone", lambda root: (root / "SegmentationClass/two.png").unlink()), "two"),
    "duplicate id": (
        lambda w: w.devkit("twice", lambda root: _write(root / "ImageSets/Segmentation/train.txt", "one\ntwo\none\n")),
        "duplicate id 'one'",
    ),
    "wrong classes flag": (lambda w: w.devkit("classes", lambda root: None, "--classes=0,cat"), "cat"),
    "unknown Beam option": (
        lambda w: w.devkit("beam", lambda root: None, "--beam_pipeline_options=runer=DirectRunner"),
        "Apache Beam knows no option runer",
    ),
    "no COCO": (lambda w: w.build("coco", f"--coco_root={w.path}"), "train2017.zip and val2017.zip from cocodataset.org"),
    "no Cityscapes": (lambda w: w.build("cityscapes", f"--cityscapes_root={w.path}"), "leftImg8bit_trainvaltest.zip"),
    "no ADE20K": (lambda w: w.build("ade20k", f"--ade20k_root={w.path}"), "ADEChallengeData2016"),
    "no such TFDS": (lambda w: w.build("tfds", "--dataset=oxford_pet"), "no such data set"),
    "no SBD": (lambda w: w.devkit("sbd", lambda root: None, f"--sbd_root={w.path}"), "--sbd_root=.*benchmark.tgz of SBD"),
    "no records to describe": (
        lambda w: ["datasets/describe_records.py", f"--dir={w.path}", "--class_names=voc2012"],
        "no TFRecord files in it",
    ),
    "unknown list": (
        lambda w: ["datasets/make_split.py", f"--dataset={w.records}", "--list=voc_pseudoseg_1_8"],
        "no published list 'voc_pseudoseg_1_8'",
    ),
    "report of no records": (
        lambda w: ["tools/run_table.py", f"--records={w.path}", "--report"],
        "--records=.*none of these runs is recorded there",
    ),
    "unknown split to inspect": (
        lambda w: ["tools/inspect_dataset.py", f"--dataset={w.records}", "--output=x", "--splits=trian"],
        r"no split 'trian'.* Did you mean 'train'\?",
    ),
}  # fmt: skip


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# Each writes its result to a place that cannot be; all but the last two would work for minutes before.
UNWRITABLE = {
    "wss-eval": ["-m", "wss.eval", "--run_dir=x", "--output=*"],
    "evaluate_pseudo_labels": ["tools/evaluate_pseudo_labels.py", "--run_dir=x", "--output=*.json"],
    "convert_checkpoint": ["tools/convert_checkpoint.py", "--run_dir=x", "--output=*"],
    "benchmark": ["tools/benchmark.py", "--only=.", "--output=*"],
    "pretrain_shapes": ["tools/pretrain_shapes.py", "--output=*"],
    "make_split": ["datasets/make_split.py", "--voc_root=x", "--output_list=*"],
    "benchmark_conversion": ["tools/benchmark_conversion.py", "--output=*"],
    "demo": ["tools/demo.py", "--output=*"],
}


@pytest.mark.parametrize("command", UNWRITABLE.values(), ids=UNWRITABLE)
def test_a_result_that_cannot_be_written_is_said_before_the_work(tmp_path, command):
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file" / "folder" / "result")
    result = run_command([part.replace("*", place) for part in command])
    assert result.returncode == 2, result.stderr
    assert re.fullmatch(r"error: .*file/folder/result.*: cannot be written \(Not a directory\).*\n", result.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# One mistake of each kind of command also in a Python of its own, as a user meets it.
IN_NEW_PROCESS = ("unknown parameter", "not a run", "label outside the classes", "unknown split to inspect")


def check(case: str, result: subprocess.CompletedProcess) -> None:
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert len(errors) == 1, result.stderr
    assert re.search(CASES[case][1], result.stderr), result.stderr


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, tiny_shapes, case):
    command, _ = CASES[case]
    check(case, run_command(command(Workspace(tmp_path, tiny_shapes))))


@pytest.mark.slow
@pytest.mark.parametrize("case", IN_NEW_PROCESS)
def test_so_it_is_in_a_process_of_its_own(tmp_path, tiny_shapes, case):
    command, _ = CASES[case]
    check(case, run_command(command(Workspace(tmp_path, tiny_shapes)), new_process=True))
