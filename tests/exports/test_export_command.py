"""wss-export: files with what a user needs, compared before they count, nothing half-written."""

import errno
import json
import shutil
import subprocess
import sys
import types
import zipfile

import numpy as np
import onnx
import pytest
import tensorflow as tf
from commands import run_command
from networks import two_convolutions
from PIL import Image
from tiny import SMALL
from trained_runs import trained_with_class

from wss.exports.formats import base, onnx_file
from wss.exports.formats.registry import FORMATS
from wss.files import locked
from wss.runtime import strategy

NAME = "x\"<b>' ${1} {name} Ü"


@pytest.fixture(scope="module", autouse=True)
def small_network():
    with two_convolutions():
        yield


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setattr(strategy, "build_strategy", lambda *_: tf.distribute.MirroredStrategy(["CPU:0"]))


@pytest.fixture(scope="module")
def run_dir(tiny_shapes, tmp_path_factory):
    return trained_with_class(NAME, tiny_shapes, tmp_path_factory.mktemp("trained"), SMALL)


def export(run_dir, output, *flags):
    return run_command(["-m", "wss.export", f"--run_dir={run_dir}", f"--output={output}", *flags])


def fails(run_dir, output, *flags):
    done = export(run_dir, output, *flags)
    assert done.returncode == 2, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")][0]


def about_of(folder, name):
    path = folder / FORMATS[name].file
    if name == "saved_model":
        return json.loads((path / "assets.extra/wss.json").read_text())
    if name == "onnx":
        return json.loads({one.key: one.value for one in onnx.load(path).metadata_props}["wss.json"])
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("wss.json"))


