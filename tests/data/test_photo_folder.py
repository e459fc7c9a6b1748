"""Folders of images: links, junk, odd names, and a line for what is left out."""

import os
import socket
import unicodedata
from pathlib import Path

import pytest
from mask_files import photo

from wss.data.photo_folder import list_images, unique_names
from wss.errors import UserError


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    photo().save(path / "a.jpg")
    return path


def names(listing) -> list[str]:
    return [name for name, _ in listing.files]


def test_links_are_followed_once(folder, tmp_path):
    (tmp_path / "other").mkdir()
    photo().save(tmp_path / "other/b.jpg")
    (folder / "sub").mkdir()
    photo().save(folder / "sub/c.jpg")
    os.symlink(tmp_path / "other", folder / "link")
    os.symlink(folder, folder / "loop")
    os.symlink(tmp_path, folder / "up")
    os.symlink(folder / "sub", folder / "again")
    listing = list_images(folder)
    assert names(listing) == ["a.jpg", "link/b.jpg", "sub/c.jpg"] and not listing.problems
    assert listing.repeated == [
        "again, a link to sub", "loop, a link to the folder itself", "up, a link to a folder around it"
    ]  # fmt: skip
    assert names(list_images(folder, recursive=False)) == ["a.jpg"]


def test_what_is_left_out_is_told_by_its_suffix(folder):
    for suffix in (".gif", ".jp2", ".avif", ".txt", ".TXT", ""):
        (folder / f"x{suffix}").write_bytes(b"x")
    photo().save(folder / "b.jfif")
    photo().save(folder / "C.JPG", "JPEG")
    listing = list_images(folder)
    assert names(listing) == ["C.JPG", "a.jpg", "b.jfif"]
    assert listing.left_out == {".txt": 2, ".gif": 1, ".jp2": 1, ".avif": 1, "without a suffix": 1}
    (line,) = listing.lines()
    assert line.startswith(f"{folder}: left out: 6 files that are no JPEG, PNG, BMP, TIFF or WebP: .txt (2), ")


@pytest.mark.parametrize(
    "name", [".ipynb_checkpoints", ".thumbnails", "@eaDir", "__MACOSX", ".hidden", "$RECYCLE.BIN", "lost+found"]
)
def test_junk_is_skipped(name, folder):
    (folder / name).mkdir()
    photo().save(folder / name / "a-checkpoint.jpg")
    (folder / "._a.jpg").write_bytes(b"\0\5\x16\7")
    listing = list_images(folder)
    assert names(listing) == ["a.jpg"] and listing.lines() == [f"{folder}: left out: hidden or generated: {name}"]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda path: os.symlink("/nowhere/b.jpg", path / "b.jpg"),
            "b.jpg: a link to /nowhere/b.jpg, which is not there",
        ),
        (lambda path: os.symlink("/nowhere", path / "b"), "b: a link to /nowhere, which is not there"),
        (lambda path: os.symlink("b.jpg", path / "b.jpg"), "b.jpg: Too many levels of symbolic links"),
        (lambda path: os.mkfifo(path / "b.jpg"), "b.jpg: a pipe, socket or device, expected a file"),
        (lambda path: os.symlink("/dev/zero", path / "b.jpg"), "b.jpg: a pipe, socket or device, expected a file"),
        (lambda path: (path / "b\nc.jpg").write_bytes(b"x"), r"'b\nc.jpg': a name with control characters or no UTF-8"),
        (lambda path: (path / "b\x1b[0m.jpg").write_bytes(b"x"), r"'b\x1b[0m.jpg': a name with control characters"),
        (
            lambda path: Path(os.fsdecode(os.fsencode(path) + b"/\xff.jpg")).write_bytes(b"x"),
            r"'\udcff.jpg': a name with",
        ),
    ],
    ids=["dangling", "dangling folder", "itself", "pipe", "device", "newline", "escape", "no UTF-8"],
)
def test_files_that_cannot_be_read_are_problems(make, expected, folder):
    make(folder)
    listing = list_images(folder)
    (problem,) = listing.problems
    assert names(listing) == ["a.jpg"] and expected in problem and problem.isprintable()


def test_sockets_are_problems(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.jpg")
        assert "a pipe, socket or device" in list_images(tmp_path).problems[0]


def test_folders_that_cannot_be_read_are_problems(folder, monkeypatch):
    (folder / "secret").mkdir()
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert list_images(folder).problems == [f"{folder}/secret: cannot be read (Permission denied)"]
    monkeypatch.setattr(os, "scandir", lambda path: refusing("secret"))
    with pytest.raises(UserError, match=f"--images={folder}: cannot be read .Permission denied."):
        list_images(folder, flag="--images")


def test_folders_in_folders_without_end(folder):
    path = folder
    for _ in range(400):
        path = path / "d"
        path.mkdir()
    photo().save(path / "z.jpg")
    assert len(list_images(folder).files) == 2


def test_names_have_one_form_of_unicode(folder):
    photo().save(folder / unicodedata.normalize("NFD", "é.jpg"))
    (name, path) = list_images(folder).files[1]
    assert name == unicodedata.normalize("NFC", "é.jpg") and path.exists()


def test_other_folders_are_left_out(folder):
    (folder / "masks").mkdir()
    photo().save(folder / "masks/a.png")
    assert names(list_images(folder, without=[folder / "masks"])) == ["a.jpg"]


@pytest.mark.parametrize("path", ["/nowhere", "x" * 5000])
def test_no_folder_is_one_line(path):
    with pytest.raises(UserError, match="^--images=.*: no such folder"):
        list_images(path, flag="--images")


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.jpg", "b.png"], ["a", "b"]),
        (["a.jpg", "a.png", "b.png"], ["a.jpg", "a.png", "b"]),
        (["a.jpg", "sub/a.jpg"], ["a", "sub/a"]),
        # What another is called instead may be taken too.
        (["a.jpg", "a.png", "a.jpg.png"], ["a.jpg", "a.png", "a.jpg.png"]),
        # A folder that is called as a file would be.
        (["a.jpg", "a.png/b.jpg"], ["a.jpg", "a.png/b"]),
    ],
)
def test_what_is_made_of_images_has_names_that_do_not_collide(files, names):
    found = unique_names(files)
    assert found == names
    pictures = {f"{name}.png" for name in found}
    assert len(pictures) == len(files)
    assert not any(other.startswith(f"{picture}/") for picture in pictures for other in pictures)


def test_names_that_unicode_composes_alike_are_one_line():
    with pytest.raises(UserError, match="two photos of one name"):
        unique_names(["a.jpg", "a.jpg"])
