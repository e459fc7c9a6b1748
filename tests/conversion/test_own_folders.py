"""Own folders that are odd: names, lists and folders that cannot be meant are found before a photo is read."""

import os
import pickle
import unicodedata
from pathlib import Path

import pytest
from mask_files import MASK, TRUTH, OwnFolders, photo
from PIL import Image

from wss.conversion import encode, writer
from wss.data.dataset_info import DatasetInfo
from wss.data.masks import lookup_table
from wss.errors import UserError
from wss.jobs.processes import ConversionStoppedError


@pytest.fixture
def own(tmp_path, run_script) -> OwnFolders:
    folders = OwnFolders(tmp_path, run_script)
    folders.add()
    return folders


@pytest.fixture
def no_photo_is_read(monkeypatch):
    monkeypatch.setattr(encode, "encode_photo", lambda *_: pytest.fail("a photo was read"))


def lines_of(error: pytest.ExceptionInfo) -> list[str]:
    head, *lines = str(error.value).split("\n")
    return lines or [head]


def test_the_same_folder_for_images_and_masks_is_told(own, run_script):
    flags = [
        f"--images={own.images}",
        f"--masks={own.root}/./images",
        "--class_names=a,b",
        f"--output_dir={own.root}/out",
    ]
    with pytest.raises(UserError, match="the folders are the same; expected one for each"):
        run_script("build_folder", *flags)
    with pytest.raises(UserError, match="--images=.* and --unlabeled=.*: the folders are the same"):
        own.build("a,b,c", f"--unlabeled={own.images}")


def test_masks_in_the_folder_of_the_images_are_no_images(own, run_script):
    own.masks.rename(own.images / "masks")
    flags = [f"--images={own.images}", f"--masks={own.images / 'masks'}", "--class_names=a,b,c", "--val_fraction=0"]
    run_script("build_folder", *flags, f"--output_dir={own.root / 'out'}")
    assert own.pixels() == TRUTH and set(DatasetInfo.load(own.root / "out").splits) == {"train"}


def test_unlabelled_images_in_the_folder_of_the_images_are_told(own):
    (own.images / "more").mkdir()
    photo(1).save(own.images / "more/b.jpg")
    with pytest.raises(UserError, match="--unlabeled=.*more: lies in --images=.*; expected folders beside each other"):
        own.build("a,b,c", f"--unlabeled={own.images / 'more'}")


def test_what_is_left_out_is_said(own, capsys):
    (own.images / "b.gif").write_bytes(b"GIF89a")
    own.build()
    assert (
        f"{own.images}: left out: 1 file that is no JPEG, PNG, BMP, TIFF or WebP: .gif (1)" in capsys.readouterr().out
    )


def test_names_of_both_forms_of_unicode_match(own):
    own.images.joinpath("a.jpg").unlink()
    own.masks.joinpath("a.png").unlink()
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    photo().save(own.images / f"{decomposed}.jpg")
    own.add_mask(composed, Image.fromarray(MASK))
    (own.root / "list.txt").write_text(f"\ufeff{decomposed}.jpg\r\n")
    own.build("a,b,c", f"--train_list={own.root / 'list.txt'}")
    assert own.pixels() == TRUTH


def test_lists_may_have_columns_behind_the_names(own):
    """As those of Oxford pets; a name with spaces stays one where an image has it."""
    own.add("b")
    (own.root / "train.txt").write_text("a.jpg 1 1 1\n")
    (own.root / "val.txt").write_text("b 2 1 3\n")
    own.build("a,b,c", f"--train_list={own.root / 'train.txt'}", f"--val_list={own.root / 'val.txt'}")
    splits = DatasetInfo.load(own.root / "out").splits
    assert {name: split.num_examples for name, split in splits.items()} == {"train": 1, "val": 1}


@pytest.mark.parametrize(
    ("flag", "content", "expected"),
    [
        (
            "image_labels",
            "filename,labels\na.jpg,bb\n",
            "file.txt:2: 'bb' is no foreground class; expected one of b, c",
        ),
        ("image_labels", "FileName,Labels\nz.jpg,b\n", "z: has image-level labels, but no image"),
        ("image_labels", "../a.jpg,b\n", "../a: has image-level labels, but no image"),
        ("train_list", "a\na\n", "duplicate id 'a' in 'train'"),
        ("val_list", "../../etc/passwd\n", "../../etc/passwd: listed for train or val, but there is no such image"),
    ],
)
def test_lists_are_checked_before_a_photo_is_read(flag, content, expected, own, no_photo_is_read):
    (own.root / "file.txt").write_text(content)
    with pytest.raises(UserError) as error:
        own.build("a,b,c", f"--{flag}={own.root / 'file.txt'}")
    assert any(expected in line for line in lines_of(error)) and not (own.root / ".out.partial").exists()