def test_every_format_says_what_it_is_and_has_a_program(run_dir, tmp_path):
    done = export(run_dir, tmp_path, f"--format={','.join(FORMATS)}", "--num_images=2", "--max_different=1")
    assert done.returncode == 0, done.stderr
    assert "next: python" in done.stderr
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    for name in FORMATS:
        assert name in done.stdout
        found = about_of(tmp_path, name)
        assert found["classes"][1]["name"] == NAME and len(found["classes"][1]["color"]) == 3
        assert found["size"] is None and found["step"] == 6
        program = (tmp_path / f"example_{name}.py").read_text()
        assert program in done.stdout
        compile(program, name, "exec")
    with zipfile.ZipFile(tmp_path / "model.tflite") as archive:
        assert archive.read("labels.txt").decode().splitlines()[1] == NAME
    assert not list(tmp_path.glob("*.tmp-*"))


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--size=40,56"], ["--size=40,56", "--batch_size=2"]], ids=str)
def test_the_programs_run_as_they_stand(run_dir, tmp_path, flags):
    names = ["saved_model", "keras", "onnx", "tflite"]
    assert export(run_dir, tmp_path, f"--format={','.join(names)}", "--num_images=1", *flags).returncode == 0
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    masks = []
    for name in names:
        done = subprocess.run(
            [sys.executable, f"example_{name}.py", "photo.png"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert f"{NAME}: " in done.stdout
        masks.append(np.asarray(Image.open(tmp_path / "mask.png")))
    assert masks[0].shape == ((40, 56) if flags else (40, 60))
    for mask in masks[1:]:
        assert np.mean(mask != masks[0]) < 0.01


def test_a_file_that_is_not_the_network_is_not_kept(run_dir, tmp_path, monkeypatch):
    assert export(run_dir, tmp_path, "--format=onnx,tflite", "--num_images=1").returncode == 0
    before = (tmp_path / "model.onnx").read_bytes()

    def wrong(path):
        segment = onnx_file._open(path)
        return lambda photos: ((found := segment(photos))[0] + 1, found[1])

    # Frozen, as a format is.
    monkeypatch.setitem(FORMATS["onnx"].__dict__, "open", wrong)
    (tmp_path / "model.tflite").unlink()
    error = fails(run_dir, tmp_path, "--format=onnx,tflite", "--num_images=1")
    assert (
        error.startswith("error: model.onnx: not kept, it gives 100.00% of the pixels another class")
        and "0.10% at most" in error
    )
    assert (tmp_path / "model.onnx").read_bytes() == before
    assert (tmp_path / "model.tflite").exists()
    assert not list(tmp_path.glob("*.tmp-*"))


def test_what_is_no_number_is_not_kept(run_dir, tmp_path, monkeypatch):
    def broken(path):
        segment = onnx_file._open(path)
        return lambda photos: ((found := segment(photos))[0], found[1] * np.nan)

    monkeypatch.setitem(FORMATS["onnx"].__dict__, "open", broken)
    error = fails(run_dir, tmp_path, "--format=onnx", "--num_images=1", "--max_different=1")
    assert error.startswith("error: model.onnx: not kept, it differs by inf in a probability, expected 0.01 at most; ")


@pytest.mark.parametrize("batch", [0, 3])
def test_every_photo_of_a_batch_is_compared(run_dir, tmp_path, monkeypatch, batch):
    def broken(path):
        segment = onnx_file._open(path)

        def run(photos):
            classes, probabilities = map(np.array, segment(photos))
            classes[1:] += 1
            return classes, probabilities

        return run

    monkeypatch.setitem(FORMATS["onnx"].__dict__, "open", broken)
    error = fails(run_dir, tmp_path, "--format=onnx", "--num_images=1", f"--batch_size={batch}", "--size=40,40")
    assert f"{1 - 1 / (batch or 2):.2%} of the pixels" in error


def test_a_run_without_its_evaluation_split_says_what_it_takes(run_dir, tmp_path):
    flags = ["--gin_param=Evaluation.split = 'gone'", "--format=keras", "--num_images=1"]
    done = export(run_dir, tmp_path, *flags)
    assert done.returncode == 0
    assert (
        "comparing on 1 photos of 'train_1_4'; " in done.stdout and "has no split 'gone' to evaluate on" in done.stdout
    )


def test_memory_that_runs_out_in_one_format_leaves_the_others(run_dir, tmp_path, monkeypatch):
    def out_of_memory(export, path):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    monkeypatch.setitem(FORMATS["onnx"].__dict__, "write", out_of_memory)
    error = fails(run_dir, tmp_path, "--format=onnx,keras", "--num_images=1")
    assert "--format=onnx: this network does not run in it (OOM when allocating)" in error
    assert (tmp_path / "model.keras").exists()


def test_a_full_disk_is_named_and_leaves_what_was_there(run_dir, tmp_path, monkeypatch):
    def full(export, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "model.onnx").write_bytes(b"older")
    monkeypatch.setitem(FORMATS["onnx"].__dict__, "write", full)
    assert fails(run_dir, tmp_path, "--format=onnx").startswith("error: model.onnx: cannot be written (No space left")
    assert (tmp_path / "model.onnx").read_bytes() == b"older"


def test_what_a_converter_raises_is_a_line_and_the_others_are_written(run_dir, tmp_path, monkeypatch):
    def broken(export, path):
        raise TypeError("no such op\nand a long list")

    monkeypatch.setitem(FORMATS["onnx"].__dict__, "write", broken)
    error = fails(run_dir, tmp_path, "--format=onnx,keras", "--num_images=1")
    assert error == "error: --format=onnx: this network does not run in it (no such op); take another format"
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "model.keras", "example_keras.py"}


def test_a_folder_is_replaced(run_dir, tmp_path):
    """An older one, but none with something else in it."""
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model/mine").write_text("mine")
    assert fails(run_dir, tmp_path, "--num_images=1").endswith(
        f"{tmp_path / 'saved_model'}: a folder with something else in it; move it away, or give another --output"
    )
    assert [path.name for path in (tmp_path / "saved_model").iterdir()] == ["mine"]
    shutil.rmtree(tmp_path / "saved_model")
    assert export(run_dir, tmp_path, "--num_images=1").returncode == 0
    (tmp_path / "saved_model/saved_model.pb").write_bytes(b"older")
    assert export(run_dir, tmp_path, "--num_images=1").returncode == 0
    assert (tmp_path / "saved_model/saved_model.pb").stat().st_size > 1000


def test_photos_of_a_folder(run_dir, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        Image.new("RGB", (30 + number, 41), (number * 40, 9, 200)).save(photos / f"{number}.jpg")
    done = export(run_dir, tmp_path / "out", f"--images={photos}", "--format=tflite_int8", "--max_different=1")
    assert done.returncode == 0 and "comparing: 3/3 photos" in done.stderr
    assert "mIoU" not in done.stdout
    (photos / "3.jpg").write_bytes(b"no photo")
    assert "3.jpg" in fails(run_dir, tmp_path / "out", f"--images={photos}", "--format=onnx")


def test_other_photos_calibrate_than_are_compared(run_dir, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(4):
        Image.new("RGB", (30, 41), (number * 40, 9, 200)).save(photos / f"{number}.jpg")
    flags = [f"--images={photos}", "--format=tflite_int8", "--max_different=1"]
    assert "same photos" not in export(run_dir, tmp_path / "out", *flags, "--num_images=2").stdout
    assert "calibrating on the same photos: there are no more" in export(run_dir, tmp_path / "out", *flags).stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--format=onx"], "--format=onx: expected some of saved_model, keras, onnx"),
        (["--format=,"], "--format=: expected some of"),
        (["--size=513"], "--size=513: expected height and width in pixels, such as 513,513"),
        (["--size=0,513"], "--size=0,513: expected height and width"),
        (["--size=a,b"], "--size=a,b: expected height and width"),
        (["--images=nowhere"], "--images=nowhere: no such folder"),
    ],
)
def test_flags_that_cannot_be(run_dir, tmp_path, flags, words):
    assert words in fails(run_dir, tmp_path / "out", *flags)


def test_a_package_that_is_missing_is_named_before_anything_is_read(run_dir, tmp_path, monkeypatch):
    nothing = types.SimpleNamespace(util=types.SimpleNamespace(find_spec=lambda name: None))
    monkeypatch.setattr(base, "importlib", nothing)
    error = fails("nowhere", tmp_path / "out", "--format=onnx")
    assert error == "error: --format=onnx: needs onnx, tf2onnx, onnxruntime, not installed; pip install 'wss[export]'"
    assert not (tmp_path / "out").exists()


def test_two_exports_into_one_folder(run_dir, tmp_path):
    with locked(tmp_path / "lock", busy=""):
        assert "another wss-export writes there" in fails(run_dir, tmp_path, "--format=keras")


def test_a_place_that_is_no_folder(run_dir, tmp_path):
    (tmp_path / "out").write_text("")
    assert str(tmp_path / "out") in fails(run_dir, tmp_path / "out", "--format=keras")