@pytest.mark.parametrize("content", [b"", "a.jpg,b\n".encode("utf-16"), b"a.jpg,\xff\n", b"a\0.jpg,b\n"])
def test_lists_that_are_no_text_are_one_line(content, own, no_photo_is_read):
    (own.root / "file.txt").write_bytes(content)
    with pytest.raises(UserError, match="file.txt: (empty file|cannot be read as text .*)$"):
        own.build("a,b,c", f"--image_labels={own.root / 'file.txt'}")


def test_names_that_cannot_be_drawn_are_told(own, no_photo_is_read):
    photo().save(own.images / f"{'x' * 250}.jpg")
    with pytest.raises(UserError, match="can be no name of an image; expected a relative path of at most 240 bytes"):
        own.build()


def test_ids_of_any_source_are_checked(tmp_path):
    for id in ("../../evil", "/etc/x", "a\0", "", "a\nb", "."):
        source = encode.Source(id, encode.encode_mask(MASK), MASK)
        checked, problems = encode.check_source(source, encode.Settings(encode.LabelMap(lookup_table(3))))
        assert checked is None and "can be no name of an image" in problems[0]


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("evil-was-here",)


def test_nothing_that_others_planted_is_followed_or_run(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    partial, victim = tmp_path / ".out.partial", tmp_path / "victim"
    victim.write_text("keep")
    partial.mkdir()
    names = ["lock", "train-00000-of-00001.tfrecord.plan", "train-00000-of-00001.tfrecord"]
    for name in [*names, "train-00000-of-00001.tfrecord.done", "dataset.json", "splits"]:
        os.symlink(victim, partial / name)
    (partial / "train.plan").mkdir()
    os.symlink(victim, partial / "train.plan/00000.jsonl")
    (partial / "other.plan").write_bytes(pickle.dumps(Evil()))
    own.build()
    assert victim.read_text() == "keep" and own.pixels() == TRUTH and not Path("evil-was-here").exists()


def test_a_plan_that_others_changed_is_not_unpickled(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = writer._plan

    def planned(folder, *arguments, **settings):
        jobs = plan(folder, *arguments, **settings)
        Path(folder, f"{jobs[0].file}.plan").write_bytes(pickle.dumps(Evil()))
        return jobs

    monkeypatch.setattr(writer, "_plan", planned)
    with pytest.raises(ConversionStoppedError, match="tfrecord.plan: was changed by somebody else"):
        own.build()
    assert not Path("evil-was-here").exists()


@pytest.mark.parametrize("suffix", [".partial", ".old"])
def test_a_link_where_the_conversion_works_is_refused(suffix, own, tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/thesis.txt").write_text("keep")
    os.symlink(tmp_path / "victim", tmp_path / f".out{suffix}")
    with pytest.raises(UserError, match=f".out{suffix}: a conversion works there, but it is no folder; remove it"):
        own.build()
    assert (tmp_path / "victim/thesis.txt").read_text() == "keep"


def test_a_folder_of_another_user_is_refused(own, tmp_path, monkeypatch):
    (tmp_path / ".out.partial").mkdir()
    found = os.lstat(tmp_path / ".out.partial")
    other = os.stat_result([*found[:4], 12345, *found[5:10]])
    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path: other if str(path).endswith(".partial") else lstat(path))
    with pytest.raises(UserError, match="of another user .12345.; remove it or give another output"):
        own.build()


def test_damaged_marks_of_finished_files_do_not_count(own, tmp_path):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial/train-00000-of-00001.tfrecord.done").write_text("[]")
    own.build()
    assert own.pixels() == TRUTH


def test_an_output_that_is_a_link_is_filled(own, tmp_path):
    (tmp_path / "disk").mkdir()
    os.symlink(tmp_path / "disk", tmp_path / "out")
    own.build()
    assert (tmp_path / "out").is_symlink() and (tmp_path / "disk/dataset.json").exists()
